"""Verification of all committed results against the batch computation, and of each update.

All results are read back from the broker after the application has ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from batch import Comparison, Results, airlines, airport_hours, compare, read_flights
from feed import Event
from results import AIRLINES, HOURS, REPEATS, Row, read_all


def verify(broker: str, events: list[Event]) -> list[Comparison]:
    """Return the comparisons of final results, followed by those of all updates."""
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
        check_updates("updates of airports and hours", counts(found[HOURS]), hours),
        check_updates("updates of airlines", counts(found[AIRLINES]), totals),
        check_unique("records of flights that came twice", (key for key, _ in found[REPEATS])),
    ]


def counts(updates: Iterable[tuple[Any, Row]]) -> list[tuple[Any, int]]:
    """Return the key and the number of flights of each update."""
    return [(key, row["flights"]) for key, row in updates]


def check_updates(name: str, updates: Iterable[tuple[Any, int]], expected: Results) -> Comparison:
    """Check that each update of a key counts more flights than the previous one.

    This finds updates that were written twice, or computed from state that should have been rolled back, even if the
    last value is right.
    """
    comparison = Comparison(name, 0)
    previous: dict[Any, int] = {}
    for key, count in updates:
        comparison.expected += 1
        if count > previous.get(key, 0):
            comparison.equal += 1
        else:
            comparison.differences.append(f"{key}: an update with {count} flights follows one with {previous[key]}")
        previous[key] = count
    wrong = [key for key, row in expected.items() if previous.get(key) != row["flights"]]
    comparison.differences.extend(f"{key}: the last update has {previous.get(key, 0)} flights" for key in wrong)
    return comparison


def check_unique(name: str, keys: Iterable[Any]) -> Comparison:
    """Check that no key was written twice."""
    comparison = Comparison(name, 0)
    seen: set[Any] = set()
    for key in keys:
        comparison.expected += 1
        if key in seen:
            comparison.differences.append(f"{key}: written twice")
        else:
            comparison.equal += 1
        seen.add(key)
    return comparison


def report(comparisons: list[Comparison], limit: int = 5) -> list[str]:
    """Return the comparisons as lines of text, each with its first differences."""
    lines: list[str] = []
    results = ("Compared with Polars over the same files, record by record", "equal", comparisons[:3])
    updates = ("All updates, in order", "counted once", comparisons[3:])
    for title, outcome, part in (results, updates):
        lines.append(f"\n{title}")
        for comparison in part:
            lines.append(f"  {comparison.name:<34}{comparison.equal:>9,} of {comparison.expected:>9,} {outcome}")
            lines.extend(f"    {line}" for line in comparison.differences[:limit])
            if len(comparison.differences) > limit:
                lines.append(f"    and {len(comparison.differences) - limit:,} more")
    return lines
