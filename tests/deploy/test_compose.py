"""Tests of docker-compose.yml and mounted files, without a Docker engine: schema and consistency."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.brokers import client, compose, jars
from tests.brokers.kafka import Kafka
from tests.brokers.settings import NodeAddress
from tidemill.engine.config.settings import SETTINGS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"


def _against_the_schema(path: Path) -> subprocess.CompletedProcess[str]:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())["services"]


@pytest.mark.slow
def test_it_follows_the_compose_specification() -> None:
    told = _against_the_schema(FILE)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.slow
def test_the_tests_own_containers_follow_it_too(tmp_path: Path) -> None:
    addresses = [NodeAddress("127.0.0.1", 20000 + number, 19093) for number in range(3)]
    (tmp_path / "compose.json").write_text(json.dumps(compose.compose_file(addresses)))
    told = _against_the_schema(tmp_path / "compose.json")
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.slow
def test_the_schema_detects_an_error(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(FILE.read_text().replace("healthcheck:", "health-check:"))
    assert _against_the_schema(tmp_path / "compose.yml").returncode == 1


def test_three_brokers_know_each_other_by_their_names(services: dict[str, Any]) -> None:
    brokers = {name: service for name, service in services.items() if name.startswith("kafka-")}
    voters = ",".join(f"{number}@kafka-{number}:9093" for number in (1, 2, 3))
    outside: set[str] = set()
    for number, (name, broker) in enumerate(sorted(brokers.items()), 1):
        environment = broker["environment"]
        assert broker["image"] == f"apache/kafka:{jars.KAFKA_VERSION}"
        assert broker["hostname"] == name == f"kafka-{number}"
        assert environment["KAFKA_NODE_ID"] == str(number)
        assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == voters
        (port,) = broker["ports"]
        published, inside = port.split(":")
        assert f"OUTSIDE://:{inside}" in environment["KAFKA_LISTENERS"]
        told = f"INSIDE://kafka-{number}:19092,OUTSIDE://localhost:{published}"
        assert environment["KAFKA_ADVERTISED_LISTENERS"] == told
        assert broker["volumes"] == [f"{name}:{environment['KAFKA_LOG_DIRS']}"]
        outside.add(published)
    assert len(brokers) == len(outside) == 3
    named = [line.split(":")[0] for line in brokers["kafka-1"]["environment"]["KAFKA_LISTENERS"].split(",")]
    mapped = brokers["kafka-1"]["environment"]["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"]
    assert [pair.split(":")[0] for pair in mapped.split(",")] == named


def test_every_value_of_an_environment_is_text(services: dict[str, Any]) -> None:
    """YAML would turn `false` and `1` into values that the image reads as `False` and `1`."""
    for service in services.values():
        assert all(isinstance(value, str) for value in service.get("environment", {}).values())


def test_the_application_can_be_scaled(services: dict[str, Any]) -> None:
    """No name, no port of the host and no volume that two instances would share."""
    app = services["app"]
    assert "container_name" not in app
    assert "hostname" not in app
    assert "ports" not in app
    assert all(":" not in volume for volume in app["volumes"])
    assert app["environment"]["TIDEMILL_STATE_DIR"] in app["volumes"]


def test_the_settings_exist(services: dict[str, Any]) -> None:
    known = {setting.variable for setting in SETTINGS.values()}
    given = {name for service in services.values() for name in service.get("environment", {})}
    assert {name for name in given if name.startswith("TIDEMILL_")} <= known


def test_clients_name_brokers_that_are_there(services: dict[str, Any]) -> None:
    for service in services.values():
        for address in filter(None, service.get("environment", {}).get("TIDEMILL_BROKER", "").split(",")):
            host, port = address.split(":")
            assert f"INSIDE://:{port}" in services[host]["environment"]["KAFKA_LISTENERS"]


def test_prometheus_scrapes_every_instance(services: dict[str, Any]) -> None:
    (mount,) = services["prometheus"]["volumes"]
    (job,) = yaml.safe_load((ROOT / mount.split(":")[0]).read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == ["app"]
    assert found["type"] == "A"
    assert str(found["port"]) == services["app"]["environment"]["TIDEMILL_WEB"] == services["app"]["expose"][0]
    assert services["app"]["environment"]["TIDEMILL_WEB_HOST"] == "0.0.0.0"


def test_dependencies_exist_and_have_a_suitable_condition(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, on in service.get("depends_on", {}).items():
            needs = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}
            assert needs[on["condition"]] in services[name]


def test_the_image_has_all_that_is_run_in_it(services: dict[str, Any]) -> None:
    build = services["app"]["build"]
    text = (ROOT / build["dockerfile"]).read_text()
    copied = [source for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for source in line.split()]
    assert all(list(ROOT.glob(source)) for source in copied)
    assert {"operators", "state", "engine", "examples", "pyproject.toml", "*.py", "py.typed"} <= set(copied)
    ignored = (ROOT / f"{build['dockerfile']}.dockerignore").read_text().split()
    assert {f"!{source}" for source in copied} <= set(ignored)
    for service in services.values():
        for word in service.get("command", []):
            if "/" in word:
                program = word.partition(":")[0]
                assert (ROOT / program).exists()
                assert any(program.startswith(source) for source in copied)


@pytest.mark.slow
def test_the_flights_go_into_the_topic_once(start_kafka: Callable[..., Kafka]) -> None:
    kafka = start_kafka()
    environment = {**os.environ, "TIDEMILL_BROKER": kafka.bootstrap, "REPLAY_SECONDS": "0.01"}

    def run(what: str) -> str:
        command = [sys.executable, "docker/flights.py", what]
        told = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=90
        )
        assert told.returncode == 0, told.stdout + told.stderr
        return told.stdout

    assert run("topics").count("created") == 4
    assert run("topics") == ""
    assert "messages sent, to 01 January 2014" in run("replay")
    sent = sum(client.end_offsets(kafka.bootstrap, "tidemill-demo-flights").values())
    assert sent > 336_776
    assert "already" in run("replay")
    assert sum(client.end_offsets(kafka.bootstrap, "tidemill-demo-flights").values()) == sent
