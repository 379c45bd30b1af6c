"""Frames for `map_batch`: values as Arrow columns, and the answer of a function as results.

A function whose argument is annotated as a frame of pyarrow, polars or pandas gets one row per value. The columns are
the fields of the values; values without fields are the column "value". Types come from the model of the stream's serde,
otherwise Arrow infers them from each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import isroutine
from typing import Any, Final, get_type_hints

from ..errors import TopologyError
from ..user_functions import unwrapped

__all__ = ["over_frames", "results_list"]


def _same(batch: Any) -> Any:
    return batch


FRAMES: Final[Mapping[tuple[str, str], Callable[[Any], Any]]] = {
    ("pyarrow", "RecordBatch"): _same,
    ("pyarrow", "Table"): lambda batch: import_module("pyarrow").Table.from_batches([batch]),
    ("polars", "DataFrame"): lambda batch: import_module("polars").from_arrow(batch),
    ("pandas", "DataFrame"): lambda batch: batch.to_pandas(),
}
"""By library and class, how a frame is made of a record batch."""
LIBRARIES: Final = {library for library, _ in FRAMES}


def over_frames(function: Callable[[Any], Any], model: Any) -> Callable[[list[Any]], Any]:
    """Return a function of a list that calls `function` with a frame if it takes one.

    `model` is the type of the values, None if unknown. Raises TopologyError for a frame that is not supported, and if
    pyarrow is not installed.
    """
    kind = _frame_of(function)
    if kind is None:
        return function
    library, name = kind
    if kind not in FRAMES:
        known = ", ".join(f"{module}.{cls}" for module, cls in FRAMES)
        raise TopologyError(f".map_batch() calls functions of a list or of {known}, not of {library}.{name}")
    try:
        arrow: Any = import_module(f"{__package__}.arrow_columns")
    except ImportError as error:
        raise TopologyError(
            f".map_batch() makes a {library}.{name} by way of Arrow: pip install 'tidemill[arrow]'"
        ) from error
    convert, known = FRAMES[kind], arrow.columns_of(model)

    def framed(values: list[Any]) -> Any:
        return function(convert(arrow.record_batch(known or arrow.columns_in(values), values)))

    return framed


def results_list(answer: Any) -> list[Any]:
    """Return what a function has returned as a list: rows of a frame, else items."""
    if hasattr(answer, "to_dicts"):  # a frame of polars
        return answer.to_dicts()
    if hasattr(answer, "iterrows"):  # a frame of pandas: Arrow reads its missing values as null
        return import_module("pyarrow").RecordBatch.from_pandas(answer, preserve_index=False).to_pylist()
    if hasattr(answer, "to_pylist"):  # Arrow
        return answer.to_pylist()
    return answer.tolist() if hasattr(answer, "tolist") else list(answer)


def _frame_of(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Return the library and class of the frame that a function takes, None if it takes none."""
    inner = unwrapped(function)
    called = inner if isroutine(inner) else type(inner).__call__
    try:
        hints = get_type_hints(called)
    except (AttributeError, NameError, TypeError):
        return None
    hints.pop("return", None)
    first: Any = next(iter(hints.values()), None)
    library = getattr(first, "__module__", "").partition(".")[0]
    return (library, first.__name__) if isinstance(first, type) and library in LIBRARIES else None
