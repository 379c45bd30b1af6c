"""Tests of security options for the connections of the membership. tests/integration has real handshakes."""

from __future__ import annotations

import ssl

import pytest

from tidemill.engine.errors import ConfigError
from tidemill.engine.kafka.protocol import Broker
from tidemill.engine.kafka.security import connection


def given(**more: str) -> dict[str, str]:
    return {
        "bootstrap.servers": "a:1",
        **{name.replace("__", "-").replace("_", "."): value for name, value in more.items()},
    }


@pytest.mark.parametrize(
    ("text", "brokers"),
    [
        ("a", [("a", 9092)]),
        ("a:1, b:2 ,", [("a", 1), ("b", 2)]),
        ("[::1]:5,[fe80::1],::1", [("::1", 5), ("fe80::1", 9092), ("::1", 9092)]),
        ("SASL_SSL://a:1", [("a", 1)]),
        ("", []),
    ],
)
def test_addresses(text: str, brokers: list[tuple[str, int]]) -> None:
    assert connection({"bootstrap.servers": text}).bootstrap == tuple(Broker(*broker) for broker in brokers)
    assert connection({"metadata.broker.list": text}).bootstrap == tuple(Broker(*broker) for broker in brokers)


@pytest.mark.parametrize("text", ["a:b", ":9", "a:0", "a:70000"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        connection({"bootstrap.servers": text})


def test_plain_text_is_the_default_and_other_options_are_ignored() -> None:
    read = connection(given(linger_ms="5", client_id="me"))
    assert (read.protocol, read.tls, read.mechanism, read.client_id) == ("PLAINTEXT", None, None, "me")


def test_passwords_are_not_shown() -> None:
    options = given(
        security_protocol="sasl_plaintext", sasl_mechanism="PLAIN", sasl_username="u", sasl_password="sesame"
    )
    assert "sesame" not in repr(connection(options))


def test_tls_verifies_by_default() -> None:
    context = connection(given(security_protocol="ssl")).tls
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    context = connection(given(security_protocol="SSL", ssl_endpoint_identification_algorithm="none")).tls
    assert context is not None
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    context = connection(given(security_protocol="SSL", enable_ssl_certificate_verification="false")).tls
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


def test_the_default_mechanism_is_librdkafkas() -> None:
    assert connection(given(security_protocol="sasl_ssl")).mechanism == "GSSAPI"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"security.protocol": "tls"}, "plaintext, ssl, sasl_plaintext"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"}, "PLAIN, SCRAM"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanisms": "PLAIN"}, "sasl.username and sasl.password"),
        ({"ssl.keystore.location": "x.p12"}, "ssl.certificate.location"),
        ({"ssl.engine.location": "x.so"}, "ssl.engine.location"),
        ({"sasl.oauthbearer.config": "x"}, "sasl.oauthbearer.config"),
        ({"enable.sasl.oauthbearer.unsecure.jwt": "true"}, "SCRAM"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/nowhere.pem"}, "TLS options"),
        ({"security.protocol": "ssl", "ssl.ca.pem": "no certificate"}, "TLS options"),
        ({"security.protocol": "ssl", "ssl.certificate.pem": "no certificate"}, "TLS options"),
        ({"security.protocol": "ssl", "ssl.cipher.suites": "no such suite"}, "TLS options"),
    ],
)
def test_unsupported_options_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        connection(given() | options)
