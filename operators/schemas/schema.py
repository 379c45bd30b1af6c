"""A schema as a registry has it, and what is asked of a registry.

The registry itself is behind `Schemas`: the engine asks it over HTTP, and keeps what it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..errors import TidemillError
from .framing import Framing, SchemaId

__all__ = ["Kind", "Reference", "RegisteredSchema", "Schema", "Schemas", "UnknownSchema"]

Kind = Literal["AVRO", "PROTOBUF", "JSON"]


class UnknownSchema(TidemillError):
    """The registry answers that it has no such schema."""


@dataclass(frozen=True)
class Reference:
    """A schema that another one uses: its name there, and where the registry has it."""

    name: str
    subject: str
    version: int


@dataclass(frozen=True)
class Schema:
    """The text of a schema, with the texts of those that it refers to."""

    kind: Kind
    text: str
    references: tuple[Reference, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    """The texts of all references, also indirect ones, by name; each after those that it refers to itself."""
    needs: tuple[tuple[str, Schema], ...] = field(default=(), compare=False)
    """What becomes its references once it is registered, each under its name."""


@dataclass(frozen=True)
class RegisteredSchema:
    """A schema with the ids that the registry has given it."""

    schema: Schema
    id: int
    guid: str | None = None
    """The id in headers, from registries that have it."""
    version: int = 0
    """Its version in the subject, if it is known."""


class Schemas(Protocol):
    """The schemas of one registry."""

    @property
    def framing(self) -> Framing:
        """How ids of this registry are in records."""
        ...

    def by_id(self, schema_id: SchemaId) -> Schema:
        """Return a schema.

        Raises Retryable while the registry does not answer, UnknownSchema if it has none.
        """
        ...

    def to_write(self, subject: str, schema: Schema | None, *, register: bool, key: bool) -> RegisteredSchema:
        """Return the schema to write with: the one given, or the latest of the subject.

        Without `register`, the one given must be there already. With `key`, it is registered for a new subject only.
        Raises Retryable while the registry does not answer, TopologyError if it cannot be used.
        """
        ...
