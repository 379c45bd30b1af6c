"""Tests of the log: one line per message, in each format, without changing other loggers."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tidemill.engine.config.settings import Settings
from tidemill.engine.serve import logs
from tidemill.engine.serve.stats import Stats


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    names = (*logs.LOGGERS, "tidemill.kafka")
    before = [(logging.getLogger(n), logging.getLogger(n).handlers[:], logging.getLogger(n).level) for n in names]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = True


def logged(
    stream: io.StringIO, environ: dict[str, str] | None = None, worker: int | None = None, **settings: Any
) -> str:
    logs.setup(Settings(app_id="views", **settings), worker, stream, environ or {})
    logging.getLogger("tidemill.loop").info("joined %d\ntasks", 3, extra={"task": "0_1"})
    return stream.getvalue()


def test_text_in_a_pipe() -> None:
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} info    joined 3 tasks\n", logged(io.StringIO()))


def test_colours_on_a_terminal_unless_they_are_not_wanted() -> None:
    assert "\x1b[36minfo   \x1b[0m joined" in logged(Terminal())
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        assert "\x1b" not in logged(Terminal(), environ)
    assert "\x1b" not in logged(Terminal(), log_format="text")
    assert "\x1b" in logged(io.StringIO(), {"FORCE_COLOR": "1"})


def test_repeated_messages_of_the_client_are_logged_occasionally() -> None:
    now = 0.0
    stream = io.StringIO()
    logs.setup(Settings(app_id="views"), None, stream, {})
    client = logging.getLogger("tidemill.kafka")
    client.filters[:] = [logs.RepeatFilter(10.0, lambda: now)]
    for turn in range(601):
        now = turn / 20
        client.error("FAIL [%s]: connection refused (after %dms)", "reader", turn)
        if turn % 300 == 150:
            client.error("something else %d", turn)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6
    assert [line.partition("like this in the last")[2] for line in lines if "more" in line] == [" 10 s)"] * 3
    assert "(199 more like" in lines[-1]
    logs.setup(Settings(app_id="views"), None, stream, {})
    assert len(client.filters) == 1


def test_handlers_of_the_program_stay() -> None:
    logger, mine = logging.getLogger("tidemill"), logging.StreamHandler(io.StringIO())
    logger.addHandler(mine)
    stream = io.StringIO()
    logged(io.StringIO())
    assert len(logged(stream).splitlines()) == 1, "the handler of the first set-up is gone"
    assert mine in logger.handlers
    assert mine.stream.getvalue() == "joined 3\ntasks\n" * 2


def test_json_of_a_program_that_has_not_configured_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    root, stream = logging.getLogger(), io.StringIO()
    before = root.handlers[:]
    try:
        root.handlers[:] = []
        logs.setup(Settings(app_id="views", log_format="json"), None, stream, {})
        logging.getLogger("shop").warning("low")
        assert json.loads(stream.getvalue())["logger"] == "shop"
        root.handlers[:] = [logging.NullHandler()]
        logs.setup(Settings(app_id="views", log_format="json"), None, stream, {})
        assert [type(it) for it in root.handlers] == [logging.NullHandler], "its own set-up stays"
    finally:
        root.handlers[:] = before


def test_json() -> None:
    line = json.loads(logged(io.StringIO(), log_format="json"))
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "tidemill.loop",
        "message": "joined 3\ntasks",
        "app": "views",
        "task": "0_1",
    }


def test_one_of_several_workers_logs_its_number() -> None:
    assert " info    [2] joined" in logged(io.StringIO(), worker=2)
    assert json.loads(logged(io.StringIO(), worker=2, log_format="json"))["worker"] == 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_exceptions_are_logged_with_their_traceback(form: Any) -> None:
    stream = io.StringIO()
    logs.setup(Settings(app_id="views", log_format=form), None, stream, {})
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("tidemill").exception("failed")
    text = json.loads(stream.getvalue())["exception"] if form == "json" else stream.getvalue()
    assert "Traceback" in text
    assert "KeyError: 'lost'" in text


def test_levels() -> None:
    assert logged(io.StringIO(), log_level="warning") == ""
    assert logging.getLogger("tidemill.kafka").getEffectiveLevel() == logging.ERROR
    logged(io.StringIO(), log_level="debug")
    assert logging.getLogger("aiokafka").getEffectiveLevel() == logging.DEBUG


def test_other_loggers_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogger().handlers[:]
    logged(io.StringIO())
    assert logging.getLogger().handlers == before
    assert not caplog.records


def test_the_default_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(Settings(app_id="views"), environ={})
    logging.getLogger("tidemill").warning("look")
    assert capsys.readouterr().err.endswith(" warning look\n")
    assert logs.coloured(sys.stdin, {"FORCE_COLOR": "1"})


def test_the_summary_has_rates_since_the_last_one() -> None:
    stats = Stats(records_in={"0_0": 100}, records_out=10)
    before = stats.totals()
    stats.records_in = {"0_0": 3_000, "0_1": 2_100}
    stats.produced(1_000)
    stats.lag = {("views", 0): 1_234}
    stats.running = 2
    assert stats.totals().since(before, 0.5) == (
        "10,000 records/s in, 2,000/s out, lag 1,234, 0 commits, 2 tasks running"
    )
    before = stats.totals()
    stats.committed(10, [])
    stats.committed(20, [])
    stats.aborted()
    stats.dropped = {("totals", "null key"): 7}
    stats.restoring, stats.restore_remaining = 1, 5_000
    assert (
        stats.totals()
        .since(before, 1)
        .endswith("2 commits of 15 ms, 1 aborted, 7 dropped, 2 tasks running, 1 restoring (5,000 records to go)")
    )


def test_the_summary_is_logged_periodically_until_the_end() -> None:
    stream = io.StringIO()
    logs.setup(Settings(app_id="views"), None, stream, {})
    summary = logs.Summary(Stats().totals, 10)
    deadline = time.monotonic() + 30
    while stream.getvalue().count("records/s in") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    summary.close()
    assert stream.getvalue().count("records/s in") >= 2
    logs.Summary(Stats().totals, 0).close()
