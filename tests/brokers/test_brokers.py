"""Tests of the brokers for tests: choice, cache, start, injected faults, and clean-up."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.brokers import choice, client, compose, embedded, jars, ports, process
from tests.brokers.settings import NodeAddress, properties_text, server_properties

_ROOT = Path(__file__).parents[2]


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/bash\n" + textwrap.dedent(text))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


# --- ports ---------------------------------------------------------------------------------------------------------


def test_a_reserved_port_is_free_and_not_reserved_again() -> None:
    mine = [ports.reserve() for _ in range(20)]
    assert len(set(mine)) == 20
    for port in mine:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
    other = f"from tests.brokers import ports; print([ports._take(port) for port in {mine}])"
    result = subprocess.run([sys.executable, "-c", other], cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    assert result.strip() == str([False] * 20)
    for port in mine:
        ports.release(port)
    result = subprocess.run([sys.executable, "-c", other], cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    assert result.strip() == str([True] * 20)


# --- processes -----------------------------------------------------------------------------------------------------


def test_a_child_has_its_exit_code_and_log(tmp_path: Path) -> None:
    child = process.spawn(["bash", "-c", "echo out; echo err >&2; exit 3"], log=tmp_path / "log")
    assert child.wait(10) == 3
    assert process.tail(tmp_path / "log").split() == ["out", "err"]


def test_a_child_stops_on_sigterm_and_is_killed_with_its_descendants(tmp_path: Path) -> None:
    child = process.spawn(["sleep", "60"], log=tmp_path / "log")
    child.terminate()
    assert child.wait(10) == -signal.SIGTERM

    child = process.spawn(["bash", "-c", "sleep 60 & echo $!; wait"], log=tmp_path / "log")
    client.wait_for(lambda: process.tail(tmp_path / "log"), 5, "the child to start")
    below = int(process.tail(tmp_path / "log"))
    child.kill()
    assert child.poll() == -signal.SIGKILL
    client.wait_for(lambda: not process.exists(below), 5, "the grandchild to die")


def test_a_timeout_while_waiting_for_a_child_shows_its_log(tmp_path: Path) -> None:
    child = process.spawn(["bash", "-c", "echo stuck here; sleep 60"], log=tmp_path / "log")
    client.wait_for(lambda: process.tail(tmp_path / "log"), 5, "the child to start")
    with pytest.raises(TimeoutError, match="stuck here"):
        child.wait(0.05)
    child.kill()


def test_a_child_that_cannot_start_raises_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no-such-program"):
        process.spawn(["no-such-program"], log=tmp_path / "log")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_leaves_no_process_and_no_directory(tmp_path: Path, number: signal.Signals) -> None:
    run = textwrap.dedent(
        f"""
        import os, signal, time
        from pathlib import Path
        from tests.brokers import process
        directory = process.temporary_directory("gone")
        process.run_at_end(["touch", "{tmp_path}/ran"])
        stopped = process.spawn(["sleep", "60"], log=directory / "log")
        stopped.pause()
        child = process.spawn(["bash", "-c", "sleep 60 & wait"], log=directory / "log")
        print(stopped.pid, child.pid, directory, flush=True)
        os.kill(os.getpid(), {int(number)})
        time.sleep(60)
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", run], cwd=_ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    first, second, directory = ended.stdout.split()
    client.wait_for(
        lambda: not process.exists(int(first)) and not process.exists(int(second)), 5, "the children to die"
    )
    client.wait_for(lambda: not Path(directory).exists(), 5, "the directory to go")
    assert (tmp_path / "ran").exists()


# --- the jars ------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache, and a PATH with only what the test puts into the returned folder."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "cat", "mkdir", "sleep", "touch", "env"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv(choice.RUNNING_BROKERS, raising=False)
    return tools


def _java(tools: Path, version: str = "17.0.15") -> None:
    _script(tools / "java", f"""echo 'openjdk version "{version}" 2025-04-15' >&2""")


