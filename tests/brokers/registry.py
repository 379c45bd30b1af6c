"""Run a real schema registry: Apicurio, with Confluent's API, from Maven; its schemas are in a file.

It starts in a few seconds, and can be killed, paused and restarted with the same contents.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

from tests.brokers import jars, ports
from tests.brokers.jars import Unavailable
from tests.brokers.process import Child, remove, spawn, tail, temporary_directory

VERSION = "3.0.9"
_JVM = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy"
"""Later versions also want the POM of Apicurio's parent, which is not published."""


def directory() -> Path:
    return jars.cache_directory() / f"apicurio-{VERSION}"


@cache
def why_not() -> str:
    """Download the registry; return why it is not available on this machine, or an empty string."""
    try:
        jars.java()
        runner()
    except Unavailable as reason:
        return str(reason)
    return ""


def runner() -> Path:
    """Return the jar of the registry, downloading it if it is not in the cache."""
    folder = directory()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(folder.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _download(folder)
    return folder / f"apicurio-registry-app-{VERSION}-runner.jar"


def _download(folder: Path) -> None:
    if shutil.which("mvn") is None:
        raise Unavailable("Maven is not installed and Apicurio is not in the cache")
    work = Path(tempfile.mkdtemp(prefix="resolving-", dir=folder.parent))
    try:
        artifact = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
        command = ["mvn", "-B", "-q", _COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={work}"]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
        )
        if result.returncode != 0:
            raise Unavailable(f"Maven could not get Apicurio {VERSION}:\n{(result.stdout + result.stderr)[-300:]}")
        made = work / "registry"
        with tarfile.open(work / f"apicurio-registry-app-{VERSION}-all.tar.gz") as archive:
            archive.extractall(made, filter="data")
        made.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class Registry:
    """A registry in its own process."""

    def __init__(self) -> None:
        self._home = temporary_directory("registry")
        self._port = ports.reserve()
        self.url = f"http://127.0.0.1:{self._port}/apis/ccompat/v7"
        self.log = self._home / "registry.log"
        self._child: Child | None = None

    def start(self, *, wait: bool = True) -> None:
        properties = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": str(self._port),
            "quarkus.log.console.json": "false",
            "apicurio.datasource.url": f"jdbc:h2:file:{self._home / 'schemas'};WRITE_DELAY=0",
        }
        options = [f"-D{name}={value}" for name, value in properties.items()]
        self._child = spawn([jars.java(), *_JVM, *options, "-jar", str(runner())], log=self.log, cwd=self._home)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until the registry responds."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/subjects", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise TimeoutError(f"the registry does not respond; its log ends with:\n{tail(self.log)}")

    def kill(self) -> None:
        assert self._child is not None
        self._child.kill()

    def pause(self) -> None:
        """Pause the process: connections are accepted, requests get no response."""
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
        remove(self._home)
