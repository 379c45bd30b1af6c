"""The expected results of the jobs with sessions, sliding windows and joins."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator

__all__ = ["GAP", "SLIDE", "WITHIN", "Totals", "pairs", "sessions", "sliding"]

Totals = dict[tuple[int, int], tuple[int, int]]
"""Count and cents by user and start of the window."""

GAP = 20_000
"""The gap of sessions, in ms."""
SLIDE = 10_000
"""The length of sliding windows, in ms."""
WITHIN = 10_000
"""The maximum time between a view and a purchase that are joined, in ms."""

Sent = tuple[int, int, int]
"""User, timestamp and cents of a record."""


def sessions(sent: Iterable[Sent]) -> Totals:
    """Return the totals of the sessions: records of a user that are at most the gap apart."""
    found: Totals = {}
    for user, times, cents in _by_user(sent):
        first = 0
        for after in range(1, len(times) + 1):
            if after == len(times) or times[after] - times[after - 1] > GAP:
                found[user, times[first]] = (after - first, sum(cents[first:after]))
                first = after
    return found


def sliding(sent: Iterable[Sent]) -> Totals:
    """Return the totals of the sliding windows.

    One ends at each record, and one begins just after each record that others follow within its length. Both ends are
    included.
    """
    found: Totals = {}
    for user, times, cents in _by_user(sent):
        for time in dict.fromkeys(times):
            for start in (time - SLIDE, time + 1):
                first, after = bisect_left(times, start), bisect_right(times, start + SLIDE)
                if first < after:
                    found[user, start] = (after - first, sum(cents[first:after]))
    return found


def pairs(views: Iterable[Sent], buys: Iterable[Sent]) -> tuple[int, int]:
    """Count the pairs of a view and a purchase of a user, and add the cents of the latter."""
    seen = {user: times for user, times, _ in _by_user(views)}
    count = total = 0
    for user, times, cents in _by_user(buys):
        viewed = seen.get(user, [])
        for time, amount in zip(times, cents, strict=True):
            matches = bisect_right(viewed, time + WITHIN) - bisect_left(viewed, time - WITHIN)
            count += matches
            total += matches * amount
    return count, total


def _by_user(sent: Iterable[Sent]) -> Iterator[tuple[int, list[int], list[int]]]:
    """Yield each user with the times of their records, in order, and the cents of these."""
    rows: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for user, time, cents in sent:
        rows[user].append((time, cents))
    for user, each in rows.items():
        each.sort()
        yield user, [time for time, _ in each], [cents for _, cents in each]
