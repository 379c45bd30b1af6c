"""A broker that speaks TLS and SASL beside plain text, with certificates made for the occasion by openssl."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from tests.brokers import ports
from tests.brokers.apache import JvmNode
from tests.brokers.kafka import Kafka
from tests.brokers.settings import NodeAddress, server_properties

LOGIN = "org.apache.kafka.common.security"
PROTOCOLS = ("SSL", "SASL_SSL", "SASL_PLAINTEXT")


@dataclass(frozen=True)
class Secure:
    """The broker, its addresses by security protocol, and a folder with `ca.pem`, `client.pem`, `client.key`."""

    kafka: Kafka
    bootstrap: dict[str, str]
    folder: Path


def certificates(folder: Path) -> None:
    """A certificate authority, and a broker's and a client's certificate from it."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl(
        *[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=ca",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]
    )
    extensions = {"broker": "subjectAltName=IP:127.0.0.1,DNS:localhost", "client": "basicConstraints=CA:FALSE"}
    for name, more in extensions.items():
        (folder / f"{name}.ext").write_text(more + "\n")
        openssl(*f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr".split())
        signing = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext"
        openssl(*signing.split(), "-out", f"{name}.pem")
    openssl(*["rsa", "-aes256", "-in", "client.key", "-out", "client.locked.key", "-passout", "pass:sesame"])
    (folder / "broker.store.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.pem").read_text())


def start(folder: Path) -> Secure:
    certificates(folder)
    address = NodeAddress("127.0.0.1", ports.reserve(), ports.reserve())
    more = {protocol: ports.reserve() for protocol in PROTOCOLS}
    listeners = {"PLAINTEXT": address.port, "CONTROLLER": address.controller_port, **more}
    plain = f'{LOGIN}.plain.PlainLoginModule required user_ann="secret";'
    scram = f"{LOGIN}.scram.ScramLoginModule required;"
    jaas = {
        f"listener.name.{protocol.lower()}.{mechanism}.sasl.jaas.config": scram if "scram" in mechanism else plain
        for protocol in ("SASL_SSL", "SASL_PLAINTEXT")
        for mechanism in ("plain", "scram-sha-256", "scram-sha-512")
    }
    settings = {
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
        "advertised.listeners": ",".join(
            f"{name}://127.0.0.1:{port}" for name, port in listeners.items() if name != "CONTROLLER"
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:{name if name in PROTOCOLS else 'PLAINTEXT'}" for name in listeners
        ),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.store.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.ssl.ssl.client.auth": "required",
        **jaas,
    }
    properties = server_properties(1, [address], str(folder / "data"), settings)
    node = JvmNode(folder / "node", f"127.0.0.1:{address.port}", properties, 512)
    kafka = Kafka("apache", node.bootstrap, [node], close=closing(node, list(listeners.values())))
    try:
        node.format(base64.urlsafe_b64encode(b"test" + uuid.uuid4().bytes[4:]).decode().rstrip("="))
        kafka.start()
        add_user(kafka.bootstrap, "ann", b"secret")
    except BaseException:
        kafka.close()
        raise
    return Secure(kafka, {name: f"localhost:{port}" for name, port in more.items()}, folder)


def closing(node: JvmNode, taken: list[int]) -> Callable[[], None]:
    def close() -> None:
        node.kill()
        for port in taken:
            ports.release(port)

    return close


def add_user(bootstrap: str, name: str, password: bytes) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        change = UserScramCredentialUpsertion(name, ScramCredentialInfo(mechanism, 4096), password)
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(10)
