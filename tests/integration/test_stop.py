"""Stop by signals: the first one finishes the batch, commits and closes; the second one ends the process at once."""

from __future__ import annotations

import signal
import time

import pytest

from tests.brokers import client
from tests.support.patience import PATIENCE

from .eos import check, feed, read
from .orders import order, prepared
from .stage import Stage

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_leads_to_a_commit_and_a_clean_end_within_five_seconds(
    stage: Stage, number: signal.Signals, guarantee: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.topics("data", "echo", "min", "sum", partitions=4)
    program = stage.program("echo_min_sum.py", guarantee=guarantee, commit_interval="20s")
    with feed.Feed(stage.broker, stage.name("data"), rate=2000, seed=1, keys=100) as source:
        life = program.start()
        life.wait_for('"replayed":')
        fed = source.made

        def produced() -> bool:
            return sum(client.end_offsets(stage.broker, stage.name("echo")).values()) > 100

        client.wait_for(produced, 30, "outputs that are not committed yet")
        began = time.monotonic()
        assert life.stop(number, timeout=30) == 0
        seconds = time.monotonic() - began
    with capsys.disabled():
        print(
            f"\n{number.name}, {guarantee}: stopped in {seconds:.2f} s with {source.made - fed} records since it began"
        )
    assert seconds < 5 * PATIENCE
    committed = client.committed_offsets(stage.broker, stage.app_id, stage.name("data"))
    assert sum(committed.values()) > 0, "the work of the first 20 s was committed at the stop"
    done = check.up_to(read.rows(stage.broker, stage.name("data"), bytes.decode, feed.decode), committed)
    echo = read.rows(stage.broker, stage.name("echo"), bytes.decode, feed.decode)
    total = read.rows(stage.broker, stage.name("sum"), bytes.decode, feed.decode)
    assert check.exactly_once("echo", done, echo) == []
    assert check.exactly_once("sum", check.running(done, check.total), total) == []
    assert client.members(stage.broker, stage.app_id) == [], "it has left the group"
    assert check.no_open_transaction(read.open_spans(stage.broker, [stage.name("echo")], timeout=1.0)) == []


def test_a_second_signal_ends_the_process_at_once(stage: Stage) -> None:
    prepared(stage, [order("apple"), order("beet", sleeps=30.0), order("corn")])
    program = stage.program("orders.py", commit_interval="100ms")
    life = program.start()
    client.wait_for((stage.directory / "slept").exists, 30, "the program to be inside the user's function")
    life.child.terminate()
    time.sleep(0.5)  # the first signal cannot end it: the function does not return
    assert life.alive()
    began = time.monotonic()
    life.child.send_signal(signal.SIGINT)
    assert life.exit(5) == 130
    assert time.monotonic() - began < 1.5 * PATIENCE
    assert "without a commit" in life.log
    again = program.start()
    assert [row.key for row in stage.wait_for_rows("totals", 3)] == [b"k"] * 3
    assert again.stop() == 0


def test_a_program_that_waits_for_its_topic_can_be_stopped(stage: Stage) -> None:
    life = stage.program("orders.py").start()
    life.wait_for("waiting for the input topic")
    began = time.monotonic()
    assert life.stop() == 0
    assert time.monotonic() - began < 5 * PATIENCE
