"""The engines: the jobs that each supports, its installation, and its command.

Downloads and builds are kept in the user's cache directory, outside the work tree.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.events import JOBS, SAME_EITHER_WAY

__all__ = ["ENGINES", "Engine", "Unavailable", "cache_directory"]

_ROOT = Path(__file__).resolve().parent.parent
_PEERS = _ROOT / "bench" / "peers"


class Unavailable(Exception):
    """The engine cannot be installed on this machine; the message says why."""


def cache_directory() -> Path:
    """Return the directory for downloads and builds."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tidemill" / "bench"


@dataclass(frozen=True)
class Engine:
    """An engine; `prepare` installs it and returns its command, without the arguments of a job."""

    name: str
    title: str
    prepare: Callable[[], list[str]]
    version: Callable[[], str]
    jobs: frozenset[str]
    guarantees: frozenset[str] = frozenset({"exactly_once", "at_least_once"})
    outputs: frozenset[str] = frozenset({"update"})
    """`update`: one output per input. `commit`: one output per key and commit, from a record cache."""
    repartitions: bool = True
    """Whether J4 goes through a topic, as whose halves its progress is seen, or an exchange of its own."""
    replayed_pattern: str = "(?!)"
    """A regular expression for the log that captures the number of records replayed at a start."""
    snapshot_pattern: str = ""
    """A regular expression for the log that captures the task of a snapshot; empty without snapshots."""

    def supports(self, job: str, guarantee: str, outputs: str) -> bool:
        """Return whether the engine has this job with this guarantee and kind of output."""
        supported = outputs in self.outputs or job in SAME_EITHER_WAY
        return job in self.jobs and guarantee in self.guarantees and supported


def _run(argv: Sequence[str | Path], cwd: Path | None = None) -> None:
    result = subprocess.run(
        [str(part) for part in argv],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if result.returncode != 0:
        raise Unavailable(f"{' '.join(str(part) for part in argv)} failed:\n{(result.stdout + result.stderr)[-1500:]}")


def _script(name: str, requirements: Sequence[str]) -> Callable[[], list[str]]:
    """Run a script in a separate virtual environment, recreated when the requirements change."""

    def prepare() -> list[str]:
        home = cache_directory() / name
        stamp = home / "made-with"
        wanted = "\n".join((sys.version, *requirements))
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(home, ignore_errors=True)
            _run([sys.executable, "-m", "venv", home])
            _run([home / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements])
            stamp.write_text(wanted)
        return [str(home / "bin" / "python"), str(_PEERS / f"{name}_jobs.py")]

    return prepare


def _here(script: str) -> Callable[[], list[str]]:
    """Run a script in the environment of the benchmark."""
    return lambda: [sys.executable, str(_PEERS / script)]


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise Unavailable("Java is not installed")
    return java


def _packaged(name: str, folder: str, *files: str, **properties: str) -> Path:
    """Build a Maven project in a folder of peers, and return where it is.

    It is built again if one of these files or the properties have changed.
    """
    home, sources = cache_directory() / name, _PEERS / folder
    given = [f"-D{key}={value}" for key, value in properties.items()]
    stamp = home / "made-from"
    wanted = "\n".join((*((sources / path).read_text() for path in ("pom.xml", *files)), *given))
    if not stamp.exists() or stamp.read_text() != wanted:
        maven = shutil.which("mvn")
        if maven is None:
            raise Unavailable(f"Maven is not installed and {name} is not built yet")
        shutil.rmtree(home, ignore_errors=True)
        _run([maven, "-B", "-q", "package", f"-Dout={home}", *given], cwd=sources)
        stamp.write_text(wanted)
    return home


def _java_jobs(name: str, *options: str) -> list[str]:
    """Return the command of a Java program in a folder of peers."""
    java = _java()
    home = _packaged(name, name.replace("-", "_"), "src/main/java/bench/Jobs.java")
    classpath = os.pathsep.join((str(home / "jobs.jar"), str(home / "jars" / "*")))
    return [java, _HEAP, *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath, "bench.Jobs"]


def _kafka_streams() -> list[str]:
    return _java_jobs("kafka-streams")


def _flink() -> list[str]:
    return _java_jobs(
        "flink", *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in ("java.lang", "java.util"))
    )


def _spark() -> list[str]:
    """Return the command of PySpark, with a folder of the jars of its Kafka connector."""
    command = _script("spark", [f"pyspark=={_SPARK}", "confluent-kafka", "orjson"])()
    _java()
    return [*command, f"jars={_packaged('spark-connector', 'spark', spark=_SPARK) / 'jars'}"]


_ALL = frozenset({*JOBS, "profiles"})
_FIRST_FOUR = frozenset({"J1", "J2", "J3", "J4"})
_QUIX = "3.28.1"
_FAUST = "0.15.3"
_BYTEWAX = "0.21.1"
_KAFKA_STREAMS = "4.4.0"
_FLINK = "2.2.0"
_SPARK = "4.1.1"
_HEAP = "-Xmx512m"  # the default heap is a quarter of the memory of the machine

ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            "tidemill",
            "Tidemill",
            _here("tidemill_jobs.py"),
            lambda: importlib.metadata.version("tidemill"),
            _ALL,
            outputs=frozenset({"update", "commit"}),
            replayed_pattern=r"(\d+) changelog records replayed",
            snapshot_pattern=r"task (\S+): snapshot of",
        ),
        Engine(
            "kafka-streams",
            "Kafka Streams",
            _kafka_streams,
            lambda: _KAFKA_STREAMS,
            _ALL,
            outputs=frozenset({"update", "commit"}),
            replayed_pattern=r'\{"replayed": (\d+)\}',
        ),
        Engine(
            "kafka-streams-tx",
            "Kafka Streams, transactional stores",
            lambda: [*_kafka_streams(), "kafka.enable.transactional.statestores=true"],
            lambda: _KAFKA_STREAMS,
            _ALL,
            outputs=frozenset({"update", "commit"}),
            replayed_pattern=r'\{"replayed": (\d+)\}',
        ),
        Engine(
            "flink",
            "Flink, local, RocksDB",
            _flink,
            lambda: _FLINK,
            _FIRST_FOUR,
        ),
        Engine(
            "spark",
            "Spark Structured Streaming, local, RocksDB",
            _spark,
            lambda: _SPARK,
            _FIRST_FOUR,
            guarantees=frozenset({"at_least_once"}),
            outputs=frozenset({"commit"}),
            repartitions=False,
        ),
        Engine(
            "quix",
            "Quix Streams",
            _script("quix", [f"quixstreams=={_QUIX}"]),
            lambda: _QUIX,
            _FIRST_FOUR | {"profiles"},
        ),
        Engine(
            "faust",
            "Faust",
            _script("faust", [f"faust-streaming[rocksdb]=={_FAUST}", "aiokafka[lz4]"]),
            lambda: _FAUST,
            frozenset({"J1", "J2"}),
            guarantees=frozenset({"at_least_once"}),
        ),
        Engine(
            "bytewax",
            "Bytewax",
            _script("bytewax", [f"bytewax[kafka]=={_BYTEWAX}", "orjson"]),
            lambda: _BYTEWAX,
            frozenset({"J1", "J2"}),
            guarantees=frozenset({"at_least_once"}),
        ),
        Engine(
            "loop",
            "bare loop, no store",
            _here("loop_jobs.py"),
            lambda: importlib.metadata.version("confluent-kafka"),
            frozenset({"J1", "J2"}),
            guarantees=frozenset({"at_least_once"}),
        ),
    )
}
