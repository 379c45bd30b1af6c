"""The applications under test: their programs, topics and expected results.

Expected results are computed from the input topics, up to the offsets that the group committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tests.brokers import client
from tests.integration.stage import Stage

from . import check, feed, read
from .check import Fold, Row

PARTITIONS = 4
INPUT = "data"


class Application(Protocol):
    """A program in `programs/` and the verification of its results."""

    @property
    def module(self) -> str: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def tasks(self) -> int: ...

    def exactly_once(self, stage: Stage, group: str, done: list[Row], /) -> list[str]:
        """Return the violations of exactly-once in the outputs, for the committed input `done`."""
        ...

    def at_least_once(self, stage: Stage, group: str, done: list[Row], /) -> tuple[list[str], int]:
        """Return the violations of at-least-once, and the number of repeated outputs."""
        ...

    def stores(self, stage: Stage, done: list[Row], *, repeats: bool) -> Mapping[str, Mapping[str, int]]:
        """Return the expected contents of each store; with `repeats`, some of the outputs may be repeated."""
        ...


def output(stage: Stage, topic: str) -> list[Row]:
    return read.rows(stage.broker, stage.name(topic), bytes.decode, feed.decode)


class EchoMinSum:
    """Echo, minimum and sum per key: all in the task of the input partition."""

    module = "echo_min_sum.py"
    outputs = ("echo", "min", "sum")
    tasks = PARTITIONS
    folds: Mapping[str, Fold] = {"min": check.smallest, "sum": check.total}

    def exactly_once(self, stage: Stage, _group: str, done: list[Row]) -> list[str]:
        findings = check.exactly_once("echo", done, output(stage, "echo"))
        for name, fold in self.folds.items():
            findings += check.exactly_once(name, check.running(done, fold), output(stage, name))
        return findings

    def at_least_once(self, stage: Stage, _group: str, done: list[Row]) -> tuple[list[str], int]:
        findings, repeated = check.at_least_once("echo", done, output(stage, "echo"))
        wrong, again = check.at_least_once("sum", check.running(done, check.total), output(stage, "sum"))
        seen = {(row.key, row.value) for row in output(stage, "min")}
        possible = {(row.key, row.value) for row in check.running(done, check.smallest)}
        if seen != possible:
            findings.append(f"min: {len(possible - seen)} values are lost, {len(seen - possible)} never to be expected")
        return findings + wrong, repeated + again

    def stores(self, stage: Stage, done: list[Row], *, repeats: bool) -> Mapping[str, Mapping[str, int]]:
        return {name: check.final(done, fold) for name, fold in self.folds.items()}


class MaxCount:
    """Maximum and count per new key, downstream of a repartition topic."""

    module = "max_count.py"
    outputs = ("max", "count", "last")
    tasks = 2 * PARTITIONS
    folds: Mapping[str, Fold] = {"max": check.largest, "count": check.number, "last": check.newest}

    def exactly_once(self, stage: Stage, group: str, done: list[Row]) -> list[str]:
        """The output `last` shows the order in which values arrived; all other results must follow from it."""
        arrived = output(stage, "last")
        findings = check.through_repartition("last", self._rekeyed(done), arrived, self._waiting(stage, group))
        for name in ("max", "count"):
            findings += check.exactly_once(name, check.running(arrived, self.folds[name]), output(stage, name))
        return findings

    def at_least_once(self, stage: Stage, group: str, done: list[Row]) -> tuple[list[str], int]:
        """A value may go through the repartition topic again and be counted again."""
        arrived = output(stage, "last")
        expected = {(row.key, row.value) for row in self._rekeyed(done)}
        there = {(row.key, row.value) for row in (*arrived, *self._waiting(stage, group))}
        findings: list[str] = []
        if there != expected:
            findings.append(f"last: {len(expected - there)} values lost, {len(there - expected)} never to be expected")
        for name, fold in (("max", check.largest), ("count", check.number)):
            best: dict[str, int] = {}
            for row in output(stage, name):
                best[row.key] = max(row.value, best.get(row.key, row.value))
            least = check.final({(row.key, row.value): row for row in arrived}.values(), fold)
            low = [key for key, value in least.items() if best.get(key, -1) < value]
            if low:
                findings.append(f"{name}: {len(low)} keys have less than came in, such as {low[:3]}")
        return findings, len(arrived) - len({row.value for row in arrived})

    def stores(self, stage: Stage, done: list[Row], *, repeats: bool) -> Mapping[str, Mapping[str, int]]:
        if repeats:  # repeated outputs cannot be recognized from outside; the last one per key is not a repetition
            return {name: check.final(output(stage, name), check.newest) for name in self.folds}
        arrived = output(stage, "last")
        return {name: check.final(arrived, fold) for name, fold in self.folds.items()}

    @staticmethod
    def _rekeyed(done: list[Row]) -> list[Row]:
        return [row._replace(key=f"bucket-{row.value % 97:02d}") for row in done]

    @staticmethod
    def _waiting(stage: Stage, group: str) -> list[Row]:
        """Return the records of the repartition topic that are not processed yet."""
        offsets = client.committed(stage.broker, group)
        [topic] = [name for name in client.topics(stage.broker) if name.startswith(group) and "-repartition" in name]
        begin = read.by_partition(offsets, topic)
        return read.rows(stage.broker, topic, bytes.decode, feed.decode, start=begin)
