"""The options of librdkafka that a user may not set.

Most options pass through to the Kafka client unchecked. Some would break a guarantee, or duplicate a setting of
Tidemill; those are refused here, with the reason, before anything connects. The client decides whether an option exists
(kafka/option_checks.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["REFUSED", "refusals"]

READ_BACK: Final = "Tidemill reads committed records only, or outputs of transactions that failed would be processed"
OWN_GROUP: Final = "Tidemill assigns partitions itself, together with the state that belongs to them"
COMMITS: Final = "offsets are committed together with results and state, by Tidemill alone"
ORDER: Final = "records would be lost, repeated or written out of order when a request is retried"

REFUSED: Final[Mapping[str, str]] = {
    "bootstrap.servers": "use the setting 'broker'",
    "metadata.broker.list": "use the setting 'broker'",
    "group.id": "the group is named after the application; use another application id",
    "group.instance.id": "use the setting 'instance_id'",
    "group.protocol": OWN_GROUP,
    "group.protocol.type": OWN_GROUP,
    "group.remote.assignor": OWN_GROUP,
    "partition.assignment.strategy": OWN_GROUP,
    "session.timeout.ms": "use the setting 'session_timeout'",
    "heartbeat.interval.ms": "use the setting 'heartbeat_interval'",
    "max.poll.interval.ms": "use the setting 'max_poll_interval'",
    "enable.auto.commit": COMMITS,
    "auto.commit.interval.ms": COMMITS,
    "auto.commit.enable": COMMITS,
    "enable.auto.offset.store": COMMITS,
    "auto.offset.reset": "say where a topic begins with app.stream(topic, start=...)",
    "offset.store.method": COMMITS,
    "isolation.level": READ_BACK,
    "enable.partition.eof": "Tidemill needs to know when a partition has no more records, and sets it itself",
    "transactional.id": "each process has its own id, so that a dead one can be fenced",
    "transaction.timeout.ms": "use the setting 'transaction_timeout'",
    "enable.idempotence": ORDER,
    "enable.gapless.guarantee": ORDER,
    "acks": "only records that all in-sync replicas have are safe",
    "request.required.acks": "only records that all in-sync replicas have are safe",
    "max.in.flight": ORDER,
    "max.in.flight.requests.per.connection": ORDER,
    "retries": ORDER,
    "message.send.max.retries": ORDER,
    "message.timeout.ms": "a record that times out would be lost from its transaction; it follows transaction_timeout",
    "delivery.timeout.ms": "a record that times out would be lost from its transaction; it follows transaction_timeout",
    "delivery.report.only.error": "Tidemill needs the client's reports of the offsets of its records",
    "produce.offset.report": "Tidemill needs the client's reports of the offsets of its records",
    "queuing.strategy": "records would not be sent in the order in which they were produced",
    "test.mock.num.brokers": "it is for tests of the client: nothing would be stored",
    "partitioner": "keys must go to the partition of the task that has their state; use .to(topic, partition=...)",
    "allow.auto.create.topics": "a mistyped topic would be created, empty; create topics yourself",
    "enabled_events": "Tidemill drives the client's events itself",
    "log_cb": "Tidemill writes the client's log to its own",
    "opaque": "it has no meaning in Python",
}
"""Options that may not be set, and why, or what to set instead."""


def refusals(given: Mapping[str, str]) -> list[str]:
    """Return one sentence per option that may not be set, in the order given."""
    return [f"librdkafka option {name!r} cannot be set: {REFUSED[name]}" for name in given if name in REFUSED]
