"""CPU time of operators per record, without Kafka, serdes and the runtime.

    python -m bench.operators                                       # ns per record of this checkout
    python -m bench.operators --against ../tidemill-before          # two checkouts, and their ratio
    python -m bench.operators --only sessions,sliding --rounds 15

Each measurement passes the same lists of records to a new operator. With `--against`, each checkout runs in a separate
process, with the Python of its `.venv` if it has one. The two alternate, and the ratio is the median of the ratios of
pairs, so load that lasts longer than one measurement cancels out.
"""

from __future__ import annotations

import argparse
import gc
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import tidemill as tm
from tidemill.operators.record import Update
from tidemill.state.memory import MemoryStore
from tidemill.state.window_cache import cache_of

__all__ = ["main", "time_of"]

LISTS, LENGTH, KEYS = 40, 500, 200

TUMBLING = tm.tumbling("1s", grace="1s")
HOPPING = tm.hopping("4s", every="1s", grace="1s")


def grouped(app: tm.App) -> Any:
    return app.stream("a", key=tm.utf8, value=tm.json).group_by_key()


def columns() -> dict[str, Any]:
    return {"count": tm.count(), "total": tm.sum("amount")}


def add(so_far: int, value: dict[str, int]) -> int:
    return so_far + value["amount"]


def larger(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return one if one["amount"] > other["amount"] else other


def field_added(value: dict[str, int]) -> dict[str, int]:
    return {**value, "more": 1}


def both(value: Any, row: Any) -> Any:
    return (value["amount"], row["amount"])


def joined(app: tm.App) -> Any:
    return app.stream("a", key=tm.utf8, value=tm.json).join(app.table("t", key=tm.utf8, value=tm.json), both)


def windowed(app: tm.App, windows: Any) -> Any:
    return grouped(app).window(windows)


def cogrouped(app: tm.App) -> Any:
    other = app.stream("t", key=tm.utf8, value=tm.json).group_by_key()
    return grouped(app).cogroup(add).cogroup(other, add).window(TUMBLING).aggregate(0)


def large(value: dict[str, int]) -> bool:
    return value["amount"] > 50


def by_group(row: dict[str, str]) -> str:
    return row["group"]


CASES: dict[str, Callable[[tm.App], Any]] = {
    "map": lambda app: app.stream("a", key=tm.utf8, value=tm.json).map(field_added),
    "filter": lambda app: app.stream("a", key=tm.utf8, value=tm.json).filter(large),
    "count": lambda app: grouped(app).count(),
    "columns": lambda app: grouped(app).aggregate(**columns()),
    "reduce": lambda app: grouped(app).reduce(larger),
    "aggregate": lambda app: grouped(app).aggregate(0, add),
    "tumbling": lambda app: windowed(app, TUMBLING).aggregate(**columns()),
    "tumbling count": lambda app: windowed(app, TUMBLING).count(),
    "tumbling on close": lambda app: windowed(app, TUMBLING).emit("close").aggregate(**columns()),
    "calendar": lambda app: windowed(app, tm.calendar("day")).aggregate(**columns()),
    "hopping": lambda app: windowed(app, HOPPING).aggregate(**columns()),
    "hopping count": lambda app: windowed(app, HOPPING).count(),
    "hopping on close": lambda app: windowed(app, HOPPING).emit("close").aggregate(**columns()),
    "sessions": lambda app: windowed(app, tm.session(gap="1s", grace="1s")).aggregate(**columns()),
    "sessions count": lambda app: windowed(app, tm.session(gap="1s", grace="1s")).count(),
    "sliding": lambda app: windowed(app, tm.sliding("1s", grace="1s")).aggregate(**columns()),
    "sliding count": lambda app: windowed(app, tm.sliding("1s", grace="1s")).count(),
    "cogroup in windows": cogrouped,
    "table group": lambda app: app.table("a", key=tm.utf8, value=tm.json).group_by(by_group).count(),
    "stream-table join": joined,
}


def node_of(case: str) -> Any:
    """Return the node of the measured step of a case."""
    app = tm.App("bench")
    CASES[case](app).named("measured").to("out")
    nodes = [node for node in app.topology().nodes if node.name == "measured"]
    return nodes[-1]


def lists_of(grouped: bool = False, tagged: bool = False) -> list[list[Any]]:
    """Return lists of records, of updates of a table (`grouped`), or of pairs (`tagged`)."""
    drawn = random.Random(7)
    rows: dict[str, Any] = {}
    items: list[Any] = []
    for number in range(LISTS * LENGTH):
        value: Any = {"amount": drawn.randrange(100), "group": f"g{drawn.randrange(50)}"}
        key = f"k{drawn.randrange(KEYS)}"
        if grouped:
            key = value["group"]
            rows[key], value = value, Update(rows.get(key), value)
        record = tm.Record(key, value, number, (), number)
        items.append((number % 2, record) if tagged else record)
    return [items[start : start + LENGTH] for start in range(0, len(items), LENGTH)]


def time_of(operator: Any, **options: bool) -> float:
    """Return the CPU time per record of a new operator, in ns."""
    lists = lists_of(**options)
    process = operator.process
    gc.collect()
    gc.disable()
    began = time.process_time_ns()
    for records in lists:
        process(records, 0)
    took = time.process_time_ns() - began
    gc.enable()
    return took / (LISTS * LENGTH)


def measured(case: str) -> float:
    """Return the CPU time per record of the operator of a case, in ns."""
    node = node_of(case)
    store = MemoryStore()
    caches = {state.spec.name: cache_of(store, state.spec.name, state.codec) for state in node.stores}
    return time_of(node.build(caches), grouped=case == "table group", tagged=node.tagged)


def serve() -> None:
    """Measure the cases that are named on standard input, one per line."""
    for line in sys.stdin:
        print(measured(line.strip()), flush=True)


class Checkout:
    """A process that measures cases with the code of a checkout."""

    def __init__(self, folder: Path) -> None:
        python = folder / ".venv" / "bin" / "python"
        self._process = subprocess.Popen(
            [python if python.exists() else sys.executable, "-I", __file__, "--serve"],
            cwd=folder,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def measured(self, case: str) -> float:
        """Return the CPU time per record in that checkout, in ns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(case + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Stop the process."""
        self._process.communicate()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.operators", description="CPU time of operators per record")
    parser.add_argument("--against", type=Path, help="the folder of another checkout")
    parser.add_argument("--only", default=",".join(CASES), help="cases, separated by commas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve()
        return
    cases: list[str] = asked.only.split(",")
    if asked.against is None:
        for case in cases:
            print(f"{case:20} {median(measured(case) for _ in range(asked.rounds)):8.0f} ns", flush=True)
        return
    here, there = Checkout(Path(__file__).parent.parent), Checkout(asked.against)
    for case in cases:
        pairs = [paired(here, there, case, turned=bool(number % 2)) for number in range(asked.rounds)]
        ratio = median(mine / theirs for mine, theirs in pairs)
        figures = f"{median(mine for mine, _ in pairs):8.0f} ns {median(theirs for _, theirs in pairs):8.0f} ns"
        print(f"{case:20} {figures}  {100 * (ratio - 1):+6.1f} %", flush=True)
    here.close()
    there.close()


def paired(here: Checkout, there: Checkout, case: str, *, turned: bool) -> tuple[float, float]:
    """Measure two checkouts one after the other, and return both times per record in ns."""
    theirs = there.measured(case) if turned else 0.0
    mine = here.measured(case)
    return mine, theirs or there.measured(case)


if __name__ == "__main__":
    main()
