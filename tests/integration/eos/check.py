"""The verifier: compares the output of an application with results recomputed from its input.

Pure and independent: it imports neither Tidemill nor a Kafka client. Each function returns descriptions of the
violations; an empty list means none. With exactly-once the output of a partition must be the recomputed sequence,
record for record; with at-least-once it may go back and repeat, but never skip.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

SHOWN = 3
"""The maximum number of examples in a description."""


class Row(NamedTuple):
    """A decoded record of a topic."""

    partition: int
    offset: int
    key: Any
    value: Any


Fold = Callable[[Any, Any], Any]
"""Returns the aggregate after one more value; the aggregate before the first value is None."""


def smallest(so_far: Any, value: Any) -> Any:
    return value if so_far is None or value < so_far else so_far


def largest(so_far: Any, value: Any) -> Any:
    return value if so_far is None or value > so_far else so_far


def total(so_far: Any, value: Any) -> Any:
    return value if so_far is None else so_far + value


def number(so_far: Any, _value: Any) -> Any:
    return 1 if so_far is None else so_far + 1


def newest(_so_far: Any, value: Any) -> Any:
    return value


def up_to(rows: Iterable[Row], committed: Mapping[int, int]) -> list[Row]:
    """Return the rows before the committed offset of their partition."""
    return [row for row in rows if row.offset < committed.get(row.partition, 0)]


def running(rows: Iterable[Row], fold: Fold) -> list[Row]:
    """Return each row with the aggregate of its key so far in place of its value."""
    state: dict[Any, Any] = {}
    result: list[Row] = []
    for row in rows:
        state[row.key] = value = fold(state.get(row.key), row.value)
        result.append(row._replace(value=value))
    return result


def final(rows: Iterable[Row], fold: Fold) -> dict[Any, Any]:
    """Return the final aggregate per key: the expected contents of a store."""
    state: dict[Any, Any] = {}
    for row in rows:
        state[row.key] = fold(state.get(row.key), row.value)
    return state


def partitions(rows: Iterable[Row]) -> dict[int, list[tuple[Any, Any]]]:
    """Return keys and values by partition, in order."""
    result: dict[int, list[tuple[Any, Any]]] = defaultdict(list)
    for row in rows:
        result[row.partition].append((row.key, row.value))
    return result


def exactly_once(name: str, expected: Sequence[Row], actual: Sequence[Row]) -> list[str]:
    """Check for one output per input, in order in each partition, with the expected value."""
    findings: list[str] = []
    want, got = partitions(expected), partitions(actual)
    for partition in sorted(want.keys() | got.keys()):
        mine, theirs = want.get(partition, []), got.get(partition, [])
        if mine != theirs:
            findings.append(f"{name}, partition {partition}: {difference(mine, theirs)}")
    return findings


def difference(want: Sequence[Hashable], got: Sequence[Hashable]) -> str:
    """Describe how two sequences differ: lost, duplicated, unexpected, or only reordered records."""
    wanted, found = Counter(want), Counter(got)
    parts = [f"{len(want)} records expected, {len(got)} found"]
    lost = list((wanted - found).elements())
    extra = list((found - wanted).elements())
    doubled = [item for item in extra if item in wanted]
    foreign = [item for item in extra if item not in wanted]
    for what, items in (("lost", lost), ("doubled", doubled), ("never to be expected", foreign)):
        if items:
            parts.append(f"{len(items)} {what}, such as {items[:SHOWN]}")
    if not lost and not extra:
        parts.append("the same records in another order")
    place = next(
        (at for at, (one, other) in enumerate(zip(want, got, strict=False)) if one != other), min(len(want), len(got))
    )
    parts.append(f"the first difference is at place {place}: expected {want[place : place + SHOWN]}")
    return "; ".join(parts) + f", found {got[place : place + SHOWN]}"


def at_least_once(name: str, expected: Sequence[Row], actual: Sequence[Row]) -> tuple[list[str], int]:
    """Check for the expected records of each partition in order; the output may go back any number of times, not skip.

    Every expected pair of key and value must be unique in its partition. Also returns the number of repeated records.
    """
    findings: list[str] = []
    repeated = 0
    want, got = partitions(expected), partitions(actual)
    for partition in sorted(want.keys() | got.keys()):
        mine, theirs = want.get(partition, []), got.get(partition, [])
        place = {item: at for at, item in enumerate(mine)}
        if len(place) != len(mine):
            raise ValueError(
                f"{name}, partition {partition}: expected records are not unique, so their order cannot be checked"
            )
        reached = 0
        last = -1
        for index, item in enumerate(theirs):
            at = place.get(item)
            if at is None:
                findings.append(f"{name}, partition {partition}: {item} at place {index} was never to be expected")
                break
            if at > last + 1:
                findings.append(
                    f"{name}, partition {partition}: lost {at - last - 1} records before place {index}, "
                    f"such as {mine[last + 1 : min(at, last + 1 + SHOWN)]}"
                )
                break
            last = at
            repeated += at < reached
            reached = max(reached, at + 1)
        else:
            if reached < len(mine):
                findings.append(
                    f"{name}, partition {partition}: lost the last {len(mine) - reached} records, "
                    f"such as {mine[reached : reached + SHOWN]}"
                )
    return findings, repeated


def through_repartition(
    name: str, expected: Sequence[Row], actual: Sequence[Row], waiting: Sequence[Row] = ()
) -> list[str]:
    """Check records after a repartition: each occurs once, and those of one input partition are in order.

    `expected` are the input rows with the keys that the application assigns; `actual` (in order within each partition)
    and `waiting`, those not processed yet, have the values of the input, which must be unique.
    """
    findings: list[str] = []
    origin = {row.value: row for row in expected}
    if len(origin) != len(expected):
        raise ValueError(f"{name}: values of the input are not unique, so their origin is unknown")
    seen = Counter(row.value for row in (*actual, *waiting))
    lost = [value for value in origin if value not in seen]
    doubled = [value for value, count in seen.items() if count > 1]
    foreign = [value for value in seen if value not in origin]
    for what, items in (("lost", lost), ("doubled", doubled), ("never to be expected", foreign)):
        if items:
            findings.append(f"{name}: {len(items)} {what}, such as {items[:SHOWN]}")
    last: dict[tuple[Any, int], int] = {}
    home: dict[Any, int] = {}
    for row in (*actual, *waiting):
        source = origin.get(row.value)
        if source is None:
            continue
        if source.key != row.key:
            findings.append(f"{name}: value {row.value} has key {row.key!r}, expected {source.key!r}")
        if home.setdefault(row.key, row.partition) != row.partition:
            findings.append(f"{name}: key {row.key!r} is in partition {home[row.key]} and in {row.partition}")
        way = (row.key, source.partition)
        if source.offset < last.get(way, -1):
            findings.append(
                f"{name}: key {row.key!r}: input offset {source.offset} of partition {source.partition} came after "
                f"offset {last[way]}"
            )
        last[way] = source.offset
        if len(findings) > 10:
            break
    return findings


def same_content(name: str, expected: Mapping[Any, Any], actual: Mapping[Any, Any]) -> list[str]:
    """Check that a store or a compacted topic has exactly the expected entries."""
    findings: list[str] = []
    missing = [key for key in expected if key not in actual]
    foreign = [key for key in actual if key not in expected]
    wrong = [(key, expected[key], actual[key]) for key in expected if key in actual and expected[key] != actual[key]]
    if missing:
        findings.append(f"{name}: {len(missing)} of {len(expected)} keys are missing, such as {missing[:SHOWN]}")
    if foreign:
        findings.append(f"{name}: {len(foreign)} keys should not be there, such as {foreign[:SHOWN]}")
    if wrong:
        findings.append(
            f"{name}: {len(wrong)} of {len(expected)} values are wrong, such as (key, expected, found) {wrong[:SHOWN]}"
        )
    return findings


class Span(NamedTuple):
    """The last stable offset and the end offset of a partition."""

    topic: str
    partition: int
    stable: int
    end: int


def no_open_transaction(spans: Iterable[Span]) -> list[str]:
    """Check that a read_committed consumer can read every partition to its end."""
    return [
        f"{span.topic}, partition {span.partition}: a transaction is open, readers stop at offset {span.stable} "
        f"of {span.end}"
        for span in spans
        if span.stable < span.end
    ]


class Replay(NamedTuple):
    """The replay of the changelogs of one task by one start of the process."""

    life: int
    task: str
    replayed: int
    """Records applied."""
    length: int
    """The number of offsets, from the first to the last."""
    lasted: float = math.inf
    """Seconds from the time when the task was ready to the next start."""


def tails_only(replays: Iterable[Replay], lives: int = 3, lasting: float = 2.0) -> list[str]:
    """Check that a start replays only what the last few lives of the process wrote, however long the changelogs are.

    `replays` are in the order of lives. A life that opened a task soon has everything before it on disk; a life that
    ended within `lasting` seconds, which a busy machine may need for it, does not count as one of the last few.
    """
    findings: list[str] = []
    lengths: dict[str, list[int]] = defaultdict(list)
    for replay in replays:
        before = lengths[replay.task]
        written = replay.length - (before[-lives] if len(before) >= lives else 0)
        if replay.replayed > written:
            findings.append(
                f"life {replay.life} replayed {replay.replayed} records of task {replay.task}, of {replay.length} in "
                f"all: its last {lives} lives wrote {written} offsets"
            )
        if replay.lasted >= lasting:
            before.append(replay.length)
    return findings


def replayed_share(replays: Sequence[Replay]) -> float:
    """Return what was replayed, as a share of a replay of every changelog from its start."""
    return sum(replay.replayed for replay in replays) / max(1, sum(replay.length for replay in replays))
