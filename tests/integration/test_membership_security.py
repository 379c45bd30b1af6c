"""TLS and SASL: the membership connects with the same options as the Kafka clients of the data plane."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.integration.crew import Crew
from tests.integration.secure import Secure
from tidemill.engine.errors import Fatal

pytestmark = pytest.mark.kafka


def tls(folder: Path) -> dict[str, str]:
    return {"ssl.ca.location": str(folder / "ca.pem")}


def client_certificate(folder: Path) -> dict[str, str]:
    return {
        "ssl.certificate.location": str(folder / "client.pem"),
        "ssl.key.location": str(folder / "client.locked.key"),
        "ssl.key.password": "sesame",
    }


def as_text(folder: Path) -> dict[str, str]:
    return {
        "ssl.ca.pem": (folder / "ca.pem").read_text(),
        "ssl.certificate.pem": (folder / "client.pem").read_text(),
        "ssl.key.pem": (folder / "client.key").read_text(),
    }


def ann(mechanism: str, password: str = "secret") -> dict[str, str]:
    return {"sasl.mechanism": mechanism, "sasl.username": "ann", "sasl.password": password}


def options(secure_broker: Secure, case: str) -> dict[str, str]:
    folder = secure_broker.folder
    protocol, more = {
        "tls with a client certificate": ("SSL", {**tls(folder), **client_certificate(folder)}),
        "tls from text": ("SSL", as_text(folder)),
        "tls and plain": ("SASL_SSL", {**tls(folder), **ann("PLAIN")}),
        "tls and scram": ("SASL_SSL", {**tls(folder), **ann("SCRAM-SHA-512")}),
        "scram": ("SASL_PLAINTEXT", ann("SCRAM-SHA-256")),
        "unverified": ("SASL_SSL", {"enable.ssl.certificate.verification": "false", **ann("PLAIN")}),
        "wrong password": ("SASL_PLAINTEXT", ann("SCRAM-SHA-256", "guess")),
        "wrong plain password": ("SASL_SSL", {**tls(folder), **ann("PLAIN", "guess")}),
        "unknown authority": ("SASL_SSL", ann("PLAIN")),
        "no client certificate": ("SSL", tls(folder)),
    }[case]
    return {"bootstrap.servers": secure_broker.bootstrap[protocol], "security.protocol": protocol.lower(), **more}


@pytest.mark.parametrize(
    "case",
    ["tls with a client certificate", "tls from text", "tls and plain", "tls and scram", "scram", "unverified"],
)
def test_members_meet_over(secure_broker: Secure, app_id: str, case: str) -> None:
    given = options(secure_broker, case)
    assert AdminClient({**given, "log_level": 0}).list_topics(timeout=10).brokers, (
        "the client of the data plane could not connect"
    )
    crew = Crew("", app_id)
    try:
        for _ in range(2):
            crew.add(options=given)
        crew.settle(30)
        one = crew.hands[0]
        one.membership.commit_offsets(one.epoch, {})
    finally:
        crew.close()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("wrong password", "refused the log-in"),
        ("wrong plain password", "refused the log-in"),
        ("unknown authority", "TLS"),
    ],
)
def test_a_refused_login_is_reported_at_once(secure_broker: Secure, app_id: str, case: str, words: str) -> None:
    crew = Crew("", app_id)
    try:
        hand = crew.add(options=options(secure_broker, case))
        crew.until(lambda: bool(hand.failures), 15, "the refusal")
        error = hand.failures[0].error
        assert isinstance(error, Fatal)
        assert words in str(error)
        assert "localhost:" in str(error)
    finally:
        crew.close()


def test_a_missing_client_certificate_is_an_error(secure_broker: Secure, app_id: str) -> None:
    """With TLS 1.3 the broker refuses after the handshake, by closing the connection."""
    crew = Crew("", app_id)
    try:
        hand = crew.add(options=options(secure_broker, "no client certificate"))
        crew.until(lambda: bool(hand.failures or hand.membership.status.trouble), 15, "trouble")
    finally:
        crew.close()
