"""The real Apache Kafka in containers, for machines with a Docker engine and its compose plug-in but without Java.

The compose file is generated: the same server settings as in apache.py, with one more listener for connections between
the brokers. Stopping, killing and pausing act on containers; data is in the container, so it survives a kill but not
`close`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.brokers import ports
from tests.brokers.jars import KAFKA_VERSION, Unavailable
from tests.brokers.kafka import Kafka
from tests.brokers.process import remove, run_at_end, spawn, temporary_directory
from tests.brokers.settings import NodeAddress, server_properties
from tests.brokers.ways import Way

_INSIDE, _CONTROLLER = 19092, 19093
_CLUSTER_ID = "dGlkZW1pbGwtdGVzdHMtMQ"


def check() -> None:
    if shutil.which("docker") is None:
        raise Unavailable("Docker is not installed")
    for command in (["docker", "compose", "version"], ["docker", "info"]):
        try:
            subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"`{' '.join(command)}` fails, so there is no Docker engine with compose") from error


def compose_file(addresses: Sequence[NodeAddress], settings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the compose file, as JSON, for brokers that clients on this machine reach at `addresses`."""
    names = [f"kafka-{number}" for number in range(1, len(addresses) + 1)]
    voters = ",".join(f"{number}@{name}:{_CONTROLLER}" for number, name in enumerate(names, 1))
    services: dict[str, Any] = {}
    for number, (name, address) in enumerate(zip(names, addresses, strict=True), 1):
        published = [address.port]
        bound = [f"INSIDE://:{_INSIDE}", f"CONTROLLER://:{_CONTROLLER}", f"PLAINTEXT://:{address.port}"]
        told = [f"INSIDE://{name}:{_INSIDE}", f"PLAINTEXT://{address.host}:{address.port}"]
        for way, (behind, proxy) in enumerate(address.proxied):
            published.append(behind)
            bound.append(f"PROXIED{way}://:{behind}")
            told.append(f"PROXIED{way}://{address.host}:{proxy}")
        inside = {
            "controller.quorum.voters": voters,
            "inter.broker.listener.name": "INSIDE",
            "listeners": ",".join(bound),
            "advertised.listeners": ",".join(told),
            "listener.security.protocol.map": ",".join(
                f"{listener.partition('://')[0]}:PLAINTEXT" for listener in bound
            ),
        }
        properties = server_properties(number, addresses, "/tmp/kafka-data", {**inside, **(settings or {})})
        services[name] = {
            "image": f"apache/kafka:{KAFKA_VERSION}",
            "hostname": name,
            "ports": [f"{address.host}:{port}:{port}" for port in published],
            "environment": {"CLUSTER_ID": _CLUSTER_ID, "KAFKA_HEAP_OPTS": "-Xmx512m", **_environment(properties)},
        }
    return {"services": services}


def _environment(properties: Mapping[str, str]) -> dict[str, str]:
    """Return server settings as the environment variables that the image reads."""
    return {"KAFKA_" + name.replace(".", "_").upper(): value for name, value in properties.items()}


class Project:
    """One `docker compose` project in a directory."""

    def __init__(self, directory: Path, content: Mapping[str, Any]) -> None:
        file = directory / "compose.json"
        file.write_text(json.dumps(content, indent=2))
        self._argv = ["docker", "compose", "--project-name", f"tidemill-{uuid.uuid4().hex[:12]}", "--file", str(file)]
        run_at_end(self.command("down", "--volumes", "--timeout", "1"))

    def command(self, *arguments: str) -> list[str]:
        return [*self._argv, *arguments]

    def run(self, *arguments: str) -> str:
        result = subprocess.run(
            self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )
        if result.returncode != 0:
            raise RuntimeError(f"`{' '.join(self.command(*arguments))}` failed:\n{result.stderr}")
        return result.stdout


class ComposeNode:
    def __init__(self, project: Project, name: str, bootstrap: str, log: Path) -> None:
        self.bootstrap = bootstrap
        self.log = log
        self._project = project
        self._name = name

    def start(self) -> None:
        self._project.run("up", "--detach", "--no-recreate", self._name)
        spawn(self._project.command("logs", "--follow", "--no-color", "--no-log-prefix", self._name), log=self.log)

    def alive(self) -> bool:
        listed = self._project.run("ps", "--services", "--status", "running", "--status", "paused")
        return self._name in listed.split()

    def stop(self) -> None:
        self._project.run("stop", self._name)

    def kill(self) -> None:
        if self.alive():
            self._project.run("kill", "--signal", "SIGKILL", self._name)

    def pause(self) -> None:
        self._project.run("pause", self._name)

    def resume(self) -> None:
        self._project.run("unpause", self._name)


def start_one(*, settings: Mapping[str, str] | None = None, ways: int = 0) -> Kafka:
    return _start(1, settings, ways=ways)


def start_three(*, settings: Mapping[str, str] | None = None, ways: int = 0) -> Kafka:
    return _start(3, settings, ways)


def _start(nodes: int, settings: Mapping[str, str] | None, ways: int) -> Kafka:
    opened = [Way.open(nodes) for _ in range(ways)]
    addresses = [
        NodeAddress("127.0.0.1", ports.reserve(), _CONTROLLER, tuple(way.ports(number) for way in opened))
        for number in range(nodes)
    ]
    return _up(addresses, settings, opened)


def _up(addresses: Sequence[NodeAddress], settings: Mapping[str, str] | None, ways: Sequence[Way]) -> Kafka:
    directory = temporary_directory("compose")
    content = compose_file(addresses, settings)
    project = Project(directory, content)
    nodes = [
        ComposeNode(project, name, f"{address.host}:{address.port}", directory / f"{name}.log")
        for name, address in zip(content["services"], addresses, strict=True)
    ]

    def close() -> None:
        project.run("down", "--volumes", "--timeout", "1")
        remove(directory)
        for address in addresses:
            ports.release(address.port)

    kafka = Kafka("compose", ",".join(node.bootstrap for node in nodes), nodes, close=close, ways=ways)
    try:
        kafka.start(timeout=300)  # the first time pulls the image
    except BaseException:
        kafka.close()
        raise
    return kafka
