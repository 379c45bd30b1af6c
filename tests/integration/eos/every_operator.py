"""The application with every stateful operator, verified against the results of the test driver.

The driver runs the same program in one piece, without commits, crashes or changelogs: its results are those of an
application that never fails. The operators themselves are tested elsewhere.
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
"""The results of each step, in order, by partition and name of the step."""

PENDING = {"async": 16, "batch": 16}
"""Steps with pending records when the application stops, and their maximum number."""


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
        for number, step in sorted(expected.keys() & found.keys()):
            here = found[number, step]
            if step.endswith("-commit"):
                findings += not_last((number, step), found[number, step.replace("-commit", "-update")], here)
            else:
                findings += difference((number, step), expected[number, step], here)
        return findings

    def at_least_once(self, stage: Stage, group: str, done: list[Row]) -> tuple[list[str], int]:
        raise AssertionError("with repeated outputs the results cannot be recomputed")

    def stores(self, stage: Stage, done: list[Row], *, repeats: bool) -> Mapping[str, Mapping[str, int]]:
        return {}


def difference(place: tuple[int, str], expected: list[Any], found: list[Any]) -> list[str]:
    """Return the differences in the results of a step in a partition."""
    missing = len(expected) - len(found)
    if 0 <= missing <= PENDING.get(place[1], 0) and found == expected[: len(found)]:
        return []
    shortest = min(len(expected), len(found))
    at = next((i for i in range(shortest) if expected[i] != found[i]), shortest)
    wrong, right = found[at : at + 2], expected[at : at + 2]
    return [f"{place}: {len(found)} results instead of {len(expected)}; number {at} is {wrong} instead of {right}"]


def not_last(place: tuple[int, str], updates: list[Any], found: list[Any]) -> list[str]:
    """Return the violations in results on commit: some of the updates per row, in order, including the last one.

    A row that was deleted may have no result at all.
    """
    findings: list[str] = []
    right, sent = by_row(updates), by_row(found)
    for row in sorted(right.keys() | sent.keys()):
        mine, rest = sent.get(row, []), iter(right.get(row, []))
        ended = bool(right.get(row)) and right[row][-1][0] is None
        if not all(one in rest for one in mine) or (mine[-1:] != right.get(row, [])[-1:] and not (ended and not mine)):
            findings.append(f"{place}: {row} has {mine[-3:]} of {right.get(row, [])[-3:]}")
    return findings


def by_row(results: list[Any]) -> dict[str, list[Any]]:
    """Return values and timestamps by key and window."""
    rows: dict[str, list[Any]] = defaultdict(list)
    for key, (*window, value), timestamp in results:
        rows[f"{key} {window}"].append((value, timestamp))
    return rows


def written(stage: Stage) -> Results:
    results: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for row in client.read(stage.broker, stage.name("results")):
        assert row.key is not None
        assert row.value is not None
        step, *rest = json.loads(row.value)
        results[row.partition, step].append([row.key.decode(), rest, row.timestamp])
    return results


def recomputed(stage: Stage, app: tm.App, committed: Mapping[int, int]) -> Results:
    """Return the results of the driver for the input up to these offsets."""
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
    """Return the module of the program, for the topics of this stage."""
    path = Path(__file__).parent.parent / "programs" / EveryOperator.module
    spec = importlib.util.spec_from_file_location("every_operator_program", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.dict(os.environ, {"TOPICS": stage.name("x").removesuffix("-x")}):
        spec.loader.exec_module(module)
    return module
