"""Tests of the decision table for restores, row by row."""

import pytest

from tidemill.state.restore import TOMBSTONES_KEPT_MS, Rebuild, RebuildCorrupt, UseLocal, plan_restore
from tidemill.state.store import Position

OLD = TOMBSTONES_KEPT_MS + 1
NOW = 1_700_000_000_000
HOUR = 3_600_000


def local(offset=None, age=0, **inputs):
    """A store that was complete `age` ms ago, or does not say when."""
    return Position(
        {} if offset is None else {"sums": offset},
        {f"views:{name[1:]}": at for name, at in inputs.items()},
        {} if age is None else {"sums": NOW - age},
    )


@pytest.mark.parametrize(
    ("position", "begin", "end", "committed", "decision"),
    [
        # nothing local
        (local(), 0, 0, {}, Rebuild(0, "there is no local state")),
        (local(), 3, 90, {"views:0": 5}, Rebuild(3, "there is no local state")),
        (Position({"other": 9}, {}), 0, 90, {}, Rebuild(0, "there is no local state")),
        # a prefix of the changelog
        (local(0), 0, 0, {}, UseLocal(0)),
        (local(40, p0=5), 0, 90, {"views:0": 5}, UseLocal(40)),
        (local(40, p0=4), 0, 90, {"views:0": 5}, UseLocal(40)),
        (local(90, p0=5), 0, 90, {"views:0": 5}, UseLocal(90)),
        (local(40), 40, 90, {}, UseLocal(40)),
        (local(40, p0=5, p1=6), 0, 90, {"views:0": 5, "views:1": 7}, UseLocal(40)),
        (local(40, p0=5, p1=99), 0, 90, {"views:0": 5}, UseLocal(40)),  # views:1 is not an input any more
        # ahead of what the group committed
        (local(40, p0=6), 0, 90, {"views:0": 5}, RebuildCorrupt),
        (local(40, p0=5, p1=8), 0, 90, {"views:0": 5, "views:1": 7}, RebuildCorrupt),
        (local(40, p0=1), 0, 90, {"views:0": 0}, RebuildCorrupt),
        # ahead of the changelog
        (local(91), 0, 90, {}, RebuildCorrupt),
        (local(91), 95, 90, {}, RebuildCorrupt),
        (local(1), 0, 0, {}, RebuildCorrupt),
        # the changelog does not reach back
        (local(2), 3, 90, {}, Rebuild),
        (local(0), 3, 3, {}, Rebuild),
        # tombstones may have expired in the changelog
        (local(40, TOMBSTONES_KEPT_MS), 0, 90, {}, UseLocal(40)),
        (local(40, OLD), 0, 90, {}, Rebuild),
        (local(88, OLD), 0, 90, {}, Rebuild),
        (local(89, OLD), 0, 90, {}, UseLocal(89)),  # the last offset of a log is never compacted away
        (local(90, OLD), 0, 90, {}, UseLocal(90)),
        (local(91, OLD), 0, 90, {}, RebuildCorrupt),
        # unknown whether they have expired: a store of an earlier version, or a wrong clock
        (local(40, None), 0, 90, {}, Rebuild),  # type: ignore[arg-type]
        (local(89, None), 0, 90, {}, UseLocal(89)),  # type: ignore[arg-type]
        (local(40, -HOUR), 0, 90, {}, Rebuild),
        (local(40, -1_000), 0, 90, {}, UseLocal(40)),
    ],
)
def test_decisions(position, begin, end, committed, decision):
    found = plan_restore("sums", position, begin, end, committed, NOW)
    if isinstance(decision, type):
        assert isinstance(found, decision)
        assert not isinstance(found, Rebuild) or found.offset == begin
    else:
        assert found == decision


def test_reasons_name_what_was_compared():
    ahead = plan_restore("sums", local(40, p0=6), 0, 90, {"views:0": 5})
    assert isinstance(ahead, RebuildCorrupt)
    assert "views:0 up to offset 6, but the group has committed 5" in ahead.why
    recreated = plan_restore("sums", local(91), 0, 90, {}, NOW)
    assert isinstance(recreated, RebuildCorrupt)
    assert "up to offset 91, but the changelog ends at 90" in recreated.why
    stale = plan_restore("sums", local(40, 50 * HOUR), 0, 90, {}, NOW)
    assert isinstance(stale, Rebuild)
    assert "50 hours ago" in stale.why


def test_deletions_are_kept_as_long_as_the_topic_says():
    found = plan_restore("sums", local(40, 1_500), 0, 90, {}, NOW, 1_000)
    assert isinstance(found, Rebuild)
    assert "1.5 s ago, and the topic keeps deletions for 1 s only" in found.why
    assert plan_restore("sums", local(40, 900), 0, 90, {}, NOW, 1_000) == UseLocal(40)
