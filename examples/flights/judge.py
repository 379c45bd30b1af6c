"""The verdict: every result that was committed against the batch computation, and every update against the one before.

The results are read anew from the broker after the application has ended, from the first record to the last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from batch import Results, Verdict, airlines, airport_hours, compare, read_flights
from feed import Event
from results import AIRLINES, HOURS, REPEATS, Row, read_all


def judge(broker: str, events: list[Event]) -> list[Verdict]:
    """All verdicts, the most telling first."""
    found: dict[str, list[tuple[Any, Row]]] = {HOURS: [], AIRLINES: [], REPEATS: []}
    for topic, key, row in read_all(broker, list(found)):
        found[topic].append((key, row))
    rows = read_flights()
    hours, totals = airport_hours(rows), airlines(rows)
    repeats = {(event.key, event.time): msgspec.json.decode(event.value) for event in events if event.repeat}
    return [
        compare("airports, hour by hour", dict(found[HOURS]), hours),
        compare("airlines", dict(found[AIRLINES]), totals),
        compare("flights that came twice", dict(found[REPEATS]), repeats),
        each_once("updates of airports' hours", counts(found[HOURS]), hours),
        each_once("updates of airlines", counts(found[AIRLINES]), totals),
        none_doubled("notes of flights that came twice", (key for key, _ in found[REPEATS])),
    ]


def counts(updates: Iterable[tuple[Any, Row]]) -> list[tuple[Any, int]]:
    """Each update with the number of flights it speaks of."""
    return [(key, row["flights"]) for key, row in updates]


def each_once(what: str, updates: Iterable[tuple[Any, int]], expected: Results) -> Verdict:
    """Every update of a key counts more flights than the one before it: an update that came twice, or was computed from
    state that should have been rolled back, shows here even when the last value is right."""
    verdict = Verdict(what, 0)
    before: dict[Any, int] = {}
    for key, count in updates:
        verdict.expected += 1
        if count > before.get(key, 0):
            verdict.equal += 1
        else:
            verdict.wrong.append(f"{key}: an update with {count} flights came after one with {before[key]}")
        before[key] = count
    short = [key for key, row in expected.items() if before.get(key) != row["flights"]]
    verdict.wrong.extend(f"{key}: the last update has {before.get(key, 0)} flights" for key in short)
    return verdict


def none_doubled(what: str, keys: Iterable[Any]) -> Verdict:
    """No key came twice."""
    verdict = Verdict(what, 0)
    seen: set[Any] = set()
    for key in keys:
        verdict.expected += 1
        if key in seen:
            verdict.wrong.append(f"{key}: written twice")
        else:
            verdict.equal += 1
        seen.add(key)
    return verdict


def report(verdicts: list[Verdict], most: int = 5) -> list[str]:
    """The verdicts as lines, with the first few differences."""
    lines: list[str] = []
    results = ("Compared with Polars over the same files, record for record", "equal", verdicts[:3])
    updates = ("Every update on the way there, in order", "counted once", verdicts[3:])
    for title, how, part in (results, updates):
        lines.append(f"\n{title}")
        for verdict in part:
            lines.append(f"  {verdict.what:<34}{verdict.equal:>9,} of {verdict.expected:>9,} {how}")
            lines.extend(f"    {line}" for line in verdict.wrong[:most])
            if len(verdict.wrong) > most:
                lines.append(f"    and {len(verdict.wrong) - most:,} more")
    return lines
