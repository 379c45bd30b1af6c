"""Apache Kafka's jars, resolved once by Maven into the user's cache directory, outside the work tree.

A finished folder appears by one rename under a file lock, so several runs at once are safe and a broken download
leaves nothing that looks whole. With the folder there, Java alone is enough.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

KAFKA_VERSION = "4.4.0"
_LEAST_JAVA = 17

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidemill</groupId>
  <artifactId>tests-broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


class Unavailable(Exception):
    """Why the real Kafka cannot be had on this machine."""


def cache_directory() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tidemill"


def jars_directory() -> Path:
    return cache_directory() / f"kafka-{KAFKA_VERSION}"


def java() -> str:
    """The Java that runs the broker.

    JAVA_HOME's, else the one on the path; Unavailable when there is none that is new enough.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        raise Unavailable("Java is not installed")
    banner = _banner(found)
    version = re.search(r'version "(?:1\.)?(\d+)', banner)
    if version is None or int(version[1]) < _LEAST_JAVA:
        raise Unavailable(f"Kafka {KAFKA_VERSION} needs Java {_LEAST_JAVA}; {found} says {banner[:60]!r}")
    return found


@cache
def _banner(found: str) -> str:
    try:
        return subprocess.run([found, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{found} does not run: {error}") from error


def check() -> None:
    """Raise Unavailable unless `java` and either the jars or Maven are there. Downloads nothing."""
    java()
    if not jars_directory().is_dir() and shutil.which("mvn") is None:
        raise Unavailable("Maven is not installed and Kafka's jars are not in the cache")


def classpath() -> str:
    """The class path of the broker, downloading the jars when they are not in the cache."""
    directory = jars_directory()
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _locked(directory.with_name(directory.name + ".lock")):
            if not directory.is_dir():
                _download(directory)
    return os.pathsep.join(str(jar) for jar in sorted(directory.glob("*.jar")))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(directory: Path) -> None:
    work = Path(tempfile.mkdtemp(prefix="resolving-", dir=directory.parent))
    try:
        (work / "pom.xml").write_text(_POM.format(version=KAFKA_VERSION))
        result = subprocess.run(
            ["mvn", "-B", "-q", "dependency:copy-dependencies", f"-DoutputDirectory={work / 'jars'}"],
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if result.returncode != 0:
            raise Unavailable(f"Maven could not get Kafka {KAFKA_VERSION}:\n{(result.stdout + result.stderr)[-2000:]}")
        (work / "jars").rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