def _maven(tools: Path, behaviour: str) -> None:
    _script(tools / "mvn", f"""for a in "$@"; do [[ $a == -DoutputDirectory=* ]] && out=${{a#*=}}; done\n{behaviour}""")


def test_concurrent_requests_download_the_jars_once(machine: Path, tmp_path: Path) -> None:
    _maven(machine, f'echo called >> {tmp_path}/calls; sleep 0.3; mkdir "$out"; touch "$out/b.jar" "$out/a.jar"')
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: jars.classpath(), range(4)))
    folder = tmp_path / "cache" / "tidemill" / f"kafka-{jars.KAFKA_VERSION}"
    assert paths == {f"{folder}/a.jar:{folder}/b.jar"}
    assert (tmp_path / "calls").read_text() == "called\n"


def test_a_failed_download_leaves_nothing_and_raises_the_reason(machine: Path, tmp_path: Path) -> None:
    _maven(machine, 'mkdir "$out"; touch "$out/half.jar"; echo "no route to the repository" >&2; exit 1')
    with pytest.raises(jars.Unavailable, match="no route to the repository"):
        jars.classpath()
    assert not jars.jars_directory().exists()
    assert [path.name for path in jars.cache_directory().iterdir()] == [f"kafka-{jars.KAFKA_VERSION}.lock"]


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "16"])
def test_an_old_java_counts_as_none(machine: Path, version: str) -> None:
    _java(machine, version)
    with pytest.raises(jars.Unavailable, match="needs Java 17"):
        jars.java()


