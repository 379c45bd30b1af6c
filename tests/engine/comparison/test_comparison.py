"""Which topics are compared, and when both applications have processed their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from tidemill.engine.clock import ManualClock
from tidemill.engine.comparison.comparison import ComparedSink, Comparison, compared_sinks, lag
from tidemill.engine.errors import Fatal
from tidemill.engine.kafka.consumer import Polled
from tidemill.engine.snapshots.savepoint import Savepoint, SavepointOutput
from tidemill.operators.record import Batch

OUTPUTS = (SavepointOutput("out", 0, 7), SavepointOutput("out", 1, 9), SavepointOutput("gone", 0, 1))
SAVEPOINT = Savepoint("kept", "old", "1", "a", 0, "exactly_once", [], [], [], [], 0, OUTPUTS)


def test_sinks_of_both_versions_are_compared() -> None:
    topics = ["out", "new-out-shadow", "new-more-shadow", "newer-out-shadow", "new-x-changelog"]
    assert compared_sinks(SAVEPOINT, "new", topics) == [
        ComparedSink("gone", None, {0: 1}),
        ComparedSink("more", "new-more-shadow", None),
        ComparedSink("out", "new-out-shadow", {0: 7, 1: 9}),
    ]


def test_a_partition_without_an_offset_is_behind() -> None:
    assert lag({("in", 0): 3, ("in", 1): 2, ("in", 2): 0}, {("in", 0): 3}) == {("in", 1): 2}


class Cluster:
    """Topics and groups; an application processes 5 offsets whenever it is asked for."""

    def __init__(self) -> None:
        self.done = {"old": 5, "new": 0}
        self.end = 20
        self.stuck = ""
        self.reading: dict[tuple[str, int], int] = {}

    def offsets(self, group: str) -> Mapping[tuple[str, int], int]:
        self.done[group] = min(self.end, self.done[group] + (0 if group == self.stuck else 5))
        return {("in", 0): self.done[group]}

    def partitions(self) -> Mapping[str, int]:
        return {"in": 1, "out": 1, "new-out-shadow": 1}

    def ends(self, keys: Iterable[tuple[str, int]], *, committed: bool) -> Mapping[tuple[str, int], int]:
        found = {"in": self.end, "out": self.done["old"], "new-out-shadow": self.done["new"]}
        return {key: found[key[0]] for key in keys}

    def assign(self, offsets: Mapping[tuple[str, int], int]) -> None:
        self.reading.update(offsets)

    def unassign(self, keys: Iterable[tuple[str, int]]) -> None:
        for key in list(keys):
            self.reading.pop(key, None)

    def poll(self, limit: int, timeout: float) -> Polled:
        batches: list[Batch] = []
        for key, at in self.reading.items():
            offsets = list(range(at, self.ends([key], committed=True)[key]))
            keys: list[bytes | None] = [b"k"] * len(offsets)
            values: list[bytes | None] = [b"v%d" % at for at in offsets]
            batches += [Batch(*key, keys, values, [*offsets], offsets, None, 0)] if offsets else []
            self.reading[key] = at + len(offsets)
        return Polled(batches, {})


def test_a_round_waits_until_both_have_processed_their_inputs() -> None:
    cluster, said = Cluster(), list[str]()
    sinks = [ComparedSink("out", "new-out-shadow", {0: 0})]
    comparing = Comparison("old", "new", sinks, cluster, cluster, cluster, ManualClock(), said.append)
    comparing.round(60_000)
    found = comparing.results["out"]
    assert (found.equal, found.different, found.missing, found.pending) == (20, 0, (0, 0), 0)
    assert any("new is" in line for line in said)


def test_an_application_that_does_not_run_is_named() -> None:
    cluster = Cluster()
    cluster.stuck = "new"
    sinks = [ComparedSink("out", "new-out-shadow", {0: 0})]
    comparing = Comparison("old", "new", sinks, cluster, cluster, cluster, ManualClock(), lambda line: None)
    with pytest.raises(Fatal, match="new is 20 offsets behind in topic 'in', partition 0"):
        comparing.round(1_000)
