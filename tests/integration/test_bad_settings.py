"""Invalid settings: exit code 2 before any connection, and an error with source and remedy for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .program import Program

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program("orders.py", tmp_path, {"broker": NOWHERE}, {"TOPICS": "unused"})
    yield program
    program.close()


def refused(program: Program, *arguments: str, **settings: str) -> str:
    program.settings |= settings
    life = program.start(arguments=arguments)
    assert life.exit(20) == 2, life.log
    assert "Traceback" not in life.log
    return " ".join(life.log.split())


@pytest.mark.slow
def test_all_errors_are_reported_at_once(program: Program) -> None:
    (program.directory / "tidemill.toml").write_text('comit_interval = "1s"\nworkers = "three"\n[log]\nlevl = "info"\n')
    said = refused(program, guarante="exactly_once", commit_interval="5 sec", max_batch="many")
    assert "TIDEMILL_GUARANTE: there is no such setting; did you mean TIDEMILL_GUARANTEE?" in said
    assert "TIDEMILL_COMMIT_INTERVAL: '5 sec' is not a duration; write '5s'" in said
    assert "tidemill.toml: comit_interval: there is no such setting; did you mean 'commit_interval'?" in said
    assert "tidemill.toml: log.levl: there is no such setting; did you mean 'level' in [log]?" in said
    assert "tidemill.toml: workers: 'three'" in said
    assert "TIDEMILL_MAX_BATCH: 'many'" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("guarantee", "at-most-once", ["TIDEMILL_GUARANTEE", "'at-most-once'", "exactly_once", "at_least_once"]),
        ("commit_interval", "100", ["TIDEMILL_COMMIT_INTERVAL", "no unit", "'100ms'", "'100s'"]),
        ("commit_interval", "0ms", ["TIDEMILL_COMMIT_INTERVAL", "at least", "'1ms'"]),
        ("state_memory", "64 megs", ["TIDEMILL_STATE_MEMORY", "'64 megs'", "is not a size"]),
        ("web", "http", ["TIDEMILL_WEB", "'http'"]),
        ("broker", "localhost", ["TIDEMILL_BROKER", "localhost", "9092"]),
        ("heartbeat_interval", "16s", ["heartbeat_interval", "a third of session_timeout", "'15s'"]),
        ("librdkafka_enable_auto_commit", "true", ["enable.auto.commit"]),
        ("librdkafka_queued_min_mesages", "5", ["queued.min.mesages", "queued.min.messages"]),
    ],
)
def test_an_invalid_value_is_named_with_the_valid_form(
    program: Program, setting: str, value: str, words: list[str]
) -> None:
    said = refused(program, **{setting: value})
    for word in words:
        assert word in said, f"{word!r} is not in: {said}"


@pytest.mark.slow
def test_a_wrong_option_of_the_command_line_is_named(program: Program) -> None:
    said = refused(program, "--comit-interval", "1s")
    assert "--comit-interval" in said
    assert "--commit-interval" in said
    said = refused(program, "--commit-interval", "1 second")
    assert "--commit-interval: '1 second' is not a duration; write '1s'" in said


@pytest.mark.slow
def test_a_wrong_argument_of_the_application_is_named(program: Program) -> None:
    program.module = program.directory / "mistaken.py"
    program.module.write_text(
        'import tidemill as tm\n\napp = tm.App("mistaken", comit_interval="1s")\napp.stream("in").to("out")\n\n'
        'if __name__ == "__main__":\n    app.main()\n'
    )
    said = refused(program)
    assert "App(comit_interval=...): there is no such setting; did you mean 'commit_interval'?" in said
