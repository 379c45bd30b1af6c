"""Settings of Faust applications: taken over, named in a warning, or refused."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidemill.engine.errors import ConfigError
from tidemill.engine.faust.conf import engine_arguments, without_meaning


def app(**conf: Any) -> Any:
    url = SimpleNamespace(scheme="kafka", host="one", port=9092)
    defaults = {"broker": [url], "datadir": "/data", "topic_replication_factor": 1, "broker_credentials": None}
    return SimpleNamespace(conf=SimpleNamespace(**{**defaults, **conf}))


def test_what_has_a_meaning_is_taken_over() -> None:
    found = engine_arguments(app(broker_session_timeout=30.0), {"broker_session_timeout": 30.0})
    assert found["broker"] == "one:9092"
    assert found["session_timeout"] == "30000ms"
    assert str(found["state_dir"]) == "/data/tidemill"


def test_what_has_no_meaning_is_named() -> None:
    [said] = without_meaning({"producer_acks": -1, "id": "x"})
    assert "producer_acks" in said


@pytest.mark.parametrize("name", ["Stream", "broker_consumer", "Worker"])
def test_what_would_have_to_be_obeyed_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        engine_arguments(app(), {name: object()})


class SSLCredentials:
    """As Faust's."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context


class SASLCredentials:
    """As Faust's."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.mechanism = SimpleNamespace(value="SCRAM-SHA-512")
        self.username, self.password, self.ssl_context = "ann", "secret", context


def trusting(folder: Path) -> ssl.SSLContext:
    """A TLS context that trusts one certificate."""
    openssl = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=one -days 2 -keyout key.pem -out ca.pem"
    subprocess.run(openssl.split(), cwd=folder, check=True, capture_output=True)
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))


def test_certificates_that_are_trusted_are_taken_over(tmp_path: Path) -> None:
    context = trusting(tmp_path)
    pem = (tmp_path / "ca.pem").read_text()
    tls = engine_arguments(app(broker_credentials=SSLCredentials(context)), {})["librdkafka"]
    assert tls == {"security.protocol": "ssl", "ssl.ca.pem": pem}
    assert engine_arguments(app(), {"ssl_context": context})["librdkafka"] == tls
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert engine_arguments(app(broker_credentials=SASLCredentials(context)), {})["librdkafka"] == {
        "security.protocol": "sasl_ssl",
        "ssl.ca.pem": pem,
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ann",
        "sasl.password": "secret",
        "enable.ssl.certificate.verification": "false",
        "ssl.endpoint.identification.algorithm": "none",
    }


def test_a_name_and_a_password_without_tls_are_taken_over() -> None:
    found = engine_arguments(app(broker_credentials=SASLCredentials(None)), {})["librdkafka"]
    assert isinstance(found, dict)
    assert found["security.protocol"] == "sasl_plaintext"


def test_other_credentials_are_refused_with_what_to_do() -> None:
    class OAuthCredentials:
        ssl_context = None

    with pytest.raises(ConfigError, match=r"sasl\.oauthbearer\.method"):
        engine_arguments(app(broker_credentials=OAuthCredentials()), {})
