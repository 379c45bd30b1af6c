"""Programs of tables over several partitions: the final rows do not depend on the order in which tasks run."""

from __future__ import annotations

from random import Random

from tests.random_programs.check import Violation, deliver, pieces
from tests.random_programs.program import Program
from tests.random_programs.world import World

__all__ = ["check_tables"]


def rows(program: Program, partitions: int, random: Random | None) -> dict[str, list[str]]:
    """What users see in each store at the end."""
    world = World(program.app(), partitions, random)
    try:
        for piece in pieces(program, random):
            deliver(world, piece)
            world.commit()
            if random is not None and random.random() < 0.1:
                world.restore()
        return {name: sorted(entries) for name, entries in world.stores().items()}
    finally:
        world.close()


def check_tables(program: Program, seed: int) -> None:
    """Raises Violation."""
    random = Random(seed)
    try:
        right = rows(program, 1, None)
        for partitions in (1, random.choice([2, 3])):
            found = rows(program, partitions, random)
            for store, entries in right.items():
                if found[store] != entries:
                    what = f"store {store}:\n  in one task {entries}\n  here        {found[store]}"
                    raise Violation(program, f"{partitions} partitions", what)
    except Violation:
        raise
    except Exception as failure:
        raise Violation(program, "tables", f"{type(failure).__name__}: {failure}") from failure
