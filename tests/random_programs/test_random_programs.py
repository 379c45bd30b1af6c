"""Run random programs: results do not depend on batches, restores and rollbacks.

A failure names its seed. `make fuzz SEED=...` runs it again, and prints the program, made small.
"""

from __future__ import annotations

import pytest

from tests.random_programs.check import check
from tests.random_programs.generate import generate
from tests.random_programs.model import check_model, modelled
from tests.random_programs.program import Line, Program
from tests.random_programs.shrink import shorter
from tests.random_programs.tables import check_tables
from tests.random_programs.timed import check_timed, timed

MODELLED = 40
TIMED = 100
FEW, BLOCKS, BLOCK = 5, 5, 15


def all_hold(first: int, seeds: int) -> None:
    for seed in range(first, first + seeds):
        check(generate(seed), seed)
        check_tables(generate(seed, "tables"), seed)


def test_what_a_model_says() -> None:
    for seed in range(MODELLED):
        check_model(*modelled(seed), seed)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "seeds"), [(0, 20), pytest.param(20, TIMED - 20, marks=pytest.mark.slow)])
def test_results_that_depend_on_event_time_are_those_of_a_batch(first: int, seeds: int) -> None:
    for seed in range(first, first + seeds):
        check_timed(timed(seed), seed)


def test_a_few_programs() -> None:
    all_hold(0, FEW)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(FEW, FEW + BLOCKS * BLOCK, BLOCK))
def test_many_programs(first: int) -> None:
    all_hold(first, BLOCK)


def test_a_seed_is_one_program() -> None:
    assert generate(3) == generate(3) != generate(4)


def test_programs_can_be_run_as_they_are_printed() -> None:
    for seed in range(3):
        program = generate(seed)
        scope: dict[str, object] = {}
        exec(program.text(), scope)
        assert Program(program.lines, tuple(scope["events"])) == program  # type: ignore[arg-type]


def test_lines_are_left_out_with_what_needs_them_or_alone() -> None:
    lines = [Line("s0", "app.stream()"), Line("s1", "s0.map(row)"), Line("", 's1.to("out-s1")')]
    found = [[str(line) for line in each] for each in shorter(lines)]
    assert ["s0 = app.stream()"] in found
    assert ["s0 = app.stream()", 's0.to("out-s1")'] in found
    assert [] in found
