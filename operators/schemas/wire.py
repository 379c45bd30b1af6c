"""The serde of the keys or the values of one topic, with schemas of a registry.

What reads the records of a schema is made when the first of them comes, and kept: a later record costs a look into a
dict. The schema to write with is asked for once. Neither asks the registry again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import TopologyError
from ..record import Headers
from ..serdes.base import Serde
from .framing import IdHeader, SchemaId, read_indexes, without_ids
from .local import immutable
from .schema import Kind, Schema, Schemas, UnknownSchema
from .subjects import Role, Strategy, subject_of

__all__ = ["Format", "TopicSerde", "WireOptions"]

MOST_READERS = 1_000


class Format(Protocol):
    """How values become bytes by a schema: Avro, Protobuf, JSON Schema."""

    @property
    def kind(self) -> Kind: ...
    @property
    def title(self) -> str: ...
    @property
    def name(self) -> str | None:
        """The name of the record, for subjects."""
        ...

    @property
    def schema(self) -> Schema | None:
        """The schema to write with; None for that of the registry."""
        ...

    @property
    def indexes(self) -> bytes:
        """The message indexes, as they are written."""
        ...

    @property
    def model(self) -> Any: ...

    def reader(self, schema: Schema, indexes: tuple[int, ...] = ()) -> Callable[[bytes], Any]:
        """Return the function that reads what was written by a schema."""
        ...

    def writer(self, schema: Schema) -> Callable[[Any], bytes]:
        """Return the function that writes by a schema."""
        ...


@dataclass(frozen=True)
class WireOptions:
    """How a serde uses the registry."""

    subject: Strategy = "topic"
    register: bool = True
    latest: bool = False
    """Whether to write with the latest schema of the subject instead of the program's own."""
    headers: bool = False
    """Whether to write schema ids into headers."""


class TopicSerde:
    """The serde of one topic's keys or values."""

    def __init__(
        self, form: Format, schemas: Schemas, options: WireOptions, local: Serde[Any], topic: str | None, role: Role
    ) -> None:
        """Prepare it; `local` is the form in stores. Without a topic it can only read."""
        self.local = local
        self.schemas = schemas
        self.role: Role = role
        self.subject = None if topic is None else subject_of(options.subject, topic, role, form.name)
        self.header: IdHeader | None = None
        """The header with the schema id, once it is known, if ids are written into headers."""
        self._form = form
        self._options = options
        self._indexed = form.kind == "PROTOBUF"
        self._framing = schemas.framing
        self._width = schemas.framing.width
        self._readers: dict[bytes | IdHeader, Callable[[bytes], Any]] = {}
        self._prefix = b""
        self._write: Callable[[Any], bytes] | None = None

    # Reading

    def decode(self, data: bytes, /) -> Any:
        width = self._width
        read = self._readers.get(data[:width])
        if read is None or self._indexed:
            return self._decode(data)
        return read(data[width:])

    def decode_many(self, column: list[bytes], /) -> list[Any]:
        if self._indexed:
            return list(map(self._decode, column))
        get, other, width = self._readers.get, self._decode, self._width
        return [other(data) if (read := get(data[:width])) is None else read(data[width:]) for data in column]

    def decode_with_headers(self, column: Sequence[bytes | None], headers: Sequence[Headers]) -> list[Any]:
        """Decode a column whose schema ids may be in headers; None stays None."""
        id_in, role = self._framing.header_in, self.role
        found: list[Any] = []
        for data, mine in zip(column, headers, strict=True):
            if data is None:
                found.append(None)
                continue
            header = id_in(mine, role) if mine else None
            found.append(self.decode(data) if header is None else self._by_header(header)(data))
        return found

    def without_ids(self, headers: Sequence[Headers]) -> list[Headers]:
        """Return headers without the schema id, which is that of the bytes that were read."""
        return [tuple(without_ids(mine, self.role)) if mine else mine for mine in headers]

    def _decode(self, data: bytes) -> Any:
        of, end = self._framing.prefix_id(data, self.role), self._width
        if self._indexed:
            end = read_indexes(data, end)[1]
        read = self._readers.get(data[:end]) or self._keep(data[:end], of, data[self._width : end])
        return read(data[end:])

    def _by_header(self, header: IdHeader) -> Callable[[bytes], Any]:
        read = self._readers.get(header)
        return self._keep(header, *self._framing.header_id(header)) if read is None else read

    def _keep(self, head: bytes | IdHeader, of: SchemaId, indexes: bytes) -> Callable[[bytes], Any]:
        """Make what reads the records of a schema, and keep it."""
        try:
            schema = self.schemas.by_id(of)
        except UnknownSchema as error:
            raise ValueError(f"the {self.role} was written by the schema with the id {of}, and {error}") from None
        if schema.kind != self._form.kind:
            raise ValueError(
                f"the {self.role} was written by the {schema.kind} schema with the id {of}, and is read as "
                f"{self._form.title}"
            )
        read = self._form.reader(schema, read_indexes(indexes, 0)[0] if indexes else ())
        if self.role == "key":
            read = _immutable(read)
        if len(self._readers) >= MOST_READERS:
            self._readers.clear()
        self._readers[head] = read
        return read

    # Writing

    def encode(self, value: Any, /) -> bytes:
        write = self._write or self.resolve()
        return self._prefix + write(value)

    def encode_many(self, column: list[Any], /) -> list[bytes]:
        write, head = self._write or self.resolve(), self._prefix
        return [head + write(value) for value in column]

    def with_id(
        self, headers: Iterable[list[tuple[str, bytes | None]] | None], column: Sequence[bytes | None]
    ) -> list[list[tuple[str, bytes | None]] | None]:
        """Return the headers of encoded records with this schema id, if any, and no other."""
        mine = self.header
        found: list[list[tuple[str, bytes | None]] | None] = []
        for given, data in zip(headers, column, strict=False):
            kept = without_ids(given, self.role) if given else []
            if mine is not None and data is not None:
                kept.append(mine)
            found.append(kept or None)
        return found

    def resolve(self) -> Callable[[Any], bytes]:
        """Return what writes; ask the registry for the schema the first time.

        Raises Retryable while the registry does not answer, TopologyError if the schema cannot be used.
        """
        if self._write is not None:
            return self._write
        if self.subject is None:
            raise TopologyError(f"{self!r} belongs to no topic, so it has no subject to write under")
        options, own = self._options, self._form.schema
        if own is None and not options.latest:
            raise TopologyError(
                f"{self!r} has no schema to write with: give a model or schema=, or write with the latest one of the "
                "subject by latest=True"
            )
        wanted = None if options.latest else own
        found = self.schemas.to_write(
            self.subject, wanted, register=options.register and not options.latest, key=self.role == "key"
        )
        if found.schema.kind != self._form.kind:
            raise TopologyError(f"the schemas of the subject {self.subject!r} are {found.schema.kind}, not {self!r}")
        write = self._form.writer(found.schema)
        if not options.headers:
            self._prefix = self._framing.prefix(found.id) + self._form.indexes
        else:
            self.header = self._framing.header(found.id, found.guid, self.role, self._form.indexes)
        self._write = write
        return write

    def __repr__(self) -> str:
        return self._form.title


def _immutable(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    return lambda data: immutable(read(data))
