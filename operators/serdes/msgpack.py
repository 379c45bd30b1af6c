"""Msgpack: plain objects, or typed by a model, as `json` does for JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, overload

import msgspec
from typing_extensions import TypeVar

from ..errors import TopologyError
from .json import to_builtin

__all__ = ["Msgpack", "PlainMsgpack", "msgpack"]

T = TypeVar("T", default=Any)


class Msgpack(Generic[T]):
    """Msgpack of one type."""

    closed = True

    def __init__(self, model: Any, name: str) -> None:
        self._name = name
        self.typed = model is not Any
        self.model = model
        if isinstance(model, type) and hasattr(model, "model_validate"):
            raise TopologyError(f"tm.msgpack does not read pydantic models such as {name}; tm.json does")
        try:
            decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(model)
        except TypeError as error:
            raise TopologyError(f"tm.msgpack cannot read {name}: {error}") from error
        self.decode: Callable[[bytes], T] = decoder.decode
        self.encode: Callable[[T], bytes] = msgspec.msgpack.Encoder(enc_hook=to_builtin).encode

    def __repr__(self) -> str:
        return self._name


class PlainMsgpack(Msgpack[Any]):
    """Msgpack of plain objects; if called with a model, it returns the serde of that model."""

    def __init__(self) -> None:
        super().__init__(Any, "msgpack")

    @overload
    def __call__(self, model: type[T], /) -> Msgpack[T]: ...
    @overload
    def __call__(self, model: Any, /) -> Msgpack[Any]: ...
    def __call__(self, model: Any, /) -> Msgpack[Any]:
        return Msgpack(model, f"msgpack({getattr(model, '__name__', str(model))})")


msgpack = PlainMsgpack()
"""Msgpack of plain objects; `tm.msgpack(Model)` is msgpack of one type, as for `tm.json`.

Pydantic models are not supported.

Example:
    >>> tm.msgpack.decode(tm.msgpack.encode({"item": "pen"}))
    {'item': 'pen'}
"""
