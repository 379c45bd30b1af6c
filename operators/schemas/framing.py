"""The wire format: where a record says by which schema it was written.

As Confluent's serializers write it (`PrefixSchemaIdSerializer`, `HeaderSchemaIdSerializer`):

    in front of the data   00 + id in 4 bytes, big-endian [+ message indexes]
    in a header            the same, or 01 + GUID in 16 bytes [+ message indexes]

Message indexes are for Protobuf alone, whose schemas have several messages: their number and the index on each level,
as zigzag varints; the first message, [0], is written as a single 00.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeAlias

from ..record import Headers
from .subjects import Role

__all__ = [
    "CONFLUENT",
    "Framing",
    "IdHeader",
    "SchemaId",
    "apicurio_headers",
    "indexes_bytes",
    "read_indexes",
    "without_ids",
]

SchemaId: TypeAlias = int | str
"""A number, or text: a GUID, or a number of one of the two kinds that Apicurio has, as "globalId:7"."""

IdHeader: TypeAlias = tuple[str, bytes]
"""The name and the content of a header with a schema id."""

CONFLUENT_HEADERS: Final = {"key": "__key_schema_id", "value": "__value_schema_id"}
"""The name of Confluent's header, by role."""


class Framing(Protocol):
    """Where a record has the id of its schema, and in which form."""

    @property
    def width(self) -> int:
        """How many bytes an id takes in front of the message indexes and the data."""
        ...

    def prefix(self, schema_id: int) -> bytes:
        """Return what comes in front of data."""
        ...

    def prefix_id(self, data: bytes, role: Role) -> SchemaId:
        """Return the id in front of data; raise ValueError for data of another format."""
        ...

    def header(self, schema_id: int, guid: str | None, role: Role, indexes: bytes) -> IdHeader:
        """Return the header to write."""
        ...

    def header_in(self, headers: Headers, role: Role) -> IdHeader | None:
        """Return the header with the schema id, None if it is in front of the data.

        Raises ValueError for headers of another format.
        """
        ...

    def header_id(self, header: IdHeader) -> tuple[SchemaId, bytes]:
        """Return the id in a header, and the message indexes after it."""
        ...


class Confluent:
    """The format of Confluent's serializers."""

    width = 5

    def prefix(self, schema_id: int) -> bytes:
        """Return what comes in front of data."""
        return b"\x00" + schema_id.to_bytes(4, "big")

    def prefix_id(self, data: bytes, role: Role) -> SchemaId:
        """Return the id in front of data; raise ValueError for data of another format."""
        if (other := _other(data)) is not None:
            raise ValueError(f"the {role} is in {other}")
        if len(data) < 5 or data[0] != 0:
            raise ValueError(
                f"the {role} is not in the format of a schema registry, which begins with 00 and the id of a "
                f"schema in 4 bytes: it begins with {data[:5].hex() or 'nothing'}. The topic was written by another "
                "serializer"
            )
        return int.from_bytes(data[1:5], "big")

    def header(self, schema_id: int, guid: str | None, role: Role, indexes: bytes) -> IdHeader:
        """Return the header to write: with the GUID, where the registry has one."""
        if guid is None:
            return CONFLUENT_HEADERS[role], self.prefix(schema_id) + indexes
        return CONFLUENT_HEADERS[role], b"\x01" + uuid.UUID(guid).bytes + indexes

    def header_in(self, headers: Headers, role: Role) -> IdHeader | None:
        """Return the header with a schema id; raise ValueError for those of Apicurio."""
        name = CONFLUENT_HEADERS[role]
        ids = [content for header, content in headers if header == name and content is not None]
        if ids:
            return name, ids[-1]
        if others := apicurio_headers(headers, role):
            raise ValueError(
                f"the {role} is in the format of Apicurio's serializers, with its schema in the header "
                f"{min(others)!r}: {APICURIO}"
            )
        return None

    def header_id(self, header: IdHeader) -> tuple[SchemaId, bytes]:
        """Return the id or the GUID in a header, and the message indexes after it."""
        data = header[1]
        if data[:1] == b"\x00" and len(data) >= 5:
            return int.from_bytes(data[1:5], "big"), data[5:]
        if data[:1] == b"\x01" and len(data) >= 17:
            return str(uuid.UUID(bytes=data[1:17])), data[17:]
        raise ValueError(f"the header with the schema id holds {data[:20].hex() or 'nothing'}, which is no schema id")


CONFLUENT: Final = Confluent()

APICURIO: Final = (
    'read it with tm.SchemaRegistry(..., framing="apicurio-global"), or "apicurio-content" if the writer has '
    "apicurio.registry.use-id=contentId"
)


def _other(data: bytes) -> str | None:
    """Return which format of another registry data is in, and what to do; None for unknown ones."""
    if data[:5] == bytes(5) and len(data) >= 9:  # ids begin with 1
        return f"the format of Apicurio's serializers, with an id in 8 bytes: {APICURIO}"
    if data[:1] == b"\x03" and data[1:2] in (b"\x00", b"\x05") and len(data) >= 18:
        return (
            "the format of AWS Glue, whose registry has no API of Confluent's: read the topic with a serde of your own "
            "around Glue's library"
        )
    return None


def apicurio_headers(headers: Headers, role: Role) -> dict[str, bytes]:
    """Return the headers by which Apicurio's serializers name a schema."""
    begin = f"apicurio.{role}."
    found = {name: content for name, content in headers if name.startswith(begin) and content is not None}
    return {name: content for name, content in found.items() if name.removeprefix(begin) in APICURIO_NAMES}


APICURIO_NAMES: Final = frozenset({"globalId", "contentId", "contentHash", "groupId", "artifactId", "version"})


def without_ids(headers: Iterable[tuple[str, bytes | None]], role: Role) -> list[tuple[str, bytes | None]]:
    """Return headers without those that say how the key or the value was written, of any format."""
    name, begin = CONFLUENT_HEADERS[role], f"apicurio.{role}."
    return [each for each in headers if each[0] != name and not each[0].startswith(begin)]


def indexes_bytes(indexes: Sequence[int]) -> bytes:
    """Return message indexes as they are written."""
    if list(indexes) == [0]:
        return b"\x00"
    return b"".join(map(_varint, [len(indexes), *indexes]))


def _varint(value: int) -> bytes:
    left = value << 1  # zigzag of what is never negative
    done = bytearray()
    while left > 0x7F:
        done.append(left & 0x7F | 0x80)
        left >>= 7
    done.append(left)
    return bytes(done)


def read_indexes(data: bytes, at: int) -> tuple[tuple[int, ...], int]:
    """Return the message indexes that begin at a place, and the place after them."""
    count, at = _read(data, at)
    if count == 0:
        return (0,), at
    if not 0 < count <= len(data):
        raise ValueError(f"a record cannot have {count} message indexes")
    found: list[int] = []
    for _ in range(count):
        index, at = _read(data, at)
        found.append(index)
    return tuple(found), at


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 35:
            raise ValueError("the message indexes are cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
