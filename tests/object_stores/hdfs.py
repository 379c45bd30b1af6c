"""A real HDFS: a name node and data nodes of Apache Hadoop, each in a separate JVM that a test may kill.

The daemons come from the jars of Hadoop's minicluster. Everything lies in one temporary directory and on ports of this
run. Timeouts are short, so that a dead data node is detected after some seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from tests.brokers import ports
from tests.brokers.process import Child, remove, spawn, tail, temporary_directory
from tests.support import maven

__all__ = ["HADOOP_VERSION", "Hdfs", "check", "start"]

HADOOP_VERSION = "3.5.0"
_NAME = f"hadoop-{HADOOP_VERSION}"
_ARTIFACTS = (
    *(f"org.apache.hadoop:hadoop-client-{part}:{HADOOP_VERSION}" for part in ("api", "runtime", "minicluster")),
    "org.slf4j:slf4j-simple:1.7.36",
)
_JVM = ("-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Djava.awt.headless=true")
_LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
_HDFS = "org.apache.hadoop.hdfs.server"
BLOCK_BYTES = 1 << 20
"""The smallest that Hadoop allows: a file of a test has many blocks."""


def check() -> None:
    """Raise Unavailable unless Java and either the jars or Maven are there. Downloads nothing."""
    maven.check(_NAME)


class Hdfs:
    """A name node and its data nodes."""

    def __init__(self, directory: Path, port: int, web: int, nodes: int, replication: int) -> None:
        self.url = f"hdfs://127.0.0.1:{port}"
        self.environment: Mapping[str, str] = {}
        self._directory = directory
        self._web = f"http://127.0.0.1:{web}/jmx?qry=Hadoop:service=NameNode,name="
        self._settings = {
            "fs.defaultFS": self.url,
            "dfs.replication": str(replication),
            "dfs.blocksize": str(BLOCK_BYTES),
            "dfs.namenode.name.dir": f"file://{directory}/name",
            "dfs.namenode.http-address": f"127.0.0.1:{web}",
            "dfs.namenode.safemode.extension": "0",
            "dfs.namenode.heartbeat.recheck-interval": "1000",
            "dfs.namenode.edits.noeditlogchannelflush": "true",
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            "dfs.heartbeat.interval": "1",
            "dfs.datanode.address": "127.0.0.1:0",
            "dfs.datanode.http.address": "127.0.0.1:0",
            "dfs.datanode.ipc.address": "127.0.0.1:0",
        }
        self._name_node: Child | None = None
        self._data_nodes: list[Child | None] = [None] * nodes

    def format(self) -> None:
        """Create an empty file system."""
        argv = self._command("name", {}, f"{_HDFS}.namenode.NameNode", ["-format", "-force", "-nonInteractive"])
        result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"Hadoop could not format {self._directory}:\n{(result.stdout + result.stderr)[-3000:]}")

    def start_name_node(self) -> None:
        """Start the name node and wait until it responds; it is in safe mode until data nodes report their blocks."""
        argv = self._command("name", {}, f"{_HDFS}.namenode.NameNode", [])
        self._name_node = spawn(argv, log=self._directory / "name.log", cwd=self._directory)
        self._wait(lambda: self._asked("NameNodeStatus").get("State") == "active", "the name node")

    def stop_name_node(self) -> None:
        """Kill the name node. Its files stay."""
        if self._name_node is not None:
            self._name_node.kill()
            self._name_node = None

    def start_data_nodes(self) -> None:
        """Start the data nodes that do not run, and wait until all are registered and the file system is writable."""
        known = self._addresses()
        dead = [number for number, running in enumerate(self._data_nodes) if running is None]
        for number in dead:
            own = {"dfs.datanode.data.dir": f"file://{self._directory}/data-{number}"}
            argv = self._command(f"data-{number}", own, f"{_HDFS}.datanode.DataNode", [])
            log = self._directory / f"data-{number}.log"
            self._data_nodes[number] = spawn(argv, log=log, cwd=self._directory)
        self._wait(lambda: len(self._addresses() - known) >= len(dead) and not self.safe_mode, "the data nodes")

    def kill_data_node(self, number: int) -> None:
        """Kill one data node (SIGKILL)."""
        child = self._data_nodes[number]
        assert child is not None
        child.kill()
        self._data_nodes[number] = None

    def kill_data_nodes(self) -> None:
        """Kill all data nodes (SIGKILL)."""
        for number, child in enumerate(self._data_nodes):
            if child is not None:
                self.kill_data_node(number)

    @property
    def safe_mode(self) -> bool:
        return self._asked("NameNodeInfo").get("Safemode") != ""

    def close(self) -> None:
        for child in (self._name_node, *self._data_nodes):
            if child is not None:
                child.kill()
        remove(self._directory)

    def _command(self, name: str, own: Mapping[str, str], main: str, arguments: Sequence[str]) -> list[str]:
        settings = self._directory / f"{name}-settings"
        settings.mkdir(exist_ok=True)
        (settings / "hdfs-site.xml").write_text(_xml({**self._settings, **own}))
        (settings / "core-site.xml").write_text(_xml({"fs.defaultFS": self.url}))
        classpath = os.pathsep.join([str(settings), f"{maven.jars(_NAME, _ARTIFACTS)}/*"])
        return [maven.java(), *_JVM, *_LOGGING, "-cp", classpath, main, *arguments]

    def _addresses(self) -> set[str]:
        """Return the addresses of the data nodes that the name node considers alive. They change at a restart."""
        nodes = json.loads(str(self._asked("NameNodeInfo").get("LiveNodes", "{}")))
        return {str(about["xferaddr"]) for about in nodes.values()}

    def _asked(self, bean: str) -> dict[str, object]:
        try:
            with urllib.request.urlopen(self._web + bean, timeout=5) as answer:
                return json.load(answer)["beans"][0]
        except (OSError, LookupError, ValueError):
            return {}

    def _wait(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            for child in (self._name_node, *self._data_nodes):
                if child is not None and child.poll() is not None:
                    raise RuntimeError(f"a process of HDFS ended while starting:\n{tail(child.log)}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"{log.name}:\n{tail(log)}" for log in sorted(self._directory.glob("*.log")))
                raise TimeoutError(f"HDFS: {what} did not come up in {seconds:g} s\n{logs}")
            time.sleep(0.05)


def start(*, nodes: int = 3, replication: int = 2) -> Hdfs:
    """Run an HDFS until the end of the block. Raises Unavailable."""
    maven.jars(_NAME, _ARTIFACTS)
    hdfs = Hdfs(temporary_directory("hdfs"), ports.reserve(), ports.reserve(), nodes, replication)
    try:
        hdfs.format()
        hdfs.start_name_node()
        hdfs.start_data_nodes()
    except BaseException:
        hdfs.close()
        raise
    return hdfs


def _xml(settings: Mapping[str, str]) -> str:
    properties = (
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in settings.items()
    )
    return f"<configuration>{''.join(properties)}</configuration>"
