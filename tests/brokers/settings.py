"""Compute the server settings of the brokers: one node or three, on ports chosen by the caller. Pure functions.

They are production settings, except for what makes tests fast (few internal partitions, no delay before the first
rebalance, short session timeouts allowed, timed-out transactions aborted at once) and strict (no automatic creation of
topics).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# No retention by time: tests write records with timestamps years ago, which a broker would soon delete.
_QUICK_AND_HONEST = {
    "auto.create.topics.enable": "false",
    "background.threads": "4",
    "broker.heartbeat.interval.ms": "1000",
    "broker.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.cleaner.backoff.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.index.size.max.bytes": "1048576",
    "log.retention.ms": "-1",
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    "num.io.threads": "4",
    "num.network.threads": "2",
    "offsets.topic.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "transaction.state.log.num.partitions": "4",
}


@dataclass(frozen=True)
class NodeAddress:
    """The ports of a node. Each item of `proxied` is (port it listens on, advertised port of the proxy)."""

    host: str
    port: int
    controller_port: int
    proxied: tuple[tuple[int, int], ...] = ()


def server_properties(
    node: int, addresses: Sequence[NodeAddress], log_dirs: str, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the settings of node number `node` (from 1) of a cluster of combined broker-controllers.

    `more` overrides.
    """
    mine = addresses[node - 1]
    copies = str(min(3, len(addresses)))
    enough = str(min(2, len(addresses)))
    listeners = {"PLAINTEXT": mine.port, "CONTROLLER": mine.controller_port}
    advertised = {"PLAINTEXT": mine.port}
    for way, (behind, proxy) in enumerate(mine.proxied):
        listeners[f"PROXIED{way}"], advertised[f"PROXIED{way}"] = behind, proxy
    return {
        **_QUICK_AND_HONEST,
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": ",".join(f"{i}@{a.host}:{a.controller_port}" for i, a in enumerate(addresses, 1)),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": ",".join(f"{name}://{mine.host}:{port}" for name, port in listeners.items()),
        "advertised.listeners": ",".join(f"{name}://{mine.host}:{port}" for name, port in advertised.items()),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
        "log.dirs": log_dirs,
        "default.replication.factor": copies,
        "min.insync.replicas": enough,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": enough,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": enough,
        **(in_a_rack(node) if len(addresses) > 1 else {}),
        **(more or {}),
    }


def in_a_rack(node: int) -> dict[str, str]:
    """Return the settings that put each node of a cluster in its own rack, with fetching from the nearest replica."""
    return {
        "broker.rack": f"rack-{node}",
        "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
    }


def properties_text(properties: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in sorted(properties.items()))
