"""Replay a recorded case, and report where Tidemill and Kafka Streams differ.

A case is a file of JSON lines: a header, then inputs, each followed by what it caused, then the contents of the stores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tidemill as tm
from tests.oracle.topologies import TOPOLOGIES
from tidemill import testing

Line = dict[str, Any]


class Case(NamedTuple):
    """A recorded case: its header and the lines after it."""

    header: Line
    lines: list[Line]


class Turn(NamedTuple):
    """One input and what it caused."""

    cause: Line
    outputs: list[Line]
    dropped: int


def load(path: Path) -> Case:
    header, *lines = map(json.loads, path.read_text().splitlines())
    return Case(header, lines)


def turns(lines: list[Line]) -> Iterator[Turn]:
    """Inputs, each with what follows it."""
    cause: Line | None = None
    outputs: list[Line] = []
    dropped = 0
    for line in lines:
        if "out" in line:
            outputs.append(line["out"])
        elif "dropped" in line:
            dropped = line["dropped"]
        elif "store" not in line:
            if cause is not None:
                yield Turn(cause, outputs, dropped)
            cause, outputs, dropped = line, [], 0
    if cause is not None:
        yield Turn(cause, outputs, dropped)


def play(case: Case) -> None:
    """Run a case; raise AssertionError at the first difference."""
    header = case.header
    app = tm.App(f"{header['case']}-{header['variant']}")
    TOPOLOGIES[header["case"]](app, header["params"])
    with testing.TopologyDriver(app, now=header["wall_clock_start"]) as driver:
        before = 0
        for number, (cause, expected, dropped) in enumerate(turns(case.lines)):
            if "in" in cause:
                record = cause["in"]
                driver.send(record["topic"], record["key"], record["value"], record["ts"])
            else:
                driver.advance_wall_clock(cause["advance_wall_clock"])
            place = f"input {number}: {json.dumps(cause)}"
            found = [shown(topic, record) for topic in header["outputs"] for record in driver.read(topic)]
            assert found == expected, place
            total = sum(driver.dropped.values())
            assert total - before == dropped, place
            before = total
        times = sorted({line["in"]["ts"] for line in case.lines if "in" in line})
        for line in case.lines:
            if "store" in line:
                if line["kind"] == "versioned":
                    found = versions(driver, line["store"], times)
                else:
                    entries = contents(driver, line["store"])
                    found = [recorded(entry, line["kind"]) for entry in entries if listed(entry, case)]
                assert found == line["entries"], f"store {line['store']}"


def shown(topic: str, record: tm.Record[Any, Any]) -> Line:
    """An output as the recorder writes it."""
    return {"topic": topic, **keyed(record.key), "value": record.value, "ts": record.timestamp, **window(record.key)}


def keyed(key: Any) -> Line:
    return {"key": key.key if isinstance(key, tm.Windowed) else key}


def window(key: Any) -> Line:
    return {"window": {"start": key.start, "end": key.end}} if isinstance(key, tm.Windowed) else {}


def recorded(entry: Line, kind: str) -> Line:
    """An entry with what the recorder has of it: what a processor keeps has no time of its own, and a session's time is
    its end."""
    return {name: value for name, value in entry.items() if name != "ts" or kind not in ("kv", "session")}


def listed(entry: Line, case: Case) -> bool:
    """Whether the recorder lists an entry: not a session that takes no more records and is still to be sent."""
    params = case.header["params"]
    if case.header["case"] != "session" or params["emit"] != "close":
        return True
    time = max(line["in"]["ts"] for line in case.lines if "in" in line and line["in"]["key"] is not None)
    return bool(entry["window"]["end"] > time - params["gap"] - params["grace"])


def versions(driver: testing.TopologyDriver, name: str, times: list[int]) -> list[Line]:
    """A store of versions as the recorder lists it: of each key the newest, then what it finds as of times it has seen,
    where that is something else than at the time before."""
    found: list[Line] = []
    for task in driver._tasks.values():
        for state in task.subtopology.stores:
            find = state.view.as_of
            if find is None or state.spec.name != name:
                continue
            cache = task.caches[state.spec.name]
            slots = dict(cache.scan(b"", None))
            for key in sorted({slot[0] for slot in slots if isinstance(slot, tuple)}):
                newest = slots.get(state.view.to_key(key))
                if newest is not None and newest.value is not None:
                    found.append({"key": key, "value": newest.value, "ts": newest.valid_from})
                before = None
                for time in times:
                    version = find(cache, key, time)
                    if version is not None and version != before:
                        line = {"value": version.value, "ts": version.valid_from, "valid_to": None}
                        found.append({"key": key, "as_of": time, **line})
                    before = version or before
    return found


def contents(driver: testing.TopologyDriver, name: str) -> list[Line]:
    """A store as the recorder lists it: by key, then by window."""
    entries: list[tuple[Any, int, Line]] = []
    for subtopology in driver.plan.subtopologies:
        for state in subtopology.stores:
            if state.spec.name == name:
                view = state.view
                for task in subtopology.tasks():
                    cache = driver._tasks[task].caches[name]
                    for raw_key, entry in cache.scan(b"", None):
                        if view.visible(raw_key) and view.from_value(entry) is not None:
                            key = view.from_key(raw_key)
                            start = key.start if isinstance(key, tm.Windowed) else 0
                            line = {
                                **keyed(key),
                                **window(key),
                                "value": view.from_value(entry),
                                "ts": view.timestamp(entry),
                            }
                            entries.append((line["key"], start, line))
    return [line for _, _, line in sorted(entries, key=lambda entry: entry[:2])]
