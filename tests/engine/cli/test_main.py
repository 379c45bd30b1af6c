"""Tests of the command line: options, output, exit messages and exit codes, in-process and as a process."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import tidemill as tm
from tidemill.engine.cli import exit_message, local_state, main, run
from tidemill.engine.config.settings import SETTINGS, Settings
from tidemill.engine.config.sources import load
from tidemill.engine.errors import ConfigError, Fatal, RecordError, Retryable, StateUnusable
from tidemill.engine.offline.parts import declared_store
from tidemill.operators.record import Record
from tidemill.state.directory import StateDirectory
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import VERSION, Change, Position

VIEWS = """
import tidemill as tm

app = tm.App("views", commit_interval="1s")
views = app.stream("views", key=tm.utf8, value=tm.json)
views.group_by(lambda v: v["user"]).count().named("per-user").to("counts", key=tm.utf8, value=tm.json)

if __name__ == "__main__":
    app.main()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in os.environ:
        if name.startswith("TIDEMILL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    Path("views.py").write_text(VIEWS)


class Ran:
    """The result of a command."""

    def __init__(self, *arguments: str, command: click.Command = main.cli) -> None:
        out, err = io.StringIO(), io.StringIO()
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = out, err
        try:
            self.code = run.execute(command, arguments, "tidemill")
        finally:
            sys.stdout, sys.stderr = before
        self.out, self.err = out.getvalue(), err.getvalue()


def test_help_and_version() -> None:
    ran = Ran("--help")
    assert ran.code == 0
    for name in ("run", "topology", "status", "reset", "state", "broker"):
        assert re.search(rf"^  {name} +[A-Z]", ran.out, re.MULTILINE)
    assert Ran("--version").out == f"tidemill, version {tm.__version__}\n"


def test_every_setting_is_an_option_of_run_with_its_default() -> None:
    text = " ".join(Ran("run", "--help").out.split())
    for name, setting in SETTINGS.items():
        assert (setting.option if name != "librdkafka" else "-X NAME=VALUE") in text
    assert "[default: 100ms]" in text
    assert "[default: 256MiB]" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing argument 'MODULE:APP'"),
        (["run", "views.py", "--comit-interval", "1s"], "--commit-interval"),
        (["rnu"], "No such command 'rnu'"),
        (["run", "lost.py"], "error: there is no file lost.py\n"),
        (["run", "views.py", "--commit-interval", "1 sec"], "error: --commit-interval: '1 sec' is not a duration"),
        (["run", "views.py", "-X", "acks=1"], "error: librdkafka option 'acks' cannot be set: "),
        (["run", "views.py", "-X", "acks"], "error: -X: 'acks' is not name=value"),
        (["run", "views.py", "--config", "x.toml"], "error: x.toml: there is no such file\n"),
        (["topology", "views.py", "--stage", "last"], "'last' is not one of"),
        (["status", "my app"], "error: App(...): 'my app' is not usable as a name"),
        (["state", "dump", "views.py", "lost"], "error: the program has no store 'lost'; there are: per-user\n"),
        (["state", "dump", "views.py", "per-user"], "error: there is no state of views in tidemill-state: give"),
    ],
)
def test_mistakes_are_a_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    ran = Ran(*arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_several_mistakes_are_several_lines() -> None:
    ran = Ran("run", "views.py", "--guarantee", "once", "--web", "x")
    assert [line[:14] for line in ran.err.splitlines()] == ["error: --guara", "error: --web: "]


def test_debug_shows_the_traceback_of_a_mistake() -> None:
    ran = Ran("run", "lost.py", "--debug")
    assert ran.code == 2
    assert ran.err.startswith("Traceback")


def test_a_mistake_in_the_program_is_shown_with_its_place() -> None:
    Path("wrong.py").write_text('import tidemill as tm\n\ndef build():\n    return tm.App("a b")\n\napp = build()\n')
    ran = Ran("run", "wrong.py")
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == '  at wrong.py, line 4: return tm.App("a b")'


def test_a_program_that_fails_is_shown_from_its_own_first_line() -> None:
    Path("fails.py").write_text("def build():\n    return {}['lost']\n\nbuild()\n")
    ran = Ran("run", "fails.py")
    assert ran.code == 2
    assert ran.err.startswith('Traceback (most recent call last):\n  File "')
    assert 'fails.py", line 4, in <module>' in ran.err.splitlines()[1]
    assert ran.err.splitlines()[-1] == "error: fails.py could not be imported: KeyError: 'lost'"
    Path("syntax.py").write_text("x = = 1\n")
    assert "SyntaxError" in Ran("run", "syntax.py").err


def test_topology() -> None:
    ran = Ran("topology", "views.py")
    assert ran.code == 0
    assert "sub-topology 1" in ran.out
    assert json.loads(Ran("topology", "views.py:app", "--stage", "logical", "--format", "json").out)["app"] == "views"
    assert Ran("topology", "views.py", "--format", "mermaid", "--app-id", "b").out.startswith("flowchart LR")


@pytest.mark.parametrize(
    "arguments",
    [["topology", "views.py", "--stage", "physical"], ["status", "views"], ["reset", "views.py", "--yes"]],
)
def test_an_unavailable_broker_is_exit_code_3(arguments: list[str]) -> None:
    ran = Ran(*arguments, "--broker", "127.0.0.1:1", "--connect-timeout", "300ms")
    assert ran.code == 3
    assert ran.err.startswith("error: cannot reach Kafka at 127.0.0.1:1: ")
    assert "Check the address (--broker)" in ran.err


# Exit messages


def words(error: BaseException, **more: Any) -> tuple[int, str]:
    stream = io.StringIO()
    code = exit_message.report(error, **{"debug": False, "colour": False, "stream": stream, **more})
    return code, stream.getvalue()


def test_exit_message_by_the_kind_of_error() -> None:
    assert words(ConfigError("a\nb")) == (2, "error: a\nerror: b\n")
    assert words(Retryable("no broker")) == (3, "error: no broker\n")
    assert words(Fatal("no rights")) == (3, "error: no rights\n")
    assert words(StateUnusable("in use")) == (4, "error: in use\n")
    assert words(KeyboardInterrupt()) == (130, "interrupted\n")
    assert words(click.Abort()) == (130, "interrupted\n")
    assert words(SystemExit(3)) == (3, "")
    assert words(SystemExit()) == (0, "")
    assert words(SystemExit("no")) == (1, "no\n")
    assert words(ConfigError("a"), colour=True)[1] == "\x1b[1;31merror:\x1b[0m a\n"


@pytest.mark.slow
def test_a_closed_output_pipe_is_not_a_failure(tmp_path: Path) -> None:
    """`tidemill ... | head -1`."""
    (tmp_path / "talk.py").write_text(
        "import sys\nimport click\nfrom tidemill.engine.cli.run import PipedGroup, execute\n"
        "@click.group(cls=PipedGroup)\ndef talk(): pass\n"
        "@talk.command()\ndef on():\n    for number in range(100_000):\n        click.echo(number)\n"
        "sys.exit(execute(talk, ['on'], 'talk'))\n"
    )
    command = f"{sys.executable} talk.py | head -1; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr, found.returncode) == ("0\n", "", 0)


def test_a_connection_that_is_closed_is_not_the_output() -> None:
    @click.command(cls=run.PipedCommand)
    def talk() -> None:
        raise BrokenPipeError(errno.EPIPE, "the other end of a socket")

    assert run.execute(talk, [], "talk") != 0


def test_generated_code_is_left_out_of_tracebacks() -> None:
    namespace: dict[str, Any] = {"ConfigError": ConfigError}
    exec(compile("def f():\n    raise ConfigError('a')\n", "<string>", "exec"), namespace)
    with pytest.raises(ConfigError) as caught:
        namespace["f"]()
    text = words(caught.value)[1]
    assert "<string>" not in text
    assert "test_main.py, line" in text, "the innermost place in a file"


def test_in_a_notebook_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with pytest.raises(SystemExit) as left:
        tm.App("views").main()
    assert left.value.code == 2
    assert "app.main() cannot run in a notebook" in capsys.readouterr().err


def test_a_bug_shows_everything() -> None:
    try:
        raise KeyError("lost")
    except KeyError as error:
        code, text = words(error)
    assert code == 70
    assert text.startswith("Traceback")
    assert text.endswith("This is a bug in Tidemill. Please report it, with the traceback above.\n")


def test_a_record_that_fails_shows_the_users_traceback() -> None:
    namespace: dict[str, Any] = {}
    source = "def enrich(value):\n    return value['lost']\n"
    exec(compile(source, str(Path.cwd() / "shop.py"), "exec"), namespace)
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json)
    views.map(namespace["enrich"]).named("enrich").to("out", key=tm.utf8, value=tm.json)
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(RecordError) as caught:
        driver.send("views", key="k", value={}, timestamp=1)
    code, text = words(caught.value)
    assert code == 1
    assert 'shop.py", line 2, in enrich' in text.splitlines()[1]
    assert "KeyError: 'lost'" in text
    assert "operators" not in text, "Tidemill's own frames are left out"
    assert "error: step 'enrich' of task 0_0 could not process a record: KeyError: 'lost' (the record: " in text
    assert "operators" in words(caught.value, debug=True)[1]


