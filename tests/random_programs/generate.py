"""Generate programs and their events from a seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import tidemill as tm
from tests.random_programs import steps
from tests.random_programs.program import NAMES, Advance, Event, Line, Program, Send
from tidemill.operators.time.event_time import LATEST

__all__ = ["events_of", "generate"]

TOPICS = "abc"
KEYS: dict[str, list[Any]] = {
    "tm.utf8": ["k", "l", "m", "", " ", "ä\x00k"],
    "tm.json": ["k", "l", 1, 1.0, True, 0, -0.0, "1", "", [1, "a"], [1.0, "a"], {"x": 1}, False, [True, "a"]],
    "tm.int64": [0, 1, -1, 2**40],
    "tm.float64": [0.0, -0.0, 1.0, float("nan"), float("inf")],
}
VALUES: list[Any] = [*range(16), 1.5, True, "text", "", [], [3, [4]], {}, {"x": 7}, {"x": 13}, {"x": None}]
VALUES += [{"items": 1, "get": 2, "x": 4, "keys": [1]}, {"x": [2, 3], "y": {"x": 1}}]


def generate(seed: int, kind: str = "any") -> Program:
    """Return the program of a seed; kind "tables" has only tables, and nothing that depends on an order."""
    random = Random(f"{kind} {seed}")
    for _ in range(100):
        key = random.choice(["tm.utf8", "tm.utf8", "tm.json", "tm.json", "tm.float64", "tm.int64"])
        lines = _lines(random, key, kind)
        if lines is not None:
            return Program(tuple(lines), tuple(events_of(random, key, lines)))
    raise AssertionError(f"no program came of seed {seed}")


def _lines(random: Random, key: str, kind: str) -> list[Line] | None:
    lines: list[Line] = []
    pool: dict[str, str] = {}
    app = tm.App("p", on_error=tm.skip)
    scope: dict[str, Any] = {**NAMES, "app": app}

    def add(kind: str, text: str) -> bool:
        name = f"s{len(lines)}"
        if steps.stateful(text):
            text += f'.named("{name}")'
        try:
            exec(f"{name} = {text}", scope)
        except tm.TopologyError:
            return False
        lines.append(Line(name, text))
        pool[name] = kind
        return True

    marked = kind == "any" and random.random() < 0.25
    for topic in TOPICS[: random.choice([1, 1, 2, 2, 3])]:
        add(*steps.source(random, topic, key, kind, marked=marked))
    wanted = len(lines) + random.randint(1, 6)
    for _ in range(60):
        if len(lines) >= wanted:
            break
        step = steps.step(random, pool, key, kind)
        if step is not None:
            add(*step)
    for name, of in list(pool.items()):
        leaf = not any(line.uses(name) for line in lines)
        if of in ("stream", "table", "result", "windowed") and (leaf or random.random() < 0.25):
            lines.append(Line("", f'{name}.to("out-{name}")'))
    try:
        tm.testing.TopologyDriver(Program(tuple(lines), ()).app()).close()
    except tm.TopologyError:
        return None
    return lines


def events_of(random: Random, key: str, lines: list[Line]) -> list[Event]:
    """Return records for the sources of a program, among them some that cannot be read, and steps of the clock."""
    topics = [topic for topic in TOPICS if any(f'("{topic}",' in line.text for line in lines)]
    keys = random.sample(KEYS[key], min(len(KEYS[key]), random.randint(1, 5)))
    time = random.choice([0, 0, 1, 1_000, 1_700_000_000_000])
    values = random.choice([list(range(12)), VALUES, VALUES])
    clocks = any(word in line.text for line in lines for word in ("idle", "wall", "wait", "every", "Timing", "Recur"))
    events: list[Event] = []
    for _ in range(random.randint(3, 28)):
        if clocks and random.random() < 0.12:
            events.append(Advance(random.choice([1, 7, 30, 60, 600])))
            continue
        time += random.choice([0, 0, 1, 1, 2, 3, 5, 9])
        raw = _encoded(key, random.choice(keys))
        value = random.choice(values)
        events.append(
            Send(
                random.choice(topics),
                random.choice([None, b"\xff"]) if random.random() < 0.04 else raw,
                _raw_value(random, value),
                _odd_time(random, time),
            )
        )
        if random.random() < 0.03:
            time += random.choice([50, 1_000, 86_400_000])
    return events


def _encoded(serde: str, key: Any) -> bytes:
    return getattr(tm, serde.removeprefix("tm.")).encode(key)


def _raw_value(random: Random, value: Any) -> bytes | None:
    match random.random():
        case chance if chance < 0.08:
            return None
        case chance if chance < 0.10:
            return b"{"
        case _:
            return json.dumps(value).encode()


def _odd_time(random: Random, time: int) -> int:
    chances: list[tuple[float, Callable[[], int]]] = [
        (0.20, lambda: max(time - random.randint(1, 30), 0)),
        (0.22, lambda: 0),
        (0.23, lambda: -1),
        (0.235, lambda: LATEST + 1),
        (0.24, lambda: LATEST),
    ]
    chance = random.random()
    return next((make() for below, make in chances if chance < below), time)
