"""Bytes to values and back.

A serde is any object with `encode` and `decode`. It may also offer `encode_many` and `decode_many` for whole lists,
which is where most of the speed of decoding lies.
"""

from __future__ import annotations

from typing import Any, Protocol

from typing_extensions import TypeVar

__all__ = ["Serde"]

T = TypeVar("T", default=Any)


class Serde(Protocol[T]):
    """Encodes values of type `T` as bytes and decodes them again."""

    def encode(self, value: T, /) -> bytes: ...

    def decode(self, data: bytes, /) -> T: ...
