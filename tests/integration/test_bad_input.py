"""Records that cannot be processed: the program stops at the record and names it, or skips it by its policy."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest

from tests.brokers import client
from tests.brokers.client import Row

from .orders import items, order, prepared, rows_of_totals, totals
from .stage import Stage

pytestmark = pytest.mark.timeout(90)

GOOD = [order("apple", "a", amount=2), order("beet", "b"), order("corn", "a", amount=5)]


def in_words(log: str) -> str:
    """Return the end of a log, on one line."""
    return " ".join(log[log.index("error: ") :].split())


def test_an_undecodable_record_stops_the_program_and_is_named(stage: Stage) -> None:
    prepared(stage, [*GOOD, Row(b"a", b'{"item": "dill", "amount": "many"}'), order("egg", "b")])
    life = stage.program("orders.py", commit_interval="100ms").start()
    assert life.exit() == 1
    said = in_words(life.log)
    assert "decode" in said
    assert f"topic '{stage.name('orders')}', partition 0" in said
    assert "offset 3" in said
    assert re.search(r"step '[^']*orders[^']*'", said)
    assert "Expected `int`, got `str`" in said
    assert "correct" in said
    assert "egg" not in items(stage)


def test_skipping_a_record_affects_no_other(stage: Stage) -> None:
    bad = [Row(b"a", b"not JSON at all"), order("fig", "a", complaint="fig")]
    prepared(stage, [*GOOD, bad[0], order("egg", "b"), bad[1], order("gum", "a")])
    program = stage.program("orders.py", commit_interval="100ms", variables={"ON_ERROR": "skip"})
    life = program.start()
    stage.wait_for_rows("enriched", 5)
    assert life.stop() == 0
    assert items(stage) == ["apple", "beet", "corn", "egg", "gum"]
    assert totals(stage) == {"a": {"count": 3, "amount": 8}, "b": {"count": 2, "amount": 2}}
    assert stage.committed("orders") == {0: 7}


def test_a_function_that_raises_is_named_with_its_traceback(stage: Stage) -> None:
    prepared(stage, [*GOOD, order("dill", "a", complaint="dill")])
    program = stage.program("orders.py", commit_interval="100ms")
    life = program.start()
    assert life.exit() == 1
    said = in_words(life.log)
    assert "step 'enrich'" in said
    assert "LookupError: no such item: dill" in said
    assert f"topic '{stage.name('orders')}', partition 0, offset 3" in said
    assert "key 'a'" in said
    assert "goes on from this record" in said
    last = json.loads(life.log.splitlines()[-1])["message"]
    assert re.search(r'File ".*orders\.py", line \d+, in enrich\n\s+raise LookupError', last)
    assert "Traceback" in last
    assert str(Path("engine", "runtime", "loop.py")) not in last, "the traceback starts in the user's code"


def test_the_program_continues_at_the_record_after_its_function_is_fixed(stage: Stage) -> None:
    prepared(stage, [*GOOD, order("dill", "a", complaint="dill"), order("egg", "b")])
    program = stage.program("orders.py", commit_interval="100ms")
    assert program.start().exit() == 1
    program.variables["ON_ERROR"] = "skip"
    life = program.start()
    stage.wait_for_rows("enriched", 4)
    assert life.stop() == 0
    assert items(stage) == ["apple", "beet", "corn", "egg"]
    assert rows_of_totals(stage, "a") == [{"count": 1, "amount": 2}, {"count": 2, "amount": 7}]


def test_null_keys_are_dropped_from_keyed_steps_and_counted(stage: Stage) -> None:
    prepared(stage, [*GOOD, order("dill", None), order("egg", None), order("fig", "b", amount=4)])
    life = stage.program("orders.py", commit_interval="100ms", web=0).start()
    stage.wait_for_rows("enriched", 6)
    address = life.wait_for(r"http://127\.0\.0\.1:\d+")[0]

    def dropped() -> list[str]:
        with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return [line for line in lines if line.startswith("tidemill_records_dropped_total{")]

    # Metrics are delayed: the task executor updates them a few times per second.
    client.wait_for(lambda: any(line.endswith(" 2.0") for line in dropped()), 10, "both drops to be counted")
    [line] = dropped()
    assert 'step="totals"' in line
    assert "null" in line
    assert line.endswith(" 2.0")
    assert life.stop() == 0
    assert items(stage) == ["apple", "beet", "corn", "dill", "egg", "fig"]
    assert totals(stage) == {"a": {"count": 2, "amount": 7}, "b": {"count": 2, "amount": 5}}


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("refused_by", ["broker", "client"])
def test_a_record_that_is_too_large_is_named(stage: Stage, refused_by: str, guarantee: str) -> None:
    limit = {"max.message.bytes": "20000"} if refused_by == "broker" else {}
    stage.topics("orders", "totals")
    stage.topics("enriched", config=limit)
    size = 50_000 if refused_by == "broker" else 3_000_000
    program = stage.program("orders.py", commit_interval="100ms", guarantee=guarantee)
    stage.send("orders", GOOD)
    life = program.start()
    stage.wait_for_rows("enriched", 3)
    stage.send("orders", [order("dill", "d", grows=size), order("egg", "b")])
    assert life.exit(60) == 1
    said = in_words(life.log)
    assert stage.name("enriched") in said
    assert "larger than" in said
    found = re.search(r"record of ([\d,]+) bytes", said)
    assert found is not None
    assert size < int(found[1].replace(",", "")) < size + 1000
    assert "max.message.bytes" in said
    assert "key 'd'" in said
    assert stage.committed("orders") == {0: 3}
    assert items(stage)[:3] == ["apple", "beet", "corn"]
    if guarantee == "exactly_once":
        assert items(stage) == ["apple", "beet", "corn"]


def test_a_function_that_hangs_gives_up_membership_with_a_message(stage: Stage) -> None:
    prepared(stage, [*GOOD, order("dill", "a", sleeps=7.0), order("egg", "b")])
    program = stage.program(
        "orders.py", commit_interval="100ms", max_poll_interval="2s", session_timeout="6s", heartbeat_interval="500ms"
    )
    life = program.start()
    said = life.wait_for(r"[^\n]*max_poll_interval[^\n]*", 20)[0]
    assert "made no progress for 2 s" in said
    assert "raise the setting" in said
    stage.wait_for_rows("enriched", 5, 40)
    assert life.stop() == 0
    assert items(stage) == ["apple", "beet", "corn", "dill", "egg"]
    assert rows_of_totals(stage, "a")[-1] == {"count": 3, "amount": 8}
