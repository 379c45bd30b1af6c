"""The decision table, row by row."""

import pytest

from tidemill.state.restore import TOMBSTONES_KEPT_MS, Corrupt, Rebuild, UseLocal, plan_restore
from tidemill.state.store import Position

OLD = TOMBSTONES_KEPT_MS + 1


def local(offset=None, **inputs):
    return Position(
        {} if offset is None else {"sums": offset}, {f"views:{name[1:]}": at for name, at in inputs.items()}
    )


@pytest.mark.parametrize(
    ("position", "begin", "end", "committed", "age", "decision"),
    [
        # nothing local
        (local(), 0, 0, {}, 0, Rebuild(0, "there is no local state")),
        (local(), 3, 90, {"views:0": 5}, 0, Rebuild(3, "there is no local state")),
        (Position({"other": 9}, {}), 0, 90, {}, 0, Rebuild(0, "there is no local state")),
        # a prefix of the changelog
        (local(0), 0, 0, {}, 0, UseLocal(0)),
        (local(40, p0=5), 0, 90, {"views:0": 5}, 0, UseLocal(40)),
        (local(40, p0=4), 0, 90, {"views:0": 5}, 0, UseLocal(40)),
        (local(90, p0=5), 0, 90, {"views:0": 5}, 0, UseLocal(90)),
        (local(40), 40, 90, {}, 0, UseLocal(40)),
        (local(40, p0=5, p1=6), 0, 90, {"views:0": 5, "views:1": 7}, 0, UseLocal(40)),
        (local(40, p0=5, p1=99), 0, 90, {"views:0": 5}, 0, UseLocal(40)),  # views:1 is not an input any more
        # ahead of what the group committed
        (local(40, p0=6), 0, 90, {"views:0": 5}, 0, Corrupt),
        (local(40, p0=5, p1=8), 0, 90, {"views:0": 5, "views:1": 7}, 0, Corrupt),
        (local(40, p0=1), 0, 90, {"views:0": 0}, 0, Corrupt),
        # ahead of the changelog
        (local(91), 0, 90, {}, 0, Corrupt),
        (local(91), 95, 90, {}, 0, Corrupt),
        (local(1), 0, 0, {}, 0, Corrupt),
        # the changelog does not reach back
        (local(2), 3, 90, {}, 0, Rebuild),
        (local(0), 3, 3, {}, 0, Rebuild),
        # deletions may have gone from the changelog
        (local(40), 0, 90, {}, TOMBSTONES_KEPT_MS, UseLocal(40)),
        (local(40), 0, 90, {}, OLD, Rebuild),
        (local(90), 0, 90, {}, OLD, UseLocal(90)),
        (local(91), 0, 90, {}, OLD, Corrupt),
    ],
)
def test_decisions(position, begin, end, committed, age, decision):
    found = plan_restore("sums", position, begin, end, committed, age)
    if isinstance(decision, type):
        assert isinstance(found, decision)
        assert not isinstance(found, Rebuild) or found.offset == begin
    else:
        assert found == decision


def test_reasons_name_what_was_compared():
    ahead = plan_restore("sums", local(40, p0=6), 0, 90, {"views:0": 5})
    assert isinstance(ahead, Corrupt)
    assert "views:0 up to offset 6, the group has committed 5" in ahead.why
    recreated = plan_restore("sums", local(91), 0, 90, {})
    assert isinstance(recreated, Corrupt)
    assert "up to offset 91, the changelog ends at 90" in recreated.why
    stale = plan_restore("sums", local(40), 0, 90, {}, 50 * 3_600_000)
    assert isinstance(stale, Rebuild)
    assert "50 hours ago" in stale.why
