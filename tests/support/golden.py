"""Examples of the code generated for folds, and the golden files that it is compared with.

`make golden` writes the files. The comparison is by syntax tree, since the files are formatted.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import tidemill as tm
from tests.operators.golden import names
from tidemill.operators.aggregates.columns import columns_fold
from tidemill.operators.aggregates.combining import combine_loop
from tidemill.operators.aggregates.fold import Fold, aggregating, counting, reducing
from tidemill.operators.aggregates.keyed import keyed_loop
from tidemill.operators.tables.table_group import group_loop
from tidemill.operators.time.windows import Emit, FixedWindows
from tidemill.operators.windows.windowed import windowed_loop

__all__ = ["FOLDER", "GENERATED", "body_of", "generated", "write"]

FOLDER: Final = Path(__file__).parent.parent / "operators" / "golden"

COUNT = counting(tm.auto)
COLUMNS = columns_fold({"count": tm.count(), "total": tm.sum("amount"), "largest": tm.max(names.f_x1)})
REDUCE = reducing(names.function, tm.auto, names.undoing)
AGGREGATE = aggregating(0, names.function, tm.auto, merge=names.merge_function)

TUMBLING, HOPPING, DAYS = tm.tumbling("1m", grace="10s"), tm.hopping("1m", every="10s"), tm.calendar("day")
ON_UPDATE, ON_CLOSE, AT_INTERVALS = Emit(), Emit(on_close=True), Emit(every=1_000)


def windowed(
    fold: Fold,
    windows: FixedWindows,
    emit: Emit,
    *,
    updates: bool = False,
    watermarked: bool = False,
    holding: bool = False,
    columns: bool = False,
) -> Any:
    return windowed_loop(
        fold, windows, emit, updates=updates, watermarked=watermarked, holding=holding, columns=columns
    )


GENERATED: Final[dict[str, Callable[[], Any]]] = {
    "count": lambda: keyed_loop(COUNT, updates=False),
    "count_with_old_rows": lambda: keyed_loop(COUNT, updates=True),
    "count_on_commit": lambda: keyed_loop(COUNT, updates=False, holding=True),
    "count_in_columns": lambda: keyed_loop(COUNT, updates=False, columns=True),
    "columns": lambda: keyed_loop(COLUMNS, updates=False),
    "columns_combined": lambda: keyed_loop(COLUMNS, updates=False, combined=True),
    "columns_combining": lambda: combine_loop(COLUMNS),
    "count_combined_on_commit": lambda: keyed_loop(COUNT, updates=False, holding=True, combined=True),
    "count_combining": lambda: combine_loop(COUNT),
    "reduce": lambda: keyed_loop(REDUCE, updates=False),
    "reduce_rows": lambda: group_loop(REDUCE, updates=False),
    "tumbling_count": lambda: windowed(COUNT, TUMBLING, ON_UPDATE),
    "tumbling_count_at_intervals": lambda: windowed(COUNT, TUMBLING, AT_INTERVALS),
    "tumbling_count_by_watermark": lambda: windowed(COUNT, TUMBLING, ON_UPDATE, watermarked=True),
    "tumbling_count_on_commit": lambda: windowed(COUNT, TUMBLING, ON_UPDATE, holding=True),
    "tumbling_count_in_columns": lambda: windowed(COUNT, TUMBLING, ON_UPDATE, columns=True),
    "hopping_aggregate_in_columns": lambda: windowed(AGGREGATE, HOPPING, ON_UPDATE, columns=True),
    "hopping_count_on_commit": lambda: windowed(COUNT, HOPPING, ON_UPDATE, holding=True),
    "calendar_count_on_close": lambda: windowed(COUNT, DAYS, ON_CLOSE),
    "hopping_aggregate": lambda: windowed(AGGREGATE, HOPPING, ON_UPDATE, updates=True),
    "aggregate_take": lambda: AGGREGATE.functions().take,
    "aggregate_merge": lambda: AGGREGATE.functions().merge,
    "aggregate_shown": lambda: AGGREGATE.functions().shown,
    "columns_merge": lambda: COLUMNS.functions().merge,
    "columns_keep": lambda: COLUMNS.keep,
}
"""The functions by the names of their files: each kind of fold and of loop, and each way to send results."""


def generated(name: str) -> str:
    """Return the generated source of an example."""
    return "".join(linecache.getlines(GENERATED[name]().__code__.co_filename))


def body_of(source: str) -> str:
    """Return the functions of a source as a dumped syntax tree."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return "\n".join(ast.dump(node, indent=1) for node in functions)


def write(folder: Path) -> None:
    """Write the golden files into a folder."""
    for name in GENERATED:
        source = generated(name)
        imported = sorted(free_names(source) - vars(builtins).keys())
        (folder / f"{name}.py").write_text(
            '"""Generated, for reading and checking; written by `make golden`."""\n'
            "# pyright: strict, reportUnusedVariable=false\n\n"
            "from __future__ import annotations\n\n"
            f"from tests.operators.golden.names import {', '.join(imported)}\n\n\n{source}\n"
        )
    for command in (["format"], ["check", "--select=I", "--fix"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", folder], check=True)


def free_names(source: str) -> set[str]:
    """Return the names that a function uses without having them as a parameter or assigning them."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name is not None}
    return {node.id for node in names} - bound - {node.arg for node in nodes if isinstance(node, ast.arg)}


if __name__ == "__main__":
    write(FOLDER)
