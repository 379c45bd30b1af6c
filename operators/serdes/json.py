"""JSON: plain objects, or typed by a model.

`json` reads and writes plain objects; `json(Model)` reads a msgspec struct, dataclass, TypedDict, NamedTuple, pydantic
model or any type that msgspec supports. Values are decoded one by one: decoding a batch as lines would hardly be
faster, and values that are invalid JSON by themselves could be accepted when joined.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Generic, cast, overload

import msgspec
from typing_extensions import TypeVar

from ..errors import TopologyError

__all__ = ["Json", "PlainJson", "json", "to_builtin"]

T = TypeVar("T", default=Any)


def to_builtin(value: Any) -> Any:
    """Return what msgspec writes for a value that it does not support, such as a pydantic model.

    Raises TypeError for other values.
    """
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    item = getattr(value, "item", None)  # a NumPy scalar
    if item is not None and getattr(value, "shape", None) == ():
        return item()
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON")


def check_finite(value: Any) -> None:
    """Raise ValueError for a value with a number that JSON does not have.

    msgspec would write null for it.
    """
    walk(msgspec.to_builtins(value, enc_hook=to_builtin))


def walk(part: Any) -> None:
    if isinstance(part, float):
        if not math.isfinite(part):
            raise ValueError(f"JSON has no {part}: leave it out, or write it as None or as text")
    elif isinstance(part, dict):
        for inner in cast("dict[Any, Any]", part).values():
            walk(inner)
    elif isinstance(part, (list, tuple, set, frozenset)):
        for inner in cast("list[Any]", part):
            walk(inner)


class Json(Generic[T]):
    """JSON of one type; NaN and infinities are rejected."""

    def __init__(self, model: Any, name: str) -> None:
        self._name = name
        encoder = msgspec.json.Encoder(enc_hook=to_builtin)
        self._write: Callable[[T], bytes] = encoder.encode
        self._lines: Callable[[list[T]], bytes] = encoder.encode_lines
        self.typed = model is not Any
        self.model = model
        self.closed = not hasattr(model, "model_validate_json")
        self.decode: Callable[[bytes], T]
        if not self.closed:  # a pydantic model
            self.decode = model.model_validate_json
            return
        try:
            decoder = msgspec.json.Decoder(model)
        except TypeError as error:
            raise TopologyError(f"tm.json cannot read {name}: {error}") from error
        self.decode = decoder.decode

    def encode(self, value: T, /) -> bytes:
        raw = self._write(value)
        if b"null" in raw:
            check_finite(value)
        return raw

    def encode_many(self, values: list[T], /) -> list[bytes]:
        whole = self._lines(values)
        raws = whole.split(b"\n")
        raws.pop()  # what comes after the last line
        if len(raws) != len(values):  # a `msgspec.Raw` with line breaks
            return list(map(self.encode, values))
        if b"null" in whole:
            for raw, value in zip(raws, values, strict=True):
                if b"null" in raw:
                    check_finite(value)
        return raws

    def __repr__(self) -> str:
        return self._name


class PlainJson(Json[Any]):
    """JSON of plain objects; if called with a model, it returns the serde of that model."""

    def __init__(self) -> None:
        super().__init__(Any, "json")

    @overload
    def __call__(self, model: type[T], /) -> Json[T]: ...
    @overload
    def __call__(self, model: Any, /) -> Json[Any]: ...
    def __call__(self, model: Any, /) -> Json[Any]:
        if isinstance(model, (str, bytes, dict, list)):
            raise TopologyError(f"tm.json takes a type, not {model!r}: write tm.json alone for plain objects")
        return Json(model, f"json({getattr(model, '__name__', str(model))})")


json = PlainJson()
"""JSON of plain objects; `tm.json(Model)` is JSON of one type.

A model is a msgspec struct, a dataclass, a TypedDict, a pydantic model, or any type that msgspec supports. Values that
do not match it cannot be decoded. NaN and infinities are rejected.

Example:
    >>> import dataclasses
    >>> @dataclasses.dataclass
    ... class Click:
    ...     page: str
    >>> clicks = app.stream("clicks", key=tm.utf8, value=tm.json(Click))
    >>> pages = clicks.map(lambda click: click.page)
"""
