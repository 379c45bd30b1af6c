"""A topic that is deleted and created again keeps its name only: nobody goes on with it as if it were the old one."""

from __future__ import annotations

import pytest

from tidemill.engine.ids import TaskId

from .driver import Violation
from .stage import Stage, stage

SEEDS = range(5)


def run_and_stop(play: Stage, records: int = 12) -> None:
    """Some records are processed; then nobody runs any more."""
    process = play.new()
    for _ in range(records):
        play.feed()
    play.settled()
    process.stop()
    play.until(lambda: not play.processes, 5000, "it has stopped")


def created_again(seed: int, topic: str, records: int) -> None:
    """A topic is deleted and created again while nobody runs, filled, and the program started."""
    with stage(seed) as play:
        run_and_stop(play)
        play.broker.create(topic, 2)
        for _ in range(records):
            play.feed()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("records", [3, 200])
def test_an_input_that_was_created_again_is_not_read_in_its_middle(seed: int, records: int) -> None:
    """However many records it has by now."""
    with pytest.raises(Violation) as caught:
        created_again(seed, "in", records)
    said = str(caught.value)
    assert "the input topic 'in' was deleted and created again" in said
    assert "of the topic with id id-1, the topic of this name has id id-4" in said
    assert "`tidemill reset sim --topic in`" in said


@pytest.mark.parametrize("seed", SEEDS)
def test_state_does_not_begin_from_nothing_when_its_changelog_was_created_again(seed: int) -> None:
    with pytest.raises(Violation) as caught:
        created_again(seed, "sim-seen-changelog", 12)
    said = str(caught.value)
    assert "the changelog topic 'sim-seen-changelog' was deleted and created again" in said
    assert "`tidemill reset sim`" in said


@pytest.mark.parametrize("seed", SEEDS)
def test_local_state_of_before_a_reset_is_not_used_though_the_new_changelog_is_longer(seed: int) -> None:
    """A reset on another machine deletes offsets and internal topics; local state is left here."""
    with stage(seed, partitions=1) as play:
        run_and_stop(play, records=4)
        here = play.disks.copy()
        play.broker.drop_offsets("in")
        play.broker.create("sim-seen-changelog", 1)
        play.broker.create("out", 1)
        play.disks.clear()
        run_and_stop(play, records=20)
        play.disks[:] = here
        process = play.new()
        while process.disk is not here[0]:
            play.dies(process)
            play.disks[:] = here
            process = play.new()
        play.until(lambda: TaskId(0, 0) in process.tasks, 5000, "the task runs where the old state is")


def lost_in_mid_run(seed: int, topic: str, *, again: bool) -> None:
    """A topic is deleted in mid-run, and created again or not."""
    with stage(seed) as play:
        play.new()
        for _ in range(12):
            play.feed()
        play.settled()
        del play.broker.topics[topic]
        if again:
            play.broker.create(topic, 2)
        play.go_on(10_000)


def noticed(seed: int, topic: str, *, again: bool) -> str:
    """What a process ends with then."""
    with pytest.raises(Violation) as caught:
        lost_in_mid_run(seed, topic, again=again)
    return str(caught.value)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("topic", "kind"), [("in", "input"), ("sim-seen-changelog", "changelog")])
def test_a_topic_that_is_created_again_in_mid_run_is_noticed(seed: int, topic: str, kind: str) -> None:
    assert f"the {kind} topic {topic!r} was deleted and created again" in noticed(seed, topic, again=True)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("topic", "kind"), [("in", "input"), ("sim-seen-changelog", "changelog"), ("out", "output")])
def test_a_topic_that_is_gone_in_mid_run_is_named(seed: int, topic: str, kind: str) -> None:
    said = noticed(seed, topic, again=False)
    assert f"the {kind} topic {topic!r} (id " in said
    assert "does not exist any more" in said


@pytest.mark.parametrize("seed", SEEDS)
def test_an_output_may_be_created_again(seed: int) -> None:
    with stage(seed) as play:
        play.new()
        play.settled()
        play.broker.create("out", 2)
        play.go_on(10_000)
        for _ in range(12):
            play.feed()