def test_java_home_has_precedence_over_the_path(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _java(machine)
    _java(tmp_path / "jdk" / "bin", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert jars.java() == str(tmp_path / "jdk" / "bin" / "java")


# --- the choice ----------------------------------------------------------------------------------------------------


def test_a_running_broker_is_shared_and_own_ones_still_come_from_java(machine: Path) -> None:
    _java(machine)
    _maven(machine, "true")
    chosen = choice.choose({choice.RUNNING_BROKERS: " host:9092 "})
    assert (chosen.shared, chosen.own, chosen.running) == ("running", "apache", "host:9092")
    assert chosen.start_shared().bootstrap == "host:9092"
    assert chosen.left_out({"cluster", "kafka", "broker"}) is None


def test_java_without_maven_needs_the_cache(machine: Path) -> None:
    _java(machine)
    assert choice.choose({}).shared == "embedded"
    jars.jars_directory().mkdir(parents=True)
    assert choice.choose({}).shared == "apache"


def test_docker_is_next_if_its_engine_responds(machine: Path) -> None:
    _script(machine / "docker", "[[ $1 == info ]] && exit 1; exit 0")
    assert choice.choose({}).shared == "embedded"
    _script(machine / "docker", "exit 0")
    chosen = choice.choose({})
    assert (chosen.shared, chosen.own) == ("compose", "compose")
    assert chosen.left_out({"broker", "kafka", "cluster"}) is None


def test_a_download_that_fails_counts_as_not_having_kafka(machine: Path) -> None:
    _java(machine)
    _maven(machine, "echo offline >&2; exit 1")
    assert choice.choose({}).shared == "apache"
    chosen = choice.choose({}, download=True)
    assert chosen.shared == "embedded"
    assert "offline" in (chosen.left_out({"kafka"}) or "")


def test_the_embedded_broker_leaves_out_what_needs_kafka(machine: Path) -> None:
    chosen = choice.choose({})
    assert chosen.left_out({"broker"}) is None
    assert "Java is not installed" in (chosen.left_out({"broker", "kafka"}) or "")
    assert "ARE LEFT OUT" in chosen.describe()


def test_with_nothing_at_all_every_broker_test_is_left_out(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise jars.Unavailable("not installed")

    monkeypatch.setattr(embedded, "check", absent)
    chosen = choice.choose({})
    assert chosen.shared is None
    assert "no broker" in (chosen.left_out({"broker"}) or "")
    with pytest.raises(jars.Unavailable):
        chosen.start_shared()


@pytest.mark.slow
def test_a_run_reports_the_tests_it_left_out(machine: Path) -> None:
    run = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        str(_ROOT / "tests" / "brokers" / "test_kafka.py"),
        "-k",
        "sees_an_open_transaction",
    ]
    result = subprocess.run(run, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert "broker: THE EMBEDDED BROKER; tests that need the real Apache Kafka ARE LEFT OUT" in result.stdout
    assert re.search(
        r"1 TEST WAS LEFT OUT: the real Apache Kafka cannot be had here: Java is not installed", result.stdout
    )
    assert "test_kafka.py::test_a_verifier_sees_an_open_transaction" in result.stdout
    assert result.returncode == 0


# --- settings and containers ---------------------------------------------------------------------------------------


def test_three_nodes_know_each_other_and_replicate() -> None:
    addresses = [NodeAddress("127.0.0.1", 20000 + n, 21000 + n) for n in range(3)]
    properties = server_properties(2, addresses, "/data", {"min.insync.replicas": "1"})
    assert properties["node.id"] == "2"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:21000,2@127.0.0.1:21001,3@127.0.0.1:21002"
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:21001"
    assert properties["offsets.topic.replication.factor"] == "3"
    assert properties["min.insync.replicas"] == "1"
    assert properties["auto.create.topics.enable"] == "false"
    assert "node.id=2\n" in properties_text(properties)


def test_a_proxied_node_advertises_the_port_of_the_proxy() -> None:
    address = NodeAddress("127.0.0.1", 20000, 21000, ((22000, 23000), (22001, 23001)))
    properties = server_properties(1, [address], "/data")
    assert properties["listeners"].endswith("PROXIED0://127.0.0.1:22000,PROXIED1://127.0.0.1:22001")
    assert (
        properties["advertised.listeners"]
        == "PLAINTEXT://127.0.0.1:20000,PROXIED0://127.0.0.1:23000,PROXIED1://127.0.0.1:23001"
    )
    assert properties["inter.broker.listener.name"] == "PLAINTEXT"


def test_containers_reach_each_other_inside_and_clients_outside() -> None:
    content = compose.compose_file([NodeAddress("127.0.0.1", port, 19093) for port in (20001, 20002, 20003)])
    second = content["services"]["kafka-2"]
    advertised = second["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert advertised == "INSIDE://kafka-2:19092,PLAINTEXT://127.0.0.1:20002"
    assert second["ports"] == ["127.0.0.1:20002:20002"]
    assert second["environment"]["KAFKA_CONTROLLER_QUORUM_VOTERS"] == "1@kafka-1:19093,2@kafka-2:19093,3@kafka-3:19093"
    assert all(isinstance(value, str) for value in second["environment"].values())


def test_breaking_a_container_goes_through_compose(machine: Path, tmp_path: Path) -> None:
    _script(machine / "docker", f'echo "${{@:6}}" >> {tmp_path}/calls; [[ $6 == ps ]] && echo kafka-1; exit 0')
    project = compose.Project(tmp_path, compose.compose_file([NodeAddress("127.0.0.1", 20001, 19093)]))
    node = compose.ComposeNode(project, "kafka-1", "127.0.0.1:20001", tmp_path / "log")
    node.start()
    assert node.alive()
    for act in (node.pause, node.resume, node.kill, node.stop):
        act()
    calls = [call for call in (tmp_path / "calls").read_text().splitlines() if not call.startswith(("ps", "logs"))]
    assert calls == [
        "up --detach --no-recreate kafka-1",
        "pause kafka-1",
        "unpause kafka-1",
        "kill --signal SIGKILL kafka-1",
        "stop kafka-1",
    ]
