"""A Java program writes Avro with the schemas of a real registry; a program here reads it."""

from __future__ import annotations

import os
import subprocess

import orjson
import pytest

from tests.brokers.registry import Registry
from tests.support import maven

from .program import PROGRAMS
from .stage import Stage

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]

JARS = "apicurio-serde-2.6.8.Final"
ARTIFACTS = ("io.apicurio:apicurio-registry-serdes-avro-serde:2.6.8.Final", "org.slf4j:slf4j-nop:2.0.13")


def java(program: str, stage: Stage, registry: Registry, topic: str, *arguments: str) -> str:
    """Run a Java program with Apicurio's serializers; return what it prints."""
    try:
        maven.check(JARS)
        jars = maven.jars(JARS, ARTIFACTS)
    except maven.Unavailable as reason:
        pytest.skip(str(reason))
    command = [maven.java(), "-Xmx128m", "-cp", f"{jars}{os.sep}*", str(PROGRAMS / program)]
    url = registry.url.replace("/apis/ccompat/v7", "/apis/registry/v2")
    done = subprocess.run(
        [*command, stage.broker, url, stage.name(topic), *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("framing", "written"), [("confluent", ["confluent"]), ("apicurio-global", ["globalId", "headers"])]
)
def test_avro_of_a_java_program_is_read(stage: Stage, registry: Registry, framing: str, written: list[str]) -> None:
    """In Confluent's format, and in that of version 2 of Apicurio's serializers without settings."""
    stage.topics("orders", "told")
    java("AvroWriter.java", stage, registry, "orders", *written)
    life = stage.program(
        "avro_from_java.py", variables={"REGISTRY": registry.url, "FRAMING": framing}, commit_interval="100ms"
    ).start()
    rows = stage.wait_for_rows("told", 3, timeout=60)
    assert life.stop() == 0
    assert [orjson.loads(row.value or b"") for row in rows] == [
        {"total": f"{2.5 * n * n:.2f}", "at": f"2023-11-14T22:13:20.00{n}000+00:00", "tags": ["a", "b"], "note": note}
        for n, note in ((1, None), (2, "two"), (3, None))
    ]


def test_a_java_program_reads_what_is_written(stage: Stage, registry: Registry) -> None:
    """With ids in front of the data and in headers; the program reads what Apicurio's serializer has written."""
    stage.topics("orders", "told", "copies", "headers")
    java("AvroWriter.java", stage, registry, "orders", "globalId")
    assert [row.value[:5] for row in stage.read("orders") if row.value] == [bytes(5)] * 3
    variables = {"REGISTRY": registry.url, "FRAMING": "apicurio-global", "COPIES": "1"}
    life = stage.program("avro_from_java.py", variables=variables, commit_interval="100ms").start()
    stage.wait_for_rows("copies", 3, timeout=60)
    stage.wait_for_rows("headers", 3)
    assert life.stop() == 0
    for topic in ("copies", "headers"):
        told = java("AvroReader.java", stage, registry, topic, "globalId", "3")
        assert [orjson.loads(line)["note"] for line in told.splitlines()] == [None, "two", None]
