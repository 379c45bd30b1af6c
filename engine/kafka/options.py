"""From settings to the options of each librdkafka client.

The user's own options come last, except for those that the settings refuse. Fetching is tuned for throughput: with
librdkafka's default `fetch.queue.backoff.ms` of a second a fast reader waits most of its time.
"""

from __future__ import annotations

import logging
from typing import Any

from ..config.settings import Settings

__all__ = ["admin_options", "client_buffer", "consumer_options", "group_options", "producer_options", "restore_options"]

CLIENT_LOG = logging.getLogger("tidemill.kafka")
LEAST_SHARE = 64 << 10
"""Bytes that the client may hold of a partition, however many there are."""
CONSUMER_ONLY = ("fetch.", "queued.", "check.crcs", "client.rack")
PRODUCER_ONLY = ("linger.ms", "queue.buffering.", "batch.", "compression.", "message.max.bytes", "sticky.")


def client_buffer(settings: Settings) -> int:
    """Bytes of `max_buffer_bytes` that are for the client's queues; the rest is for records that it has handed out."""
    return settings.max_buffer_bytes // 2


def consumer_options(settings: Settings, partitions: int) -> dict[str, Any]:
    """For the consumer of the inputs, of which there are `partitions` in all.

    They share the client's part of the buffer's memory.
    """
    share = min(16 << 20, max(LEAST_SHARE, client_buffer(settings) // max(1, partitions)))
    return {
        **_common(settings, "reader"),
        "group.id": settings.app_id,
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 2,
        "fetch.message.max.bytes": min(4 << 20, share),
        "fetch.wait.max.ms": 100,
        "queued.min.messages": 100_000,
        "queued.max.messages.kbytes": share >> 10,
        **({} if settings.rack is None else {"client.rack": settings.rack}),
        **_own(settings, without=PRODUCER_ONLY),
    }


def restore_options(settings: Settings, partitions: int) -> dict[str, Any]:
    """For the consumer of changelogs."""
    return {**consumer_options(settings, partitions), "client.id": f"{settings.app_id}-restorer"}


def producer_options(settings: Settings) -> dict[str, Any]:
    """For the producer of outputs and changelogs; the transactional id is added by the producer."""
    transactional = settings.guarantee == "exactly_once"
    return {
        **_common(settings, "writer"),
        "linger.ms": 5,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 256 << 10,
        "batch.num.messages": 50_000,
        "batch.size": 512 << 10,
        "compression.type": "lz4",
        "message.timeout.ms": settings.transaction_timeout if transactional else settings.retry_timeout or 300_000,
        **({"transaction.timeout.ms": settings.transaction_timeout} if transactional else {}),
        **_own(settings, without=CONSUMER_ONLY),
    }


def admin_options(settings: Settings) -> dict[str, Any]:
    """For the admin client."""
    return {**_common(settings, "admin"), **_own(settings, without=CONSUMER_ONLY + PRODUCER_ONLY)}


def group_options(settings: Settings) -> dict[str, str]:
    """For the membership's own connections."""
    return {"bootstrap.servers": settings.broker, **settings.librdkafka}


def _common(settings: Settings, role: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.broker,
        "client.id": f"{settings.app_id}-{role}",
        "logger": CLIENT_LOG,
        "reconnect.backoff.max.ms": 1000,
        # When all brokers are gone, the other strategy discards them. Then their back-off is forgotten, so they are
        # tried twenty times a second, and with them the cached group coordinator, for which
        # send_offsets_to_transaction waits for ever (librdkafka 5511).
        "metadata.recovery.strategy": "none",
        # A broker whose machine is gone does not close its connections: a request is given up after this and asked of
        # whoever has taken over. The client's default of a minute would be a minute's outage.
        "socket.timeout.ms": 10_000,
        "socket.nagle.disable": True,
        "allow.auto.create.topics": False,
        # A topic that is gone fails what waits for it after this. The client's default of half a minute is for topics
        # that were created a moment ago, and those are waited for before they are used.
        "topic.metadata.propagation.max.ms": 5_000,
    }


def _own(settings: Settings, *, without: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in settings.librdkafka.items() if not name.startswith(without)}
