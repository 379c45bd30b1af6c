"""Records that stand for several of one key, as they are in a repartition topic.

The step before the topic combines records of a key into a partial aggregate, and the aggregate behind it merges that
into its own. The topic may have such records beside those of the stream, so they have a header. Their values begin with
a byte that neither JSON, msgpack nor UTF-8 begins with: a version of Tidemill, or a program, that does not know of them
cannot take them for values of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from ..errors import TopologyError
from ..record import Headers
from ..serdes.base import Serde, column_decoder, column_encoder

__all__ = ["COMBINED", "CombinedSerde", "Partial", "refuse_combined"]

NAME: Final = "tidemill-combined"
COMBINED: Final = (NAME, b"1")
"""The header of a combined record."""
START: Final = b"\xc1\x01"


class Partial(msgspec.Struct, frozen=True, gc=False):
    """The value of a combined record: what an aggregate keeps of the values of several records."""

    slots: tuple[Any, ...]


class CombinedSerde:
    """The serde of a topic with records of a stream and combined ones."""

    def __init__(
        self, inner: Serde[Any], keep: Callable[[tuple[Any, ...]], bytes], restore: Callable[[bytes], tuple[Any, ...]]
    ) -> None:
        """Take the serde of the stream, and the conversions of the aggregate's entries."""
        self.inner = inner
        self._keep, self._restore = keep, restore
        self._encode_plain, self._decode_plain = column_encoder(inner), column_decoder(inner)
        self.decode: Callable[[bytes], Any] = inner.decode
        self.without_nulls: bool = getattr(inner, "without_nulls", False)

    def encode(self, value: Any, /) -> bytes:
        """Return the bytes of a value of the stream or of a `Partial`."""
        if value.__class__ is Partial:
            return START + self._keep((0, *value.slots))
        return self.inner.encode(value)

    def encode_many(self, values: list[Any], /) -> list[bytes | None]:
        """Return the bytes of each value."""
        if any(value.__class__ is Partial for value in values):
            return [self.encode(value) for value in values]
        return self._encode_plain(values)

    def decode_many(self, data: list[bytes], /) -> list[Any]:
        """Return the values of records without the header."""
        return self._decode_plain(list(data))

    def decode_with_headers(self, column: list[bytes | None], headers: list[Headers]) -> list[Any]:
        """Return the values of records, some of which are combined."""
        combined = [_is_combined(found) for found in headers]
        if not any(combined):
            return self._decode_plain(column)
        plain = iter(self._decode_plain([data for data, one in zip(column, combined, strict=True) if not one]))
        return [self._partial(data) if one else next(plain) for data, one in zip(column, combined, strict=True)]

    @staticmethod
    def without_ids(headers: Iterable[Headers]) -> list[Headers]:
        """Return the headers of the stream."""
        return [found[:-1] if found and found[-1] == COMBINED else found for found in headers]

    def _partial(self, data: bytes | None) -> Partial:
        if data is None or not data.startswith(START):
            raise ValueError("the combined record is of a later version of Tidemill")
        return Partial(tuple(self._restore(data[len(START) :])))

    def __repr__(self) -> str:
        return repr(self.inner)


def refuse_combined(step: str, headers: Iterable[Headers]) -> None:
    """Raise TopologyError if there are combined records, for a step that cannot read them."""
    if any(map(_is_combined, headers)):
        raise TopologyError(
            f"the repartition topic of step {step!r} has records that the program has combined for an aggregate, and "
            "that aggregate is not the reader of the topic any more: run the program as it was until it has read them, "
            "or give the new step another name"
        )


def _is_combined(headers: Headers) -> bool:
    return bool(headers) and headers[-1][0] == NAME
