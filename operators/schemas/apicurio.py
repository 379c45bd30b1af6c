"""The wire format of Apicurio's own serializers, as those of version 2 write it.

    in front of the data   00 + id in 8 bytes, big-endian
    in a header            apicurio.value.globalId or apicurio.value.contentId (key: apicurio.key....): id in 8 bytes

Apicurio has two numbers for a schema: the global id is that of a version of an artifact, the content id that of its
text. In front of data nothing tells them apart, so the program says which one its topics have.
"""

from __future__ import annotations

from typing import Final, Literal

from ..record import Headers
from .framing import CONFLUENT_HEADERS, IdHeader, SchemaId, apicurio_headers
from .subjects import Role

__all__ = ["Apicurio", "IdKind"]

IdKind = Literal["globalId", "contentId"]
KINDS: Final[tuple[IdKind, IdKind]] = ("contentId", "globalId")


class Apicurio:
    """The format of Apicurio's serializers, with ids of one kind."""

    width = 9

    def __init__(self, kind: IdKind) -> None:
        self.kind: IdKind = kind

    def prefix(self, schema_id: int) -> bytes:
        """Return what comes in front of data."""
        return b"\x00" + schema_id.to_bytes(8, "big")

    def prefix_id(self, data: bytes, role: Role) -> SchemaId:
        """Return the id in front of data; raise ValueError for data of another format."""
        if data[:1] == b"\x00" and len(data) >= 9 and data[1:5] == bytes(4):  # an id is far below 2 ** 32
            return f"{self.kind}:{int.from_bytes(data[1:9], 'big')}"
        if data[:1] == b"\x00" and len(data) > 5:
            raise ValueError(
                f"the {role} has no schema id in 8 bytes after its first byte, as Apicurio's serializers write it, but "
                f"one in 4 bytes ({data[:5].hex()}): read it with tm.SchemaRegistry(...) without framing="
            )
        raise ValueError(
            f"the {role} is not in the format of Apicurio's serializers, which begins with 00 and the id of a schema "
            f"in 8 bytes: it begins with {data[:9].hex() or 'nothing'}. The topic was written by another serializer"
        )

    def header(self, schema_id: int, guid: str | None, role: Role, indexes: bytes) -> IdHeader:
        """Return the header to write."""
        return f"apicurio.{role}.{self.kind}", schema_id.to_bytes(8, "big")

    def header_in(self, headers: Headers, role: Role) -> IdHeader | None:
        """Return the header with a schema id, None if it is in front of the data.

        Raises ValueError for headers that name a schema otherwise.
        """
        other = CONFLUENT_HEADERS[role]
        if any(name == other for name, _ in headers):
            raise ValueError(
                f"the {role} is in Confluent's format, with its schema id in the header {other!r}: read it with "
                "tm.SchemaRegistry(...) without framing="
            )
        encoding = [content for name, content in headers if name == f"apicurio.{role}.encoding"]
        if encoding and encoding[-1] != b"BINARY":
            raise ValueError(
                f"the {role} is Avro in the encoding {encoding[-1]!r}, and only BINARY can be read: let the writer use "
                "apicurio.registry.avro.encoding=BINARY"
            )
        found = apicurio_headers(headers, role)
        for kind in KINDS:
            name = f"apicurio.{role}.{kind}"
            if name in found:
                return name, found[name]
        if found:
            raise ValueError(
                f"the {role} names its schema by {', '.join(sorted(found))}, without an id: let the writer use "
                "apicurio.registry.use-id=globalId"
            )
        return None

    def header_id(self, header: IdHeader) -> tuple[SchemaId, bytes]:
        """Return the id in a header."""
        name, data = header
        if len(data) != 8:
            raise ValueError(f"the header {name!r} holds {data[:20].hex() or 'nothing'}, which is no id in 8 bytes")
        return f"{name.rpartition('.')[2]}:{int.from_bytes(data, 'big')}", b""
