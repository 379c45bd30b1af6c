"""Test that random programs detect faults: each test breaks the engine in one way until a seed fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sortedcontainers import SortedDict

from tests.random_programs.check import Violation, check
from tests.random_programs.generate import generate
from tests.random_programs.timed import check_timed, timed
from tidemill.engine.tasks import operator_graph
from tidemill.operators.aggregates import fold
from tidemill.operators.aggregates.deduplicate import Deduplicate
from tidemill.operators.graph import input_copies
from tidemill.operators.joins.stream_join import StreamJoin
from tidemill.operators.joins.temporal_join import TemporalJoin
from tidemill.operators.joins.windowed_table_join import WindowedTableJoin
from tidemill.operators.processors.window_state import WindowState
from tidemill.operators.stores.versions import Versions
from tidemill.operators.tables.suppress import Suppress
from tidemill.operators.windows.sliding import SlidingFold
from tidemill.state.cache import StateCache
from tidemill.state.changes import Changes
from tidemill.state.window_cache import WindowCache

Break = Callable[[pytest.MonkeyPatch], None]
MOST = 60
"""The number of seeds that are tried."""


def arguments_are_not_copied_for_branches(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(input_copies, "copy_of", lambda record: record)


def windows_share_a_value(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fold, "fresh", lambda value: value)


def keys_go_by_equality(patch: pytest.MonkeyPatch) -> None:
    for kind in (StateCache, WindowCache):
        patch.setattr(kind, "by_bytes", lambda _self: None)


def a_rollback_leaves_the_cache(patch: pytest.MonkeyPatch) -> None:
    for kind in (StateCache, WindowCache):
        patch.setattr(kind, "discard", lambda _self: None)


def deletions_are_not_written(patch: pytest.MonkeyPatch) -> None:
    for kind in (StateCache, WindowCache):
        drain: Callable[[Any], Changes] = kind.drain
        patch.setattr(kind, "drain", lambda self, drain=drain: without_deletions(drain(self)))


def without_deletions(changes: Changes) -> Changes:
    return Changes.of([change for change in changes if change.value is not None])


def a_scan_misses_what_is_not_committed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StateCache, "_written_keys", lambda _self: SortedDict())


def a_store_keeps_the_methods_it_began_with(patch: pytest.MonkeyPatch) -> None:
    begin = Versions.__init__

    def bound(self: Versions, cache: Any, *arguments: Any, **options: Any) -> None:
        begin(self, cache, *arguments, **options)
        self._write = cache.put

    patch.setattr(Versions, "__init__", bound)


def a_failure_ends_its_batch(patch: pytest.MonkeyPatch) -> None:
    """The records after an invalid one in its batch are dropped with it."""
    skip = operator_graph.OperatorGraph._call

    def once(self: Any, step: Any, records: Any, now: int, origin: Any) -> Any:
        return skip(self, step, records[:1] if len(records) > 4 else records, now, origin)

    patch.setattr(operator_graph.OperatorGraph, "_call", once)


BREAKS = [
    arguments_are_not_copied_for_branches,
    windows_share_a_value,
    deletions_are_not_written,
    keys_go_by_equality,
    a_rollback_leaves_the_cache,
    a_scan_misses_what_is_not_committed,
    a_failure_ends_its_batch,
    a_store_keeps_the_methods_it_began_with,
]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("wrong", BREAKS, ids=lambda wrong: wrong.__name__.replace("_", " "))
def test_it_is_noticed_when(wrong: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch)
    for seed in range(MOST):
        try:
            check(generate(seed), seed)
        except Violation:
            return
    pytest.fail(f"{MOST} programs run as if nothing were wrong")


def by_the_newest_record(kind: Any, patch: pytest.MonkeyPatch) -> None:
    """A step expires state by the newest record instead of by its watermark."""
    begin = kind.__init__

    def begin_without(self: Any, *arguments: Any, watermarked: bool, **options: Any) -> None:
        begin(self, *arguments, watermarked=False, **options)

    patch.setattr(kind, "__init__", begin_without)


def records_move_the_time_of_a_join(patch: pytest.MonkeyPatch) -> None:
    by_the_newest_record(StreamJoin, patch)


def records_move_the_time_of_suppress(patch: pytest.MonkeyPatch) -> None:
    by_the_newest_record(Suppress, patch)


def records_move_the_time_of_an_as_of_join(patch: pytest.MonkeyPatch) -> None:
    by_the_newest_record(TemporalJoin, patch)


def a_history_goes_back_from_the_newest_row(patch: pytest.MonkeyPatch) -> None:
    by_the_newest_record(Versions, patch)


def a_history_moves_on_before_the_records_that_look_into_it(patch: pytest.MonkeyPatch) -> None:
    advance = TemporalJoin.advance

    def early(self: TemporalJoin, time: int, offset: int, now: int) -> Any:
        self._versions.move(time)
        return advance(self, time, offset, now)

    patch.setattr(TemporalJoin, "advance", early)


def duplicates_are_forgotten_by_the_newest_record(patch: pytest.MonkeyPatch) -> None:
    by_the_newest_record(Deduplicate, patch)


def sliding_windows_are_forgotten_by_the_newest(patch: pytest.MonkeyPatch) -> None:
    by_the_newest_record(SlidingFold, patch)


def joined_windows_are_forgotten_by_the_newest_record(patch: pytest.MonkeyPatch) -> None:
    by_the_newest_record(WindowedTableJoin, patch)


def a_window_state_goes_by_the_newest_put(patch: pytest.MonkeyPatch) -> None:
    bind = WindowState.bind
    patch.setattr(WindowState, "bind", lambda self, shelf, *, watermarked: bind(self, shelf, watermarked=False))


TIMED_BREAKS = [
    records_move_the_time_of_a_join,
    records_move_the_time_of_suppress,
    records_move_the_time_of_an_as_of_join,
    a_history_goes_back_from_the_newest_row,
    a_history_moves_on_before_the_records_that_look_into_it,
    duplicates_are_forgotten_by_the_newest_record,
    sliding_windows_are_forgotten_by_the_newest,
    joined_windows_are_forgotten_by_the_newest_record,
    a_window_state_goes_by_the_newest_put,
]


@pytest.mark.slow
@pytest.mark.parametrize("wrong", TIMED_BREAKS, ids=lambda wrong: wrong.__name__.replace("_", " "))
def test_a_batch_tells_when(wrong: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch)
    for seed in range(2 * MOST):
        try:
            check_timed(timed(seed), seed)
        except Violation:
            return
    pytest.fail(f"{2 * MOST} programs give what a batch gives")
