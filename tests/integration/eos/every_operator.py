"""The application with every step that keeps something, judged by what the driver makes of the same input.

The driver runs the program's own steps in one piece, without commits, crashes or changelogs: what it gives is what an
application that never dies would have given. That the steps themselves are right is for other tests to show.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import tidemill as tm
from tests.brokers import client
from tests.integration.stage import Stage

from . import feed
from .applications import INPUT, PARTITIONS
from .check import Row

Results = Mapping[tuple[int, str], list[Any]]
"""What each step gave, in order, by partition and name of the step."""

PENDING = {"async": 16, "batch": 16}
"""Steps with records that wait when the application stops, and how many at most."""


class EveryOperator:
    module = "every_operator.py"
    outputs = ("results",)
    tasks = PARTITIONS

    def exactly_once(self, stage: Stage, _group: str, done: list[Row]) -> list[str]:
        committed = {row.partition: 0 for row in done}
        for row in done:
            committed[row.partition] = max(committed[row.partition], row.offset + 1)
        module = program(stage)
        found, expected = written(stage), recomputed(stage, module.app, committed)
        silent = set(module.steps) - {step for _, step in expected}
        findings = [f"{step} has nothing to show: it proves nothing" for step in sorted(silent)]
        findings += [f"{place} wrote nothing" for place in sorted(expected.keys() - found.keys())]
        findings += [f"{place} is not to be expected" for place in sorted(found.keys() - expected.keys())]
        for place in sorted(expected.keys() & found.keys()):
            findings += difference(place, expected[place], found[place])
        return findings

    def at_least_once(self, stage: Stage, group: str, done: list[Row]) -> tuple[list[str], int]:
        raise AssertionError("with repeated outputs nothing can be recomputed")

    def stores(self, stage: Stage, done: list[Row], *, repeats: bool) -> Mapping[str, Mapping[str, int]]:
        return {}


def difference(place: tuple[int, str], expected: list[Any], found: list[Any]) -> list[str]:
    """What is wrong with one step's results in one partition."""
    missing = len(expected) - len(found)
    if 0 <= missing <= PENDING.get(place[1], 0) and found == expected[: len(found)]:
        return []
    shortest = min(len(expected), len(found))
    at = next((i for i in range(shortest) if expected[i] != found[i]), shortest)
    wrong, right = found[at : at + 2], expected[at : at + 2]
    return [f"{place}: {len(found)} results instead of {len(expected)}; number {at} is {wrong} instead of {right}"]


def written(stage: Stage) -> Results:
    results: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for row in client.read(stage.broker, stage.name("results")):
        assert row.key is not None
        assert row.value is not None
        step, *rest = json.loads(row.value)
        results[row.partition, step].append([row.key.decode(), rest, row.timestamp])
    return results


def recomputed(stage: Stage, app: tm.App, committed: Mapping[int, int]) -> Results:
    """What the driver gives for the input up to these offsets."""
    results: dict[tuple[int, str], list[Any]] = defaultdict(list)
    topic = stage.name(INPUT)
    parts: dict[int, list[tm.Record[Any, Any]]] = defaultdict(list)
    for row in client.read(stage.broker, topic):
        if row.offset < committed.get(row.partition, 0):
            assert row.key is not None
            assert row.value is not None
            parts[row.partition].append(tm.Record(row.key.decode(), feed.decode(row.value), row.timestamp))
    for number, records in parts.items():
        with tm.testing.TopologyDriver(app, partitions=PARTITIONS) as driver:
            driver.send_all(topic, records, partition=number)
            driver.advance_wall_clock("1s")
            for key, value, timestamp, _, _ in driver.read_bytes(stage.name("results")):
                assert key is not None
                assert value is not None
                step, *rest = json.loads(value)
                results[number, step].append([key.decode(), rest, timestamp])
    return results


def program(stage: Stage) -> ModuleType:
    """The module of the program, for this stage's topics."""
    path = Path(__file__).parent.parent / "programs" / EveryOperator.module
    spec = importlib.util.spec_from_file_location("every_operator_program", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict(os.environ, {"TOPICS": stage.name("x").removesuffix("-x")}):
        spec.loader.exec_module(module)
    return module
