"""Random programs notice what they are there for: each test breaks the engine in one way until a seed fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sortedcontainers import SortedDict

from tests.random_programs.check import Violation, check
from tests.random_programs.generate import generate
from tidemill.engine import graph
from tidemill.operators import fold, sharing
from tidemill.operators.versions import Versions
from tidemill.state.cache import StateCache

Break = Callable[[pytest.MonkeyPatch], None]
MOST = 60
"""Seeds that are tried."""


def arguments_are_not_copied_for_branches(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sharing, "copy_of", lambda record: record)


def windows_share_a_value(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fold, "fresh", lambda value: value)


def keys_go_by_equality(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StateCache, "by_bytes", lambda _self: None)


def a_rollback_leaves_the_cache(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StateCache, "discard", lambda _self: None)


def deletions_are_not_written(patch: pytest.MonkeyPatch) -> None:
    drain = StateCache.drain
    patch.setattr(StateCache, "drain", lambda self: [one for one in drain(self) if one.value is not None])


def a_scan_misses_what_is_not_committed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StateCache, "_written_keys", lambda _self: SortedDict())


def a_store_keeps_the_methods_it_began_with(patch: pytest.MonkeyPatch) -> None:
    begin = Versions.__init__

    def bound(self: Versions, cache: Any, *arguments: Any) -> None:
        begin(self, cache, *arguments)
        self._write = cache.put

    patch.setattr(Versions, "__init__", bound)


def a_failure_ends_its_batch(patch: pytest.MonkeyPatch) -> None:
    """What comes after a bad record in its batch is dropped with it."""
    skip = graph.Graph._call

    def once(self: Any, step: Any, records: Any, now: int, origin: Any) -> Any:
        return skip(self, step, records[:1] if len(records) > 4 else records, now, origin)

    patch.setattr(graph.Graph, "_call", once)


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
