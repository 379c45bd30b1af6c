"""Options of each librdkafka client, made from the settings.

The user's own options come last, except for those that the settings refuse. Fetching is tuned for throughput: with
librdkafka's default `fetch.queue.backoff.ms` of a second, a fast reader waits most of its time.
"""

from __future__ import annotations

import logging
from typing import Any

from ..config.settings import Settings

__all__ = ["admin_options", "client_buffer", "consumer_options", "group_options", "producer_options", "restore_options"]

CLIENT_LOG = logging.getLogger("tidemill.kafka")
LEAST_SHARE = 64 << 10
"""Bytes per partition that the client may hold at least, however many partitions there are."""
CONSUMER_ONLY = ("fetch.", "queued.", "check.crcs", "client.rack")
PRODUCER_ONLY = ("linger.ms", "queue.buffering.", "batch.", "compression.", "message.max.bytes", "sticky.")


def client_buffer(settings: Settings) -> int:
    """Return the bytes of `max_buffer_bytes` for the client's queues.

    The rest is for records that it has handed out.
    """
    return settings.max_buffer_bytes // 2


def consumer_options(settings: Settings, partitions: int) -> dict[str, Any]:
    """Return the options of the input consumer.

    All `partitions` share the client's part of the buffer memory.
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
    """Return the options of the changelog consumer."""
    return {**consumer_options(settings, partitions), "client.id": f"{settings.app_id}-restorer"}


def producer_options(settings: Settings) -> dict[str, Any]:
    """Return the options of the producer, without the transactional id."""
    transactional = settings.guarantee == "exactly_once"
    return {
        **_common(settings, "writer"),
        "linger.ms": 5,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 256 << 10,
        "batch.num.messages": 50_000,
        "batch.size": 512 << 10,
        "compression.type": "lz4",
        "message.timeout.ms": settings.transaction_limit if transactional else settings.retry_timeout or 300_000,
        **({"transaction.timeout.ms": settings.transaction_limit} if transactional else {}),
        **_own(settings, without=CONSUMER_ONLY),
    }


def admin_options(settings: Settings) -> dict[str, Any]:
    """Return the options of the admin client."""
    return {**_common(settings, "admin"), **_own(settings, without=CONSUMER_ONLY + PRODUCER_ONLY)}


def group_options(settings: Settings) -> dict[str, str]:
    """Return the options of the membership's own connections."""
    return {"bootstrap.servers": settings.broker, **settings.librdkafka}


def _common(settings: Settings, role: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.broker,
        "client.id": f"{settings.app_id}-{role}",
        "logger": CLIENT_LOG,
        "reconnect.backoff.max.ms": 1000,
        # When all brokers are gone, the other strategy discards them. Their back-off is lost, so they are tried twenty
        # times a second; and the cached group coordinator is discarded as well, for which send_offsets_to_transaction
        # waits forever (librdkafka 5511).
        "metadata.recovery.strategy": "none",
        # A broker on a machine that is gone does not close its connections: after this time, a request is sent to the
        # new leader. The client's default of a minute would be a minute's outage.
        "socket.timeout.ms": 10_000,
        "socket.nagle.disable": True,
        "allow.auto.create.topics": False,
        # Calls that wait for a topic that is gone fail after this time. The client's default of half a minute is for
        # topics that were just created, and the engine waits for those before it uses them.
        "topic.metadata.propagation.max.ms": 5_000,
    }


def _own(settings: Settings, *, without: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in settings.librdkafka.items() if not name.startswith(without)}
