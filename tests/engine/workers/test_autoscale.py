"""Property tests of autoscaling decisions against a simple model of workers and their load."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.engine.config.worker_bounds import WorkerBounds
from tidemill.engine.serve.load import CATCH_UP_SECONDS, TARGET, Load, LoadSample, load_of
from tidemill.engine.workers.autoscale import CATCHING_UP_MS, REMAINING_BUSY, WorkerLoad, decide, limits

STEP_MS = 2_000
QUIET_MS = 60_000
MOVING_MS = 6_000
"""How long nothing is processed after a change, in a model that does not say."""


@dataclass
class Model:
    """Workers that share a stream evenly, each able to handle `capacity` records a second."""

    capacity: float
    within: WorkerBounds
    workers: int
    tasks: int = 64
    moving: int = MOVING_MS
    """How long nothing is processed after a change."""
    now: int = 0
    changed: int = 0
    lag: float = 0.0
    history: list[WorkerLoad] = field(default_factory=list[WorkerLoad])
    samples: list[LoadSample] = field(default_factory=list[LoadSample])
    """Of one worker: all are alike."""
    changes: list[int] = field(default_factory=list[int])

    def step(self, arriving: float, noise: float = 1.0) -> None:
        """Two seconds with so many records a second arriving; `noise` on what a record costs."""
        self.now += STEP_MS
        seconds = STEP_MS / 1000
        self.lag += arriving * seconds
        moving = self.now - self.changed <= self.moving and self.changed > 0
        each = 0.0 if moving else min(self.lag / self.workers, self.capacity / noise * seconds)
        self.lag -= each * self.workers
        busy = each / (self.capacity / noise * seconds)
        last = self.samples[-1] if self.samples else LoadSample(self.now - STEP_MS, 0, 0, 0.0, 0.0)
        self.samples.append(
            LoadSample(
                self.now,
                last.records + round(each),
                round(self.lag / self.workers),
                last.processing + busy * seconds,
                last.polling + (1 - busy) * seconds,
            )
        )
        del self.samples[:-10]
        load = load_of(self.samples)
        if moving or load is None:
            self.history.clear()
        else:
            self.history.append(WorkerLoad(self.now, load.needed * self.workers, load.needed, self.lag))
        del self.history[: -(CATCHING_UP_MS // STEP_MS + 5)]
        wanted = decide(self.history, self.now, self.workers, self.changed, self.within, QUIET_MS)
        if wanted != self.workers:
            self.changes.append(wanted)
            self.lag_moves(wanted)

    def lag_moves(self, wanted: int) -> None:
        """Move tasks: every worker restarts its counters."""
        self.workers, self.changed = wanted, self.now
        self.samples.clear()
        self.history.clear()


def settled(model: Model, arriving: float, minutes: int = 12) -> None:
    for _ in range(minutes * 60_000 // STEP_MS):
        model.step(arriving)


def up_then_down(changes: list[int]) -> bool:
    """Whether there was one rise and one fall at most, as with a backlog that is worked off."""
    top = changes.index(max(changes)) if changes else 0
    return changes == sorted(changes[:top]) + sorted(changes[top:], reverse=True)


LOADS = st.floats(0, 8)
"""What arrives, in workers that would be busy with it all the time."""


@examples(40)
@given(LOADS, st.integers(1, 12))
@example(0.8, 1)
@example(1.6, 2)
@example(0.6, 1)
@example(3.5, 1)
@example(6.0, 1)
def test_a_constant_load_has_a_constant_number_of_workers(load: float, start: int) -> None:
    model = Model(1_000, WorkerBounds(1, 12), start)
    settled(model, load * 1_000)
    count = len(model.changes)
    settled(model, load * 1_000)
    assert len(model.changes) == count, model.changes
    assert model.workers >= load, "they keep up"
    assert model.lag < 1_000 * 2 * 12
    assert model.workers <= max(1, math.ceil(load / REMAINING_BUSY + 1e-3)), "no more than are of use"
    assert up_then_down(model.changes), model.changes


@examples(30)
@given(LOADS, st.integers(1, 12), st.integers(0, 15))
@example(1.75, 2, 6)
@example(4.0, 1, 15)
@example(8.0, 11, 10)
def test_the_backlog_of_a_change_does_not_cause_another_change(load: float, start: int, moving: int) -> None:
    model = Model(1_000, WorkerBounds(1, 12), start, moving=moving * STEP_MS)
    settled(model, load * 1_000, minutes=30)
    count = len(model.changes)
    settled(model, load * 1_000)
    assert len(model.changes) == count, model.changes
    assert up_then_down(model.changes), model.changes
    assert model.workers <= max(1, math.ceil(load / REMAINING_BUSY + 1e-3)), "no more than are of use"


@examples(30)
@given(LOADS, st.integers(1, 12), st.lists(st.floats(0.9, 1.1), min_size=10, max_size=10))
@example(8.0, 10, [1.0] * 9 + [1.0625])
@example(6.625, 1, [0.90625] * 5 + [0.90234375] * 2 + [0.90625] + [0.90234375] * 2)
def test_noisy_costs_do_not_cause_oscillation(load: float, start: int, noise: list[float]) -> None:
    """Records that cost less may remove two workers: one while the quiet time still has the former cost, one after."""
    model = Model(1_000, WorkerBounds(1, 12), start)
    settled(model, load * 1_000)
    workers, before = model.workers, len(model.changes)
    for index in range(360):
        model.step(load * 1_000, noise[index % len(noise)])
    later = model.changes[before:]
    assert later in (sorted(later), sorted(later, reverse=True)), f"{workers}, then {later}: in one direction"
    assert len(later) <= 2, f"{workers}, then {later}: for what it costs now, then never"
    for index in range(360):
        model.step(load * 1_000, noise[index % len(noise)])
    assert model.changes[before:] == later, f"{workers}, then {model.changes[before:]}: never again"


@given(st.integers(1, 4))
def test_growing_lag_brings_more(start: int) -> None:
    """Three times what the workers can do: the next decision after the settling adds workers, at most doubling."""
    model = Model(1_000, WorkerBounds(1, 12), start)
    while not model.changes:
        model.step(3_000 * start)
        assert model.now < 60_000
    assert start < model.changes[0] <= 2 * start


@given(st.integers(2, 12))
def test_a_quiet_time_brings_fewer_and_not_before_it_is_over(start: int) -> None:
    model = Model(1_000, WorkerBounds(1, 12), start)
    while not model.changes:
        model.step(0)
        assert model.now < 200_000
    assert model.now >= QUIET_MS
    assert model.changes == [1]


def test_a_backlog_brings_more_and_they_go_again() -> None:
    model = Model(1_000, WorkerBounds(1, 8), 1)
    model.lag = 300_000
    settled(model, 500)
    assert max(model.changes) >= 4
    assert model.workers == 1
    assert up_then_down(model.changes), model.changes


@examples(40)
@given(
    st.lists(st.floats(0, 20), min_size=30, max_size=120),
    st.integers(1, 6),
    st.integers(0, 6),
    st.integers(1, 10),
    st.integers(1, 10),
    st.integers(1, 20),
)
def test_bounds_tasks_and_processors_hold_whatever_comes(
    loads: list[float], least: int, more: int, tasks: int, processors: int, start: int
) -> None:
    within = limits(WorkerBounds(least, least + more), tasks, processors)
    model = Model(1_000, within, start)
    for load in loads:
        for _ in range(10):
            model.step(load * 1_000)
            assert model.changes or model.workers == start
    for wanted in model.changes:
        assert min(least, tasks) <= wanted <= tasks
        assert wanted <= max(processors, least)
        assert wanted <= least + more


@given(st.integers(1, 100), st.integers(0, 100), st.none() | st.integers(0, 100), st.integers(1, 64))
def test_limits(least: int, more: int, tasks: int | None, processors: int) -> None:
    low, high = limits(WorkerBounds(least, least + more), tasks, processors)
    assert 1 <= low <= high
    assert low == (least if tasks is None else min(least, max(1, tasks)))
    assert high <= max(low, processors)
    assert tasks is None or high <= max(1, tasks)


def test_what_is_seen_right_after_a_change_is_not_looked_at() -> None:
    def hot_at(at: int) -> WorkerLoad:
        return WorkerLoad(at, 9, 9, at)

    hot = [hot_at(at) for at in range(1_000, 20_000, 1_000)]
    assert decide(hot, 20_000, 2, 0, WorkerBounds(1, 8), QUIET_MS) == 2
    more = [*hot, *[hot_at(at) for at in range(20_000, 31_000, 1_000)]]
    assert decide(more, 29_000, 2, 0, WorkerBounds(1, 8), QUIET_MS) == 2
    assert decide(more, 30_000, 2, 0, WorkerBounds(1, 8), QUIET_MS) == 4
    one_breath = [*more[:-3], WorkerLoad(28_000, 1, 1, 0), *more[-2:]]
    assert decide(one_breath, 30_000, 2, 0, WorkerBounds(1, 8), QUIET_MS) == 2, "a peak is no load"


def test_no_worker_is_removed_while_one_does_not_keep_up() -> None:
    """Little to do in all, too much for one: fewer workers would make it worse."""
    uneven = [WorkerLoad(at, 1.4, 1.2, 0) for at in range(20_000, 200_000, 2_000)]
    assert decide(uneven, 200_000, 4, 0, WorkerBounds(1, 8), QUIET_MS) == 4
    even = [WorkerLoad(at, 1.4, 0.4, 0) for at in range(20_000, 200_000, 2_000)]
    assert decide(even, 200_000, 4, 0, WorkerBounds(1, 8), QUIET_MS) == 2


def steady(busy: float, rate: float, growth: float = 0.0, lag: int = 0, seconds: int = 10) -> Load | None:
    return load_of(
        [
            LoadSample(at * 1000, round(rate * at), round(lag + growth * at), busy * at, (1 - busy) * at)
            for at in range(seconds + 1)
        ]
    )


def test_load() -> None:
    half = steady(0.5, 1_000)
    assert half is not None
    assert (half.busy, half.rate, half.growth, half.lag) == (0.5, 1_000, 0, 0)
    assert half.needed == pytest.approx(0.5 / TARGET)
    growing = steady(1.0, 1_000, growth=1_000, lag=0)
    assert growing is not None
    assert growing.needed == pytest.approx((2_000 + 10_000 / CATCH_UP_SECONDS) / 1_000 / TARGET)
    shrinking = steady(1.0, 1_000, growth=-1_000, lag=10_000)
    assert shrinking is not None
    assert shrinking.needed == pytest.approx(1 / TARGET), "fewer workers than necessary"
    assert steady(0.5, 1_000, seconds=4) is None, "too short a time"
    assert load_of([]) is None


def test_the_load_of_a_process_that_does_nothing() -> None:
    idle, stuck = steady(0.0, 0), steady(0.0, 0, lag=100)
    assert idle is not None
    assert stuck is not None
    assert (idle.needed, stuck.needed) == (0, 1)


def test_only_the_last_seconds_count() -> None:
    samples = [LoadSample(at * 1000, 100 * at, 0, 0.9 * at, 0.1 * at) for at in range(60)]
    last = samples[-1]
    samples += [
        LoadSample(last.at + at * 1000, last.records, 0, last.processing, last.polling + at) for at in range(1, 17)
    ]
    load = load_of(samples)
    assert load is not None
    assert (load.busy, load.rate) == (0, 0)


@given(st.floats(0.01, 1), st.floats(1, 1e6), st.floats(-1e5, 1e5), st.integers(0, 10**9))
def test_more_to_do_never_asks_for_less(busy: float, rate: float, growth: float, lag: int) -> None:
    def need(busy: float, growth: float, lag: int) -> float:
        found = load_of([LoadSample(at * 1000, round(rate * at), lag, busy * at, (1 - busy) * at) for at in range(11)])
        assert found is not None
        return found.needed

    assert need(busy, growth, lag) <= need(busy, growth, lag + 1000) + 1e-9
    assert need(busy, growth, lag) >= busy / TARGET * 0.99
