"""Run schedules: `python -m tests.simulation --seeds 1000`, or replay one and print its trace: `--seed 17`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import Any

from .driver import Schedule, Violation, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run only this seed, and print everything that happens")
    parser.add_argument("--seeds", type=int, default=1000, help="the number of seeds (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    asked = parser.parse_args()
    return many(asked.first, asked.seeds) if asked.seed is None else one(asked.seed)


def many(first: int, seeds: int) -> int:
    """Run schedules one after the other, and print their violations."""
    began, violations, turns = time.monotonic(), 0, 0
    for seed in range(first, first + seeds):
        try:
            turns += run(seed).turns
        except Violation as violation:
            violations += 1
            print(violation, flush=True)
    seconds = time.monotonic() - began
    print(
        f"{seeds} schedules, {turns:,} turns, {seconds:.0f} s ({seeds / seconds:.0f} a second): "
        f"{violations or 'no'} violation{'' if violations == 1 else 's'}"
    )
    return 1 if violations else 0


def one(seed: int) -> int:
    """Run one schedule, and print the turns of the processes, with their logs in between."""
    schedule = Schedule(seed)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("             %(levelname)s %(name)s: %(message)s"))
    log = logging.getLogger("tidemill")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    schedule.world.trace = Printed()
    print(schedule.trouble)
    try:
        schedule.run()
    except Violation as violation:
        print(violation)
        return 1
    print("no violation")
    return 0


class Printed(list[tuple[Any, ...]]):
    """A trace that prints each entry as it is added."""

    def append(self, entry: tuple[Any, ...]) -> None:
        print(f"{entry[0]:>8} ms ", *entry[1:])


if __name__ == "__main__":
    sys.exit(main())
