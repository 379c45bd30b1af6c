"""The verifier: what an application wrote, held against a recomputation from its input.

Pure and on its own: it imports nothing of Tidemill and nothing that talks to a broker. Each function returns what it
found wrong, in words; an empty list is a proof. Under *exactly once* the output of a partition must be the recomputed
sequence, record for record; under *at least once* it may go back and repeat, but never skip.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

SHOWN = 3
"""How many examples a finding shows."""


class Row(NamedTuple):
    """A record as it lies in a topic, decoded."""

    partition: int
    offset: int
    key: Any
    value: Any


Fold = Callable[[Any, Any], Any]
"""The running value after one more value; the running value before the first is None."""


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
    """The rows before the committed offset of their partition."""
    return [row for row in rows if row.offset < committed.get(row.partition, 0)]


def running(rows: Iterable[Row], fold: Fold) -> list[Row]:
    """Each row with the running value of its key in place of its value."""
    state: dict[Any, Any] = {}
    result: list[Row] = []
    for row in rows:
        state[row.key] = value = fold(state.get(row.key), row.value)
        result.append(row._replace(value=value))
    return result


def final(rows: Iterable[Row], fold: Fold) -> dict[Any, Any]:
    """The last running value of each key: what a store must hold."""
    state: dict[Any, Any] = {}
    for row in rows:
        state[row.key] = fold(state.get(row.key), row.value)
    return state


def partitions(rows: Iterable[Row]) -> dict[int, list[tuple[Any, Any]]]:
    """Keys and values by partition, in order."""
    result: dict[int, list[tuple[Any, Any]]] = defaultdict(list)
    for row in rows:
        result[row.partition].append((row.key, row.value))
    return result


def exactly_once(name: str, expected: Sequence[Row], actual: Sequence[Row]) -> list[str]:
    """One output an input, in order in each partition, each with the expected value."""
    findings: list[str] = []
    want, got = partitions(expected), partitions(actual)
    for partition in sorted(want.keys() | got.keys()):
        mine, theirs = want.get(partition, []), got.get(partition, [])
        if mine != theirs:
            findings.append(f"{name}, partition {partition}: {difference(mine, theirs)}")
    return findings


def difference(want: Sequence[Hashable], got: Sequence[Hashable]) -> str:
    """How two sequences differ: lost, doubled, foreign, or only out of order."""
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
    """The expected records of each partition in order, where the output may go back any number of times, never ahead.

    Every expected pair of key and value must be unique in its partition. Also gives how many records were repeated.
    """
    findings: list[str] = []
    repeated = 0
    want, got = partitions(expected), partitions(actual)
    for partition in sorted(want.keys() | got.keys()):
        mine, theirs = want.get(partition, []), got.get(partition, [])
        place = {item: at for at, item in enumerate(mine)}
        if len(place) != len(mine):
            raise ValueError(f"{name}, partition {partition}: expected records repeat, so their order says nothing")
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
    """Records that went through a repartition: all there, once, and those of one partition of the input in order.

    `expected` are the input's rows with the keys that the application gives them; `actual` (in order within each
    partition) and `waiting`, those not yet processed, carry the input's values, which must be unique.
    """
    findings: list[str] = []
    origin = {row.value: row for row in expected}
    if len(origin) != len(expected):
        raise ValueError(f"{name}: values of the input repeat, so their origin is not known")
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
    """A store or a compacted topic holds exactly the expected entries."""
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
    """How far a partition can be read: its last stable offset, and its end."""

    topic: str
    partition: int
    stable: int
    end: int


def no_open_transaction(spans: Iterable[Span]) -> list[str]:
    """Readers of committed records get to the end of every partition."""
    return [
        f"{span.topic}, partition {span.partition}: a transaction is open, readers stop at offset {span.stable} "
        f"of {span.end}"
        for span in spans
        if span.stable < span.end
    ]


class Replay(NamedTuple):
    """What one start read of the changelogs of one task."""

    life: int
    task: str
    replayed: int
    """Records applied."""
    length: int
    """Offsets there were, from the first to the last."""
    lasted: float = math.inf
    """Seconds from when the task was ready to the start of the next life."""


def tails_only(replays: Iterable[Replay], lives: int = 3, lasting: float = 2.0) -> list[str]:
    """A start replays no more of a task than its last few lives wrote, however long the changelogs are.

    `replays` in the order of lives. A life that got a task ready has all before it on disk some moments later: those
    that ended within `lasting` seconds, which a busy machine may need for it, do not count as one of the few.
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
    """What was replayed, as a share of what replaying every changelog from its beginning would have been."""
    return sum(replay.replayed for replay in replays) / max(1, sum(replay.length for replay in replays))
