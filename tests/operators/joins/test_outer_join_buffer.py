"""Tests of the outer-join buffer: the same results with its order in memory and from the store."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tidemill.operators.joins.outer_join_buffer import LEFT, RIGHT, OuterJoinBuffer, OuterJoinKey, outer_join_codec
from tidemill.state.cache import StateCache
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Position

places = st.tuples(st.sampled_from([LEFT, RIGHT]), st.integers(0, 30), st.sampled_from(["k", "l"]))
actions = st.lists(
    st.tuples(st.just("add"), places)
    | st.tuples(st.just("matched"), places)
    | st.tuples(st.just("look"), st.tuples(st.integers(0, 30), st.integers(0, 30)))
    | st.tuples(st.sampled_from(["commit", "rebuild"]), st.none()),
    max_size=40,
)


class Waiters:
    """A store of what waits, and the operator's view of it."""

    def __init__(self, listed: int) -> None:
        self._listed = listed
        self._store = MemoryStore()
        self._codec = outer_join_codec(tm.utf8, tm.json, tm.json)
        self._begin(None)

    def _begin(self, oldest: int | None) -> None:
        self.cache: StateCache[Any, Any] = StateCache(self._store, "s", self._codec)
        self.outer_join_buffer = OuterJoinBuffer(self.cache, self._codec.encode_key, self._listed)
        if oldest is not None:
            self.outer_join_buffer.oldest = oldest

    def act(self, kind: str, what: Any) -> Any:
        """What is given up, and what is remembered of the rest."""
        given_up: list[Any] = []
        match kind:
            case "add":
                side, time, key = what
                self.outer_join_buffer.add(side, time, key, time)
            case "matched":
                self.outer_join_buffer.matched(*what)
            case "look":
                given_up = self.outer_join_buffer.given_up(*what)
                for slot, _ in given_up:
                    self.outer_join_buffer.keep(slot, [])
                self.outer_join_buffer.looked(given_up[-1][0].timestamp if given_up else None)
            case _:
                self._store.apply(self.cache.drain(), Position())
                self.cache.complete_commit()
                if kind == "rebuild":
                    self._begin(self.outer_join_buffer.oldest)
        return given_up, self.outer_join_buffer.oldest


@examples(300)
@given(actions)
def test_however_many_are_listed(steps: list[tuple[str, Any]]) -> None:
    waiters = [Waiters(listed) for listed in (1_000, 3, 0)]
    model: dict[OuterJoinKey, list[int]] = {}
    for kind, what in steps:
        first, *others = [waiter.act(kind, what) for waiter in waiters]
        assert all(other == first for other in others), (kind, what)
        if kind == "add":
            side, time, key = what
            model.setdefault(OuterJoinKey(time, side, key), []).append(time)
        elif kind == "matched":
            side, time, key = what
            model.pop(OuterJoinKey(time, side, key), None)
        elif kind == "look":
            old = [
                slot
                for slot in sorted(model, key=lambda s: (s.timestamp, s.side, s.key))
                if slot.timestamp < what[slot.side]
            ]
            assert [(slot, entry[1]) for slot, entry in first[0]] == [(slot, model.pop(slot)) for slot in old]
