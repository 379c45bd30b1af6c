"""Run random programs: `python -m tests.random_programs --seeds 1000`, or run and shrink one: `--seed 17`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.random_programs.check import Violation, check
from tests.random_programs.generate import generate
from tests.random_programs.model import check_model, modelled
from tests.random_programs.shrink import shrink
from tests.random_programs.tables import check_tables
from tests.random_programs.timed import check_timed, timed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.random_programs", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one alone, and print it")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to run (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: 0)")
    asked = parser.parse_args()
    if asked.seed is not None:
        print(generate(asked.seed).text(), "\n", generate(asked.seed, "tables").text(), sep="\n")
    first, seeds = (asked.first, asked.seeds) if asked.seed is None else (asked.seed, 1)
    began, violations = time.monotonic(), 0
    for seed in range(first, first + seeds):
        for kind, fails in (("any", check), ("tables", check_tables)):
            try:
                fails(generate(seed, kind), seed)
            except Violation as violation:
                violations += 1
                small = shrink(violation, seed, fails)
                print(f"# seed {seed}\n{small.program.text()}\n# {small}\n", flush=True)
        for judged in (lambda seed: check_model(*modelled(seed), seed), lambda seed: check_timed(timed(seed), seed)):
            try:
                judged(seed)
            except Violation as violation:
                violations += 1
                print(f"# seed {seed}\n{violation.program.text()}\n# {violation}\n", flush=True)
    seconds = time.monotonic() - began
    print(f"{seeds} seeds, {seconds:.0f} s: {violations or 'no'} violation{'' if violations == 1 else 's'}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
