"""The client of a schema registry: Confluent's own, with the engine's errors.

Needs the extra `registry`. A call answers, or raises Retryable when the registry does not, and ConfigError when it
refuses the credentials at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from confluent_kafka.schema_registry import Schema as ConfluentSchema
from confluent_kafka.schema_registry import SchemaReference, SchemaRegistryClient, SchemaRegistryError

from ...operators.schemas.framing import SchemaId
from ...operators.schemas.schema import Kind, Reference, RegisteredSchema, Schema, UnknownSchema
from ..errors import ConfigError, Retryable

__all__ = ["Incompatible", "RegistryClient"]

T = TypeVar("T")
MISSING: Final = 404
CONFLICT: Final = 409
INVALID: Final = 422
DENIED: Final = (401, 403)

_in_memory: dict[str, Any] = {}
"""The registries in memory, by URL: all that name one in this process share it."""


class Incompatible(Exception):
    """The registry refuses a schema, as it does not fit the versions before it."""


class RegistryClient:
    """The calls of a schema registry. Thread-safe."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url = url
        settings = {"url": url, "max.retries": 0, **options}
        confluent: Any = SchemaRegistryClient
        try:
            if url.startswith("mock://"):
                self._client: Any = _in_memory.get(url) or confluent.new_client(settings)
                _in_memory[url] = self._client
            else:
                self._client = confluent(settings)
        except (ValueError, TypeError, OSError) as error:
            raise ConfigError(f"tm.SchemaRegistry({url!r}): {error}") from error

    def by_id(self, schema_id: SchemaId) -> Schema:
        """Return a schema with the texts that it refers to.

        Raises UnknownSchema if there is none.
        """
        if isinstance(schema_id, str) and ":" in schema_id:
            schema_id = int(schema_id.partition(":")[2])  # of a registry in memory, which has ids of one kind
        get = self._client.get_schema if isinstance(schema_id, int) else self._client.get_schema_by_guid
        found: Any = self._ask(lambda: get(schema_id))
        if found is None:
            raise UnknownSchema(f"the registry at {self.url} has none with it")
        return self._schema(found)

    def latest(self, subject: str) -> RegisteredSchema | None:
        """Return the newest schema of a subject, None if it has none."""
        return self._registered(self._ask(lambda: self._client.get_version(subject, "latest")))

    def look_up(self, subject: str, schema: Schema) -> RegisteredSchema | None:
        """Return a schema with its id, None if the subject does not have it."""
        return self._registered(self._ask(lambda: self._client.lookup_schema(subject, _confluent(schema))))

    def register(self, subject: str, schema: Schema) -> RegisteredSchema:
        """Register a schema under a subject.

        Raises Incompatible if it does not fit the versions before it, ConfigError if it is not accepted otherwise.
        """
        made: Any = self._ask(lambda: self._client.register_schema(subject, _confluent(schema)))
        found = self.look_up(subject, schema)
        return RegisteredSchema(schema, int(made)) if found is None else replace(found, schema=schema)

    def _registered(self, found: Any) -> RegisteredSchema | None:
        if found is None:
            return None
        return RegisteredSchema(self._schema(found.schema), found.schema_id, found.guid, found.version or 0)

    def _schema(self, found: Any) -> Schema:
        texts: dict[str, str] = {}
        references = self._references(found, texts)
        kind: Kind = found.schema_type or "AVRO"
        return Schema(kind, found.schema_str, references, texts)

    def _references(self, found: Any, texts: dict[str, str]) -> tuple[Reference, ...]:
        references = tuple(Reference(each.name, each.subject, each.version) for each in found.references or ())
        for each in references:
            if each.name not in texts:
                version = self._ask(lambda each=each: self._client.get_version(each.subject, each.version))
                if version is None:
                    raise UnknownSchema(f"the registry has no version {each.version} of {each.subject!r}, used by it")
                self._references(version.schema, texts)
                texts[each.name] = version.schema.schema_str
        return references

    def _ask(self, call: Callable[[], T]) -> T | None:
        """Return the answer, None for what is not there."""
        try:
            return call()
        except SchemaRegistryError as error:
            status, text = error.http_status_code, error.error_message
            if status == MISSING:
                return None
            if status == CONFLICT:
                raise Incompatible(text) from error
            if status in DENIED:
                raise ConfigError(
                    f"the schema registry at {self.url} refuses the request ({status}: {text}): check auth= and tls= "
                    "of tm.SchemaRegistry, and the rights of the user"
                ) from error
            if status == INVALID:
                raise ConfigError(f"the schema registry at {self.url} does not accept the schema: {text}") from error
            raise Retryable(f"the schema registry at {self.url} answers {status}: {text}") from error
        except Exception as error:  # of its HTTP library, of which it may have one or another
            raise Retryable(
                f"the schema registry at {self.url} does not answer: {str(error) or repr(error)}"
            ) from error


def _confluent(schema: Schema) -> Any:
    references = [SchemaReference(each.name, each.subject, each.version) for each in schema.references]
    return ConfluentSchema(schema.text, schema.kind, references)
