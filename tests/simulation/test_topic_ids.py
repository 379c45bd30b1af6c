"""Simulation of recreated topics: no process continues with a new topic as if it were the old one."""

from __future__ import annotations

import pytest

from tests.support.examples import seeds
from tidemill.engine.ids import TaskId

from .driver import Violation
from .scenario import Scenario, scenario

SEEDS = seeds(5, fast=2)


def run_and_stop(run: Scenario, records: int = 12) -> None:
    """Process some records, and stop all processes."""
    process = run.start_process()
    for _ in range(records):
        run.feed()
    run.until_processed()
    process.stop()
    run.until(lambda: not run.processes, 5000, "it has stopped")


def created_again(seed: int, topic: str, records: int) -> None:
    """Recreate and fill a topic while no process runs, then start the program."""
    with scenario(seed) as run:
        run_and_stop(run)
        run.broker.create(topic, 2)
        for _ in range(records):
            run.feed()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("records", [3, 200])
def test_a_recreated_input_is_not_read_from_the_old_offset(seed: int, records: int) -> None:
    """Whatever its number of records."""
    with pytest.raises(Violation) as caught:
        created_again(seed, "in", records)
    said = str(caught.value)
    assert "the input topic 'in' was deleted and created again" in said
    assert "of the topic with id id-1, the topic of this name has id id-4" in said
    assert "`tidemill reset sim --topic in`" in said


@pytest.mark.parametrize("seed", SEEDS)
def test_state_does_not_start_empty_when_its_changelog_was_recreated(seed: int) -> None:
    with pytest.raises(Violation) as caught:
        created_again(seed, "sim-seen-changelog", 12)
    said = str(caught.value)
    assert "the changelog topic 'sim-seen-changelog' was deleted and created again" in said
    assert "`tidemill reset sim`" in said


@pytest.mark.parametrize("seed", SEEDS)
def test_local_state_from_before_a_reset_is_not_used_even_if_the_new_changelog_is_longer(seed: int) -> None:
    """A reset on another machine deletes offsets and internal topics, but not the local state of this one."""
    with scenario(seed, partitions=1) as run:
        run_and_stop(run, records=4)
        here = run.disks.copy()
        run.broker.drop_offsets("in")
        run.broker.create("sim-seen-changelog", 1)
        run.broker.create("out", 1)
        run.disks.clear()
        run_and_stop(run, records=20)
        run.disks[:] = here
        process = run.start_process()
        while process.disk is not here[0]:
            run.kill_and_remove(process)
            run.disks[:] = here
            process = run.start_process()
        run.until(lambda: TaskId(0, 0) in process.tasks, 5000, "the task runs where the old state is")


def lost_in_mid_run(seed: int, topic: str, *, again: bool) -> None:
    """Delete a topic during the run, and optionally recreate it."""
    with scenario(seed) as run:
        run.start_process()
        for _ in range(12):
            run.feed()
        run.until_processed()
        del run.broker.topics[topic]
        if again:
            run.broker.create(topic, 2)
        run.run_for(10_000)


def noticed(seed: int, topic: str, *, again: bool) -> str:
    """Return the error with which a process then ends."""
    with pytest.raises(Violation) as caught:
        lost_in_mid_run(seed, topic, again=again)
    return str(caught.value)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("topic", "kind"), [("in", "input"), ("sim-seen-changelog", "changelog")])
def test_a_topic_that_is_recreated_during_the_run_is_detected(seed: int, topic: str, kind: str) -> None:
    assert f"the {kind} topic {topic!r} was deleted and created again" in noticed(seed, topic, again=True)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("topic", "kind"), [("in", "input"), ("sim-seen-changelog", "changelog"), ("out", "output")])
def test_a_topic_that_is_deleted_during_the_run_is_named(seed: int, topic: str, kind: str) -> None:
    said = noticed(seed, topic, again=False)
    assert f"the {kind} topic {topic!r} (id " in said
    assert "does not exist any more" in said


@pytest.mark.parametrize("seed", SEEDS)
def test_an_output_may_be_recreated(seed: int) -> None:
    with scenario(seed) as run:
        run.start_process()
        run.until_processed()
        run.broker.create("out", 2)
        run.run_for(10_000)
        for _ in range(12):
            run.feed()
