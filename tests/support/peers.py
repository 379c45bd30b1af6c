"""Programs of other Python frameworks: an environment for each in the user's cache directory, and their output.

They are large, so they are installed and run on request only: TIDEMILL_TEST_PEERS=1.
"""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.snippets import ROOT, snippets
from tests.support import maven

__all__ = ["code", "on_request", "python", "running", "spark"]

PACKAGES = {
    "quix": ["quixstreams==3.28.1"],
    "bytewax": ["bytewax==0.21.1", "confluent-kafka"],
    "flink": ["apache-flink==2.3.0"],
    "spark": ["pyspark==4.1.1"],
}
SPARK_KAFKA = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.1"
NOT_IN_SPARK = ("spark-sql-kafka", "spark-token-provider-kafka", "kafka-clients", "commons-pool2")
"""What the connector needs that Spark itself does not have."""

on_request = pytest.mark.skipif(
    not os.environ.get("TIDEMILL_TEST_PEERS"), reason="left out: set TIDEMILL_TEST_PEERS=1 to run it"
)


def code(page: str, language: str, mark: str, number: int = 0) -> str:
    """The block of a migration page with a mark; the first one, or the one of that number."""
    found = [
        each.text
        for each in snippets(ROOT / "docs" / f"from_{page}.md")
        if (each.language, each.mark) == (language, mark)
    ]
    return found[number]


def python(page: str) -> str:
    """The Python of an environment with the framework of a page."""
    home = maven.cache_directory() / f"peer-{'-'.join(PACKAGES[page]).replace('==', '-')}"
    with maven.once(home):
        if not (home / "done").exists():
            venv.create(home, with_pip=True, clear=True)
            subprocess.run([home / "bin" / "pip", "install", "-q", *PACKAGES[page]], check=True)
            (home / "done").touch()
    return str(home / "bin" / "python")


def spark() -> dict[str, str]:
    """The variables with which a program of PySpark has Kafka, small memory and no user interface."""
    folder = maven.jars("spark-kafka-4.1.1", (SPARK_KAFKA,))
    jars = [str(jar) for jar in sorted(folder.glob("*.jar")) if jar.name.startswith(NOT_IN_SPARK)]
    settings = ("spark.ui.enabled=false", "spark.ui.showConsoleProgress=false", "spark.log.level=ERROR")
    more = [part for setting in settings for part in ("--conf", setting)]
    arguments = ["--master", "local[2]", "--driver-memory", "1g", "--jars", ",".join(jars), *more]
    return {"PYSPARK_SUBMIT_ARGS": " ".join([*arguments, "pyspark-shell"])}


@contextmanager
def running(command: list[str], directory: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, whose output is in the file `log` of a directory."""
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
