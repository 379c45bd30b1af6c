"""Connection options of the control plane, from the options of the data plane.

Options have librdkafka's names and are values; TLS and SASL options are converted to what aiokafka's connections take.
A security option that cannot be converted is refused with a ConfigError: two clients that connect differently would
work in tests and fail in production. Other options are ignored.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError
from .protocol import Broker

__all__ = ["Connection", "connection"]

DEFAULT_PORT = 9092

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI")

TAKEN = frozenset(
    {
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.key.location",
        "ssl.key.pem",
        "ssl.key.password",
        "ssl.crl.location",
        "ssl.cipher.suites",
        "ssl.endpoint.identification.algorithm",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "sasl.kerberos.service.name",
        # With these, librdkafka gets a Kerberos ticket; aiokafka uses the ticket cache that it fills.
        "sasl.kerberos.principal",
        "sasl.kerberos.keytab",
        "sasl.kerberos.kinit.cmd",
        "sasl.kerberos.min.time.before.relogin",
    }
)

ADVICE = {
    "ssl.keystore.location": "give certificate and key as PEM files: ssl.certificate.location and ssl.key.location",
    "ssl.keystore.password": "give certificate and key as PEM files: ssl.certificate.location and ssl.key.location",
    "enable.sasl.oauthbearer.unsecure.jwt": "use SASL PLAIN, SCRAM or GSSAPI, or TLS client certificates",
}


@dataclass(frozen=True)
class Connection:
    """All options needed to connect to brokers."""

    bootstrap: tuple[Broker, ...]
    client_id: str = "tidemill"
    protocol: str = "PLAINTEXT"
    tls: ssl.SSLContext | None = None
    mechanism: str | None = None
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    kerberos_service: str = "kafka"


def connection(options: Mapping[str, str]) -> Connection:
    """Read `bootstrap.servers`, `client.id`, `security.protocol`, `ssl.*` and `sasl.*`.

    Raises ConfigError for options that cannot be read or converted.
    """
    protocol = options.get("security.protocol", "plaintext").upper()
    if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        raise ConfigError(
            f"security.protocol={options['security.protocol']!r} is not known; use plaintext, ssl, sasl_plaintext "
            "or sasl_ssl"
        )
    for name in options:
        if (name.startswith(("ssl.", "sasl.")) and name not in TAKEN) or name in ADVICE:
            advice = ADVICE.get(name, "remove it, or use TLS and SASL options that both clients understand")
            raise ConfigError(f"the option {name!r} is not supported by Tidemill's group membership: {advice}")
    bootstrap = options.get("bootstrap.servers") or options.get("metadata.broker.list") or ""
    mechanism = username = password = None
    if protocol.startswith("SASL"):
        mechanism = (options.get("sasl.mechanism") or options.get("sasl.mechanisms") or "GSSAPI").upper()
        if mechanism not in MECHANISMS:
            raise ConfigError(
                f"sasl.mechanism={mechanism!r} is not supported by Tidemill's group membership; use one of "
                f"{', '.join(MECHANISMS)}"
            )
        username, password = options.get("sasl.username"), options.get("sasl.password")
        if mechanism != "GSSAPI" and not (username and password):
            raise ConfigError(f"sasl.mechanism={mechanism} needs sasl.username and sasl.password")
    return Connection(
        tuple(address(part) for part in bootstrap.split(",") if part.strip()),
        options.get("client.id", "tidemill"),
        protocol,
        _tls(options) if protocol.endswith("SSL") else None,
        mechanism,
        username,
        password,
        options.get("sasl.kerberos.service.name", "kafka"),
    )


def address(text: str) -> Broker:
    """Parse `host`, `host:port`, `[v6]` or `[v6]:port`, with or without a `PROTOCOL://` prefix."""
    rest = text.strip().rpartition("://")[2]
    host, port = rest, str(DEFAULT_PORT)
    if rest.startswith("["):
        host, _, tail = rest[1:].partition("]")
        port = tail.removeprefix(":") or port
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{text!r} is not the address of a broker; write host:port")
    return Broker(host, int(port))


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        return _tls_context(options)
    except (OSError, ValueError) as failure:  # ssl.SSLError is an OSError
        raise ConfigError(f"the TLS options cannot be used: {failure}") from failure


def _tls_context(options: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    location = options.get("ssl.ca.location")
    if (location and location != "probe") or "ssl.ca.pem" in options:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if location and location != "probe":
            folder = Path(location).is_dir()
            context.load_verify_locations(capath=location if folder else None, cafile=None if folder else location)
        if "ssl.ca.pem" in options:
            context.load_verify_locations(cadata=options["ssl.ca.pem"])
    if "ssl.crl.location" in options:
        context.load_verify_locations(cafile=options["ssl.crl.location"])
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    if options.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if options.get("enable.ssl.certificate.verification", "true").lower() in ("false", "0"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "ssl.cipher.suites" in options:
        context.set_ciphers(options["ssl.cipher.suites"])
    _load_own_certificate(context, options)
    return context


def _load_own_certificate(context: ssl.SSLContext, options: Mapping[str, str]) -> None:
    password = options.get("ssl.key.password", "")  # never None: OpenSSL would prompt on the terminal
    if "ssl.certificate.location" in options:
        context.load_cert_chain(options["ssl.certificate.location"], options.get("ssl.key.location"), password)
    elif "ssl.certificate.pem" in options:
        # The standard library reads certificates only from files.
        text = options["ssl.certificate.pem"] + "\n" + options.get("ssl.key.pem", "")
        handle, name = tempfile.mkstemp(suffix=".pem")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            context.load_cert_chain(name, None, password)
        finally:
            Path(name).unlink()
