"""The engine's settings that follow from those of a Faust application.

A setting that the application gives, and that changes nothing here, is named in a warning; one whose absence would
change results is refused.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError

__all__ = ["engine_arguments", "without_meaning"]

LOG: Final = logging.getLogger("tidemill.faust")

DURATIONS: Final = {
    "broker_commit_interval": "commit_interval",
    "broker_heartbeat_interval": "heartbeat_interval",
    "broker_max_poll_interval": "max_poll_interval",
    "broker_rebalance_timeout": "rebalance_timeout",
    "broker_session_timeout": "session_timeout",
}
"""Settings in seconds and the engine's in milliseconds; taken over if the application gives them."""

REPLACED: Final = {
    "broker_api_version": "versions are negotiated",
    "broker_check_crcs": "use -X check.crcs=",
    "broker_client_id": "the clients are named after the application",
    "broker_commit_every": "commits follow commit_interval and the amount of changed state",
    "broker_commit_livelock_soft_timeout": "an agent that takes longer than 4 minutes for an event stops the worker",
    "broker_max_poll_records": "use TIDEMILL_MAX_BATCH",
    "broker_request_timeout": "use -X socket.timeout.ms=",
    "consumer_api_version": "versions are negotiated",
    "consumer_connections_max_idle_ms": "use -X connections.max.idle.ms=",
    "consumer_group_instance_id": "use TIDEMILL_INSTANCE_ID",
    "consumer_max_fetch_size": "use TIDEMILL_MAX_BUFFER_BYTES",
    "consumer_metadata_max_age_ms": "use -X metadata.max.age.ms=",
    "cython_optimizations": "streams of Tidemill are used",
    "producer_acks": "all replicas acknowledge, which transactions need",
    "producer_api_version": "versions are negotiated",
    "producer_connections_max_idle_ms": "use -X connections.max.idle.ms=",
    "producer_linger": "use -X linger.ms=",
    "producer_linger_ms": "use -X linger.ms=",
    "producer_max_batch_size": "use -X batch.size=",
    "producer_max_request_size": "use -X message.max.bytes=",
    "producer_metadata_max_age_ms": "use -X metadata.max.age.ms=",
    "producer_request_timeout": "use TIDEMILL_TRANSACTION_TIMEOUT",
    "producer_threaded": "records are always sent by other threads",
    "recovery_consistency_check": "restored state is always checked",
    "stream_ack_cancelled_tasks": "an event is acknowledged when its agent asks for the next one",
    "stream_ack_exceptions": "an event is acknowledged when its agent asks for the next one, or fails",
    "stream_buffer_maxsize": "up to 2048 events are given to the agents of a task ahead",
    "stream_processing_timeout": "an agent that takes longer than 4 minutes for an event stops the worker",
    "stream_publish_on_commit": "what an agent sends always goes into the transaction of its event",
    "stream_recovery_delay": "processing begins when the state is restored",
    "stream_wait_empty": "a commit always waits for the events that agents have begun",
    "table_key_index_size": "keys are not indexed",
}
"""Settings that change nothing here, and why, or what to use."""

REFUSED: Final = {
    "ConsumerScheduler": "the engine decides in which order records are processed",
    "LeaderAssignor": "the engine has a group protocol of its own",
    "PartitionAssignor": "the engine has a group protocol of its own",
    "Stream": "streams must be those that tell the engine what is done",
    "TableManager": "the engine restores tables",
    "Worker": "this command takes the place of Faust's worker",
}
"""Settings that would have to be obeyed, and why they cannot be."""


def engine_arguments(app: Any, given: Mapping[str, Any]) -> dict[str, object]:
    """Return the engine's settings for a Faust application that was given these of its own.

    Raises ConfigError for settings that cannot be obeyed.
    """
    conf = app.conf
    refuse(given)
    arguments: dict[str, object] = {
        "broker": brokers(conf.broker),
        "state_dir": Path(conf.datadir) / "tidemill",
        "replication_factor": max(1, int(conf.topic_replication_factor or 1)),
    }
    for theirs, ours in DURATIONS.items():
        if given.get(theirs) is not None:
            arguments[ours] = f"{round(getattr(conf, theirs) * 1000)}ms"
    if given.get("table_standby_replicas") is not None:
        arguments["standbys"] = int(conf.table_standby_replicas)
    client = {**compression(given), **security(conf.broker_credentials, given.get("ssl_context"))}
    if client:
        arguments["librdkafka"] = client
    for sentence in without_meaning(given):
        LOG.warning("%s", sentence)
    return arguments


def refuse(given: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings that cannot be obeyed."""
    problems = [f"{name}=: {why}" for name, why in REFUSED.items() if given.get(name) is not None]
    if given.get("broker_consumer") or given.get("broker_producer"):
        problems.append("broker_consumer=, broker_producer=: a transaction has one cluster; give broker= alone")
    if problems:
        raise ConfigError("the application has settings that cannot be obeyed here:\n" + "\n".join(problems))


def without_meaning(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each setting that changes nothing here."""
    for name, why in REPLACED.items():
        if given.get(name) is not None:
            yield f"the setting {name}= of the application has no effect: {why}"


def brokers(urls: Iterable[Any]) -> str:
    """Return the addresses of Kafka. Raises ConfigError for another transport."""
    found: list[str] = []
    for url in urls:
        if url.scheme not in ("kafka", "aiokafka", "confluent", ""):
            raise ConfigError(f"broker={str(url)!r}: only Kafka is supported, as in kafka://localhost:9092")
        found.append(f"{url.host or 'localhost'}:{url.port or 9092}")
    return ",".join(found)


def compression(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the option of the producer's compression."""
    kind = given.get("producer_compression_type")
    return {} if kind is None else {"compression.type": str(kind)}


def security(credentials: Any, context: Any) -> dict[str, str]:
    """Return the client options of credentials, or of the TLS context that is given without any.

    Raises ConfigError for those that cannot be taken over.
    """
    kind = type(credentials).__name__
    if credentials is None:
        return {} if context is None else {"security.protocol": "ssl", **authorities(context)}
    if kind == "SSLCredentials":
        return {"security.protocol": "ssl", **authorities(credentials.context)}
    if kind != "SASLCredentials":
        raise ConfigError(
            f"broker_credentials={kind}(...) cannot be taken over: give options of librdkafka in its place, such as -X "
            "security.protocol=sasl_ssl -X sasl.mechanism=OAUTHBEARER -X sasl.oauthbearer.method=oidc and those of the "
            "token's endpoint; then remove it from the application"
        )
    context = credentials.ssl_context or context
    return {
        "security.protocol": "sasl_plaintext" if context is None else "sasl_ssl",
        "sasl.mechanism": str(credentials.mechanism.value),
        "sasl.username": str(credentials.username),
        "sasl.password": str(credentials.password),
        **({} if context is None else authorities(context)),
    }


def authorities(context: ssl.SSLContext) -> dict[str, str]:
    """Return the client options of a TLS context: whom it trusts.

    A certificate of its own cannot be read from it.
    """
    LOG.warning(
        "the trusted certificates of the application's TLS context are used; if brokers ask for a certificate of the "
        "client, give -X ssl.certificate.location=FILE -X ssl.key.location=FILE"
    )
    trusted = [ssl.DER_cert_to_PEM_cert(data) for data in context.get_ca_certs(binary_form=True)]
    options = {"ssl.ca.pem": "".join(trusted)} if trusted else {}
    if context.verify_mode == ssl.CERT_NONE:
        options["enable.ssl.certificate.verification"] = "false"
    if not context.check_hostname:
        options["ssl.endpoint.identification.algorithm"] = "none"
    return options
