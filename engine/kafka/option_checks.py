"""Checks the user's own options with the Kafka client, before anything connects.

Only the client knows which options exist and what values they take: it is given them without the address of a broker.
The names here are only for suggestions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException

from ...operators.suggest import did_you_mean
from ..errors import ConfigError
from .errors import error_of

__all__ = ["NAMES", "check_own_options"]

SILENT: Final = logging.getLogger("tidemill.kafka.options")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False

NAMED: Final = re.compile(r"No such configuration property: \"(.*)\"")

NAMES: Final = tuple(
    re.findall(
        r"\S+",
        """
        api.version.request.timeout.ms batch.num.messages batch.size broker.address.family broker.address.ttl check.crcs
        client.dns.lookup client.rack compression.codec compression.level compression.type connections.max.idle.ms debug
        enable.metrics.push enable.sparse.connections enable.ssl.certificate.verification fetch.error.backoff.ms
        fetch.max.bytes fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms fetch.wait.max.ms linger.ms
        log.connection.close log_level max.partition.fetch.bytes message.copy.max.bytes message.max.bytes
        metadata.max.age.ms metadata.recovery.strategy queue.buffering.backpressure.threshold queue.buffering.max.kbytes
        queue.buffering.max.messages queue.buffering.max.ms queued.max.messages.kbytes queued.min.messages
        receive.message.max.bytes reconnect.backoff.max.ms reconnect.backoff.ms request.timeout.ms retry.backoff.max.ms
        retry.backoff.ms sasl.kerberos.keytab sasl.kerberos.kinit.cmd sasl.kerberos.principal sasl.kerberos.service.name
        sasl.mechanism sasl.mechanisms sasl.password sasl.username security.protocol socket.connection.setup.timeout.ms
        socket.keepalive.enable socket.max.fails socket.nagle.disable socket.receive.buffer.bytes
        socket.send.buffer.bytes socket.timeout.ms ssl.ca.location ssl.ca.pem ssl.certificate.location
        ssl.certificate.pem ssl.cipher.suites ssl.crl.location ssl.curves.list ssl.endpoint.identification.algorithm
        ssl.key.location ssl.key.password ssl.key.pem ssl.sigalgs.list statistics.interval.ms
        sticky.partitioning.linger.ms topic.metadata.propagation.max.ms topic.metadata.refresh.interval.ms
        """,
    )
)


def check_own_options(options: Mapping[str, str]) -> None:
    """Raise ConfigError for an unknown option or a value that the client rejects.

    Connects to nothing.
    """
    if not options:
        return
    try:
        Consumer({**options, "group.id": "none", "logger": SILENT}).close()
    except KafkaException as failure:
        error = error_of(failure)
        text = str(failure) if error is None else error.str()
        unknown = NAMED.search(text)
        if unknown is not None:
            near = did_you_mean(unknown[1], NAMES, listing=False)
            raise ConfigError(f"librdkafka has no option {unknown[1]!r}{near}") from failure
        raise ConfigError(f"librdkafka rejects its options: {text}") from failure
