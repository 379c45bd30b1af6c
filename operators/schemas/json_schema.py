"""JSON with a schema in JSON Schema, which values that are read or written must fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

import msgspec

from ..errors import TopologyError
from ..serdes.json import Json
from .models import is_pydantic
from .schema import Kind, Reference, Schema

__all__ = ["JsonSchema"]


class JsonSchema:
    """The format of a model, or of plain objects."""

    kind: Kind = "JSON"
    indexes = b""

    def __init__(
        self,
        model: Any,
        schema: str | Mapping[str, Any] | None,
        references: Mapping[str, tuple[str, int, str]],
        *,
        validate: bool,
    ) -> None:
        """Prepare it; `references` are what `schema` refers to: subject, version and text, by name."""
        self.model = model
        self.title = "json_schema" if model is Any else f"json_schema({getattr(model, '__name__', model)})"
        self._validate = validate
        self._json: Json[Any] = Json(model, self.title)
        self._library = validators(self.title)
        text: str | None = None
        if schema is not None:
            text = schema if isinstance(schema, str) else json.dumps(schema)
        elif model is not Any:
            text = json.dumps(model_schema(model, self.title))
        self.schema: Schema | None = None
        self.name: str | None = None
        if text is not None:
            named = tuple(Reference(name, of, version) for name, (of, version, _) in references.items())
            self.schema = Schema("JSON", text, named, {name: each for name, (_, _, each) in references.items()})
            self._validator(self.schema)
            parsed = json.loads(text)
            self.name = cast("dict[str, Any]", parsed).get("title") if isinstance(parsed, dict) else None

    def _validator(self, schema: Schema) -> Any:
        def retrieve(uri: str) -> Any:
            for name, text in schema.texts.items():
                if uri == name or uri.endswith(f"/{name}"):
                    return json.loads(text)
            raise ValueError(f"the schema refers to {uri!r}, which is none of its references: {[*schema.texts]}")

        try:
            return self._library.validator_for(json.loads(schema.text), retriever=retrieve)
        except (ValueError, self._library.ReferencingError) as error:
            raise TopologyError(f"{self.title}: the schema is no JSON Schema: {str(error)[:300]}") from error

    def _check(self, schema: Schema) -> Callable[[bytes], None]:
        validate = self._validator(schema).validate
        failure = self._library.ValidationError
        decode = msgspec.json.decode

        def check(data: bytes) -> None:
            try:
                validate(decode(data))
            except failure as error:
                place = "".join(f"[{part!r}]" for part in error.instance_path)
                where = place and f" at {place}"
                raise ValueError(f"the value does not fit its schema{where}: {error.message}") from None

        return check

    def reader(self, schema: Schema, indexes: tuple[int, ...] = ()) -> Callable[[bytes], Any]:
        """Return the function that reads what was written by a schema."""
        decode = self._json.decode
        if not self._validate:
            return decode
        check = self._check(schema)

        def checked(data: bytes) -> Any:
            check(data)
            return decode(data)

        return checked

    def writer(self, schema: Schema) -> Callable[[Any], bytes]:
        """Return the function that writes by a schema."""
        encode = self._json.encode
        if not self._validate:
            return encode
        check = self._check(schema)

        def checked(value: Any) -> bytes:
            data = encode(value)
            check(data)
            return data

        return checked


def model_schema(model: Any, serde: str) -> dict[str, Any]:
    """Return the schema of a model, with its title."""
    if is_pydantic(model):
        return model.model_json_schema()
    try:
        made = msgspec.json.schema(model, schema_hook=_pydantic_schema)
    except (TypeError, NameError) as error:
        raise TopologyError(f"{serde}: {error}: use other types, or give the whole schema with schema=") from error
    definitions = made.get("$defs", {})
    reference = str(made.get("$ref", ""))
    name = reference.removeprefix("#/$defs/")
    if name in definitions and json.dumps(made).count(json.dumps(reference)) == 1:
        top = definitions.pop(name)
        return {**top, **({"$defs": definitions} if definitions else {})}
    return {"title": getattr(model, "__name__", str(model)), **made}


def _pydantic_schema(cls: Any) -> dict[str, Any]:
    if is_pydantic(cls):
        return cls.model_json_schema()
    raise NotImplementedError(f"no schema for {cls!r}")


def validators(what: str) -> Any:
    """Return the library that validates."""
    try:
        return import_module("jsonschema_rs")
    except ImportError as error:
        raise TopologyError(f"{what} needs jsonschema-rs: pip install tidemill[registry]") from error