def test_a_record_that_cannot_be_decoded_has_no_traceback() -> None:
    error = RecordError("views", 0, Record(b"k", b"{", 1), [], doing="decode")
    error.__cause__ = ValueError("no JSON")
    assert words(error)[1].startswith("error: step 'views' could not decode a record: ValueError: no JSON (")


# The state of this machine


def fill(settings: Settings, app: Any) -> None:
    codec = declared_store(app.topology(), "per-user").state.codec
    with StateDirectory(settings.worker_dir, settings.app_id) as directory:
        for number in range(2):
            store = RocksStore(directory.task(f"1_{number}"), settings.app_id, f"1_{number}", RocksMemory(8 << 20))
            changes = [
                Change("per-user", codec.encode_key(f"u{n}"), VERSION + codec.encode_value((1_000 + n, n)))
                for n in range(number, 6, 2)
            ]
            store.apply(changes, Position({"per-user": 3}, {}))
            store.close()


def test_dump_and_get() -> None:
    namespace: dict[str, Any] = {"__name__": "views"}
    exec(VIEWS, namespace)
    fill(load("views", {}, environ={}), namespace["app"])
    dumped = Ran("state", "dump", "views.py", "per-user")
    assert dumped.code == 0, dumped.err
    lines = [json.loads(line) for line in dumped.out.splitlines()]
    assert sorted(line["key"] for line in lines) == [f"u{n}" for n in range(6)]
    assert {"key": "u3", "value": 3, "timestamp": 1_003, "task": "1_1", "worker": "worker-0"} in lines
    assert [json.loads(Ran("state", "get", "views.py", "per-user", "u4").out)] == [
        line for line in lines if line["key"] == "u4"
    ]
    missing = Ran("state", "get", "views.py", "per-user", "u9")
    assert missing.code == 2
    assert "the store 'per-user' has no key 'u9' in tidemill-state/views" in missing.err


