"""Jars of Maven Central, resolved once into the user's cache directory, outside the work tree.

A complete folder appears by one rename under a file lock, so concurrent runs are safe and an interrupted download
leaves nothing that looks complete. Once the folder exists, only Java is needed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_LEAST_JAVA = 17

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidemill</groupId>
  <artifactId>tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""


class Unavailable(Exception):
    """A server that tests need is not available on this machine; the message says why."""


def cache_directory() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tidemill"


def java() -> str:
    """Return the Java executable that runs the servers.

    That of JAVA_HOME, else the one on the path. Raises Unavailable if there is none that is new enough.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        raise Unavailable("Java is not installed")
    banner = _banner(found)
    version = re.search(r'version "(?:1\.)?(\d+)', banner)
    if version is None or int(version[1]) < _LEAST_JAVA:
        raise Unavailable(f"the server needs Java {_LEAST_JAVA}; {found} says {banner[:60]!r}")
    return found


@cache
def _banner(found: str) -> str:
    try:
        return subprocess.run([found, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{found} does not run: {error}") from error


def check(name: str) -> None:
    """Raise Unavailable unless `java` and either the jars of this name or Maven are there. Downloads nothing."""
    java()
    if not (cache_directory() / name).is_dir() and shutil.which("mvn") is None:
        raise Unavailable(f"Maven is not installed and the jars of {name} are not in the cache")


def jars(name: str, artifacts: Sequence[str]) -> Path:
    """Return the folder with the jars of these artifacts ("group:artifact:version") and their dependencies.

    Downloads them when the folder of that name is not in the cache; raises Unavailable.
    """
    directory = cache_directory() / name
    if not directory.is_dir():
        with once(directory):
            if not directory.is_dir():
                _download(directory, artifacts)
    return directory


@contextmanager
def once(directory: Path) -> Iterator[None]:
    """Hold the lock of a folder in the cache."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(directory.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(directory: Path, artifacts: Sequence[str]) -> None:
    if shutil.which("mvn") is None:
        raise Unavailable(f"Maven is not installed and the jars of {directory.name} are not in the cache")
    work = Path(tempfile.mkdtemp(prefix="resolving-", dir=directory.parent))
    try:
        (work / "pom.xml").write_text(_POM.format(dependencies="\n".join(map(_dependency, artifacts))))
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
            raise Unavailable(f"Maven could not get {', '.join(artifacts)}:\n{(result.stdout + result.stderr)[-2000:]}")
        (work / "jars").rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _dependency(artifact: str) -> str:
    group, name, version = artifact.split(":")
    return (
        f"    <dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>"
        "</dependency>"
    )
