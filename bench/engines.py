"""The engines: what each can do, how it is got, and the command that runs one job in it.

Everything got or built lies in the user's cache directory, outside the work tree. An engine that cannot be had on
this machine says why.
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

__all__ = ["ENGINES", "Engine", "Unavailable", "cache_directory"]

_ROOT = Path(__file__).resolve().parent.parent
_PEERS = _ROOT / "bench" / "peers"


class Unavailable(Exception):
    """Why an engine cannot be had here."""


def cache_directory() -> Path:
    """Where the bench keeps what it downloads and builds."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tidemill" / "bench"


@dataclass(frozen=True)
class Engine:
    """`prepare` gets what is needed and returns the command to which a job's arguments are added."""

    name: str
    title: str
    prepare: Callable[[], list[str]]
    version: Callable[[], str]
    jobs: frozenset[str]
    guarantees: frozenset[str] = frozenset({"exactly_once", "at_least_once"})
    outputs: frozenset[str] = frozenset({"update"})
    """`update`: one output an input. `commit`: one output a key and commit, as a record cache does it."""
    says_replayed: str = "(?!)"
    """What its log says of records replayed at a start: an expression that finds the number, or never matches."""

    def can(self, job: str, guarantee: str, outputs: str) -> bool:
        """Whether it has this job, in this way."""
        same_either_way = job == "J1"  # there is nothing to hold back
        return job in self.jobs and guarantee in self.guarantees and (outputs in self.outputs or same_either_way)


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
    """A script in a virtual environment of its own, made anew when the requirements are not those it was made with."""

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
    """A script in the environment of the bench itself."""
    return lambda: [sys.executable, str(_PEERS / script)]


def _kafka_streams() -> list[str]:
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None:
        raise Unavailable("Java is not installed")
    home = cache_directory() / "kafka-streams"
    sources = _PEERS / "kafka_streams"
    stamp = home / "made-from"
    wanted = "\n".join(path.read_text() for path in (sources / "pom.xml", sources / "src/main/java/bench/Jobs.java"))
    if not stamp.exists() or stamp.read_text() != wanted:
        if maven is None:
            raise Unavailable("Maven is not installed and the Kafka Streams jobs are not built yet")
        shutil.rmtree(home, ignore_errors=True)
        _run([maven, "-B", "-q", "package", f"-Dout={home}"], cwd=sources)
        stamp.write_text(wanted)
    classpath = os.pathsep.join((str(home / "jobs.jar"), str(home / "jars" / "*")))
    return [java, _HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath, "bench.Jobs"]


_ALL = frozenset({"J1", "J2", "J3", "J4", "profiles"})
_QUIX = "3.28.1"
_FAUST = "0.15.3"
_BYTEWAX = "0.21.1"
_KAFKA_STREAMS = "4.3.1"
_HEAP = "-Xmx512m"  # without it the JVM takes a quarter of the machine before it collects garbage

ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            "tidemill",
            "Tidemill",
            _here("tidemill_jobs.py"),
            lambda: importlib.metadata.version("tidemill"),
            _ALL,
            says_replayed=r"(\d+) changelog records replayed",
        ),
        Engine(
            "kafka-streams",
            "Kafka Streams",
            _kafka_streams,
            lambda: _KAFKA_STREAMS,
            _ALL,
            outputs=frozenset({"update", "commit"}),
            says_replayed=r'\{"replayed": (\d+)\}',
        ),
        Engine(
            "quix",
            "Quix Streams",
            _script("quix", [f"quixstreams=={_QUIX}"]),
            lambda: _QUIX,
            _ALL,
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
