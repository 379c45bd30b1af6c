"""Encoding and decoding of Kafka's primitive types, and the frame of a request."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from typing_extensions import TypeVar

__all__ = ["ProtocolError", "Request", "RequestWriter", "ResponseReader"]

R = TypeVar("R")


class ProtocolError(Exception):
    """Bytes that do not follow the protocol."""


class RequestWriter:
    """Builds the body of a request."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def int8(self, value: int) -> RequestWriter:
        return self._add(struct.pack(">b", value))

    def int16(self, value: int) -> RequestWriter:
        return self._add(struct.pack(">h", value))

    def int32(self, value: int) -> RequestWriter:
        return self._add(struct.pack(">i", value))

    def int64(self, value: int) -> RequestWriter:
        return self._add(struct.pack(">q", value))

    def string(self, value: str | None) -> RequestWriter:
        if value is None:
            return self.int16(-1)
        data = value.encode()
        return self.int16(len(data))._add(data)

    def bytes(self, value: bytes) -> RequestWriter:
        return self.int32(len(value))._add(value)

    def varint(self, value: int) -> RequestWriter:
        data = bytearray()
        while value > 0x7F:
            data.append(value & 0x7F | 0x80)
            value >>= 7
        data.append(value)
        return self._add(bytes(data))

    def compact_string(self, value: str | None) -> RequestWriter:
        if value is None:
            return self.varint(0)
        data = value.encode()
        return self.varint(len(data) + 1)._add(data)

    def tags(self) -> RequestWriter:
        return self.varint(0)

    def done(self) -> bytes:
        return b"".join(self._parts)

    def _add(self, data: bytes) -> RequestWriter:
        self._parts.append(data)
        return self


class ResponseReader:
    """Decodes a response. Raises ProtocolError where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def int8(self) -> int:
        return int.from_bytes(self._take(1), "big", signed=True)

    def int16(self) -> int:
        return int.from_bytes(self._take(2), "big", signed=True)

    def int32(self) -> int:
        return int.from_bytes(self._take(4), "big", signed=True)

    def int64(self) -> int:
        return int.from_bytes(self._take(8), "big", signed=True)

    def string(self) -> str | None:
        length = self.int16()
        return None if length < 0 else self._text(length)

    def bytes(self) -> bytes:
        length = self.int32()
        return b"" if length < 0 else self._take(length)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 28:
                raise ProtocolError("a number is too long")

    def compact_string(self) -> str | None:
        length = self.varint() - 1
        return None if length < 0 else self._text(length)

    def tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self._take(self.varint())

    def count(self) -> range:
        """Return a range with as many items as the array has elements."""
        return range(max(0, self.int32()))

    def compact_count(self) -> range:
        return range(max(0, self.varint() - 1))

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as failure:
            raise ProtocolError(f"a string in the answer is not UTF-8: {failure}") from failure

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if length < 0 or end > len(self._data):
            raise ProtocolError(f"the answer is cut off after {len(self._data)} bytes")
        data = self._data[self._at : end]
        self._at = end
        return data


@dataclass(frozen=True)
class Request(Generic[R]):
    """An encoded request, and the function that decodes its response."""

    key: int
    version: int
    body: bytes
    read: Callable[[ResponseReader], R]
    flexible: bool = False

    def framed(self, correlation: int, client_id: str) -> bytes:
        """Return header and body, as they are sent after the length."""
        head = RequestWriter().int16(self.key).int16(self.version).int32(correlation).string(client_id)
        return (head.tags() if self.flexible else head).done() + self.body