def test_state_in_use_is_refused_with_the_pid() -> None:
    settings = load("views", {}, environ={})
    with StateDirectory(settings.worker_dir, "views"):
        ran = Ran("state", "dump", "views.py", "per-user")
        assert ran.code == 4
        assert f"in use by process {os.getpid()}" in ran.err
        with pytest.raises(StateUnusable):
            local_state.remove_state(settings)
        assert settings.worker_dir.exists()
    local_state.remove_state(settings)
    assert not (settings.state_dir / "views").exists()


def test_state_of_another_program_is_not_decoded() -> None:
    settings = load("views", {}, environ={})
    with StateDirectory(settings.worker_dir, "views") as directory:
        store = RocksStore(directory.task("1_0"), "views", "1_0", RocksMemory(8 << 20))
        store.apply([Change("per-user", b"k", b"?")], Position({}, {}))
        store.close()
    ran = Ran("state", "dump", "views.py", "per-user")
    assert ran.code == 2
    assert "an entry of store 'per-user' in task 1_0 of worker-0 cannot be decoded" in ran.err


# As a process


@pytest.mark.slow
def test_the_development_broker() -> None:
    pytest.importorskip("noida_db")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = Ran("broker", "--port", str(port))
        assert found.code == 2
        assert f"cannot start a broker at 127.0.0.1:{port}: another process listens there" in found.err
    with subprocess.Popen(
        [sys.executable, "-m", "tidemill", "broker", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert "noida-db" in process.stdout.readline()
            found = Ran("status", "nobody", "--broker", f"127.0.0.1:{port}")
            assert found.code == 0, found.err
            assert "nobody: there is no such group" in found.out
            nothing = Ran("reset", "nobody", "--broker", f"127.0.0.1:{port}")
            assert nothing.out == "there is nothing of nobody to remove\n"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)
    assert Path("tidemill-broker").is_dir()


def test_without_the_development_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = Ran("broker")
    assert found.code == 2
    assert "pip install 'tidemill[embedded]'" in found.err
