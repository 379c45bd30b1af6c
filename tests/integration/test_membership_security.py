"""TLS and SASL: the membership connects by the very options that the data plane's client is given."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.brokers import jars
from tests.integration import secure
from tests.integration.crew import Crew
from tests.integration.secure import Secure
from tidemill.engine.errors import Fatal

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, so no certificates can be made")
    try:
        jars.classpath()
    except jars.Unavailable as reason:
        pytest.skip(str(reason))
    running = secure.start(tmp_path_factory.mktemp("secure"))
    yield running
    running.kafka.close()


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


def options(broker: Secure, case: str) -> dict[str, str]:
    folder = broker.folder
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
    return {"bootstrap.servers": broker.bootstrap[protocol], "security.protocol": protocol.lower(), **more}


@pytest.mark.parametrize(
    "case",
    ["tls with a client certificate", "tls from text", "tls and plain", "tls and scram", "scram", "unverified"],
)
def test_members_meet_over(broker: Secure, app_id: str, case: str) -> None:
    given = options(broker, case)
    assert AdminClient({**given, "log_level": 0}).list_topics(timeout=10).brokers, "the data plane's client could not"
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
def test_a_refused_log_in_is_told_at_once(broker: Secure, app_id: str, case: str, words: str) -> None:
    crew = Crew("", app_id)
    try:
        hand = crew.add(options=options(broker, case))
        crew.until(lambda: bool(hand.failures), 15, "the refusal")
        error = hand.failures[0].error
        assert isinstance(error, Fatal)
        assert words in str(error)
        assert "localhost:" in str(error)
    finally:
        crew.close()


def test_a_missing_client_certificate_is_trouble(broker: Secure, app_id: str) -> None:
    """With TLS 1.3 the broker refuses after the handshake, by closing the connection."""
    crew = Crew("", app_id)
    try:
        hand = crew.add(options=options(broker, "no client certificate"))
        crew.until(lambda: bool(hand.failures or hand.membership.status.trouble), 15, "trouble")
    finally:
        crew.close()
