"""Protobuf: messages of a generated class, by the runtime of protobuf.

A schema is a file, and a record says by its message indexes which message of the file it is. Messages are read by the
class of the program, which knows by itself what an older or a newer one has. So all that is asked of the schema is the
name of the message: another one would often be read without an error.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final

from ..errors import TopologyError
from .framing import indexes_bytes
from .schema import Kind, Schema

__all__ = ["MessageKey", "Protobuf", "ProtobufKeys", "ProtobufValues", "message_name"]

STANDARD: Final = "google/protobuf/"
"""Files that every registry has."""
TOKENS = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[\w.]+|[{};]', re.DOTALL)


class Protobuf:
    """The format of the messages of one class."""

    kind: Kind = "PROTOBUF"

    def __init__(self, message: Any) -> None:
        library("registry.protobuf()")
        descriptor: Any = getattr(message, "DESCRIPTOR", None)
        if not isinstance(message, type) or not hasattr(descriptor, "full_name"):
            raise TopologyError(f"registry.protobuf() takes a class that protoc has generated, not {message!r}")
        self.model = message
        self.name: str = descriptor.full_name
        self.title = f"protobuf({message.__name__})"
        self.schema = file_schema(descriptor.file)
        self.indexes = indexes_bytes(indexes_of(descriptor))
        self._class: Any = message

    def reader(self, schema: Schema, indexes: tuple[int, ...] = ()) -> Callable[[bytes], Any]:
        """Return the function that reads the message with these indexes in a schema."""
        name = message_name(schema.text, indexes)
        if name != self.name:
            raise ValueError(f"the record is a message {name}, and the program reads {self.name}")
        return self._class.FromString

    def writer(self, schema: Schema) -> Callable[[Any], bytes]:
        """Return the function that writes messages."""
        cls = self._class

        def encode(value: Any) -> bytes:
            if value.__class__ is MessageKey:
                value = value.message
            if not isinstance(value, cls):
                raise TypeError(f"{self.title} writes messages of its class, not a {type(value).__name__}")
            return value.SerializeToString(deterministic=True)

        return encode


class ProtobufValues:
    """The local form of messages."""

    def __init__(self, form: Protobuf) -> None:
        model: Any = form.model
        self.decode: Callable[[bytes], Any] = model.FromString
        self.encode = form.writer(form.schema)

    closed = True


class MessageKey:
    """A message in a key: its fields as attributes, with a hash, and without a way to change it."""

    __slots__ = ("_raw", "message")

    def __init__(self, message: Any) -> None:
        object.__setattr__(self, "message", message)
        object.__setattr__(self, "_raw", message.SerializeToString(deterministic=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a key cannot be changed: make a message of your own to set {name}")

    def __eq__(self, other: object) -> bool:
        raw: Any = getattr(other, "_raw", None)
        return self.message == other if raw is None else self._raw == raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __repr__(self) -> str:
        return f"MessageKey({self.message!r})"


class ProtobufKeys(ProtobufValues):
    """The local form of keys."""

    def __init__(self, form: Protobuf) -> None:
        super().__init__(form)
        read = self.decode
        self.decode = lambda data: MessageKey(read(data))


def library(what: str) -> Any:
    """Return protobuf's descriptors."""
    try:
        return import_module("google.protobuf.descriptor_pb2")
    except ImportError as error:
        raise TopologyError(f"{what} needs protobuf: pip install tidemill[registry]") from error


def file_schema(file: Any) -> Schema:
    """Return the schema of a file, with those of the files that it imports."""
    text = base64.b64encode(file.serialized_pb).decode()
    needs = tuple((each.name, file_schema(each)) for each in file.dependencies if not each.name.startswith(STANDARD))
    return Schema("PROTOBUF", text, needs=needs)


def indexes_of(descriptor: Any) -> list[int]:
    """Return the message indexes of a message in its file."""
    found: list[int] = []
    while descriptor is not None:
        outer = descriptor.containing_type
        siblings = descriptor.file.message_types_by_name if outer is None else outer.nested_types_by_name
        found.insert(0, [*siblings].index(descriptor.name))
        descriptor = outer
    return found


def message_name(text: str, indexes: tuple[int, ...]) -> str:
    """Return the full name of a message of a schema: a file, or its descriptor in base64.

    Raises ValueError if there is none.
    """
    package, messages = _described(text) or _parsed(text)
    names: list[str] = [package] if package else []
    for index in indexes:
        if not 0 <= index < len(messages):
            raise ValueError(f"the schema of the record has no message with the indexes {list(indexes)}")
        name, messages = messages[index]
        names.append(name)
    return ".".join(names)


Messages = list[tuple[str, Any]]


def _described(text: str) -> tuple[str, Messages] | None:
    """Return the package and the messages of a descriptor in base64, None for other text."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    file = library("a schema of Protobuf").FileDescriptorProto.FromString(raw)

    def nested(types: Any) -> Messages:
        return [(each.name, nested(each.nested_type)) for each in types]

    return file.package, nested(file.message_type)


def _parsed(text: str) -> tuple[str, Messages]:
    """Return the package and the messages of a .proto file."""
    words = [token for token in TOKENS.findall(text) if token[:2] not in ("//", "/*")]
    begins = [
        place for place, word in enumerate(words) if word == "package" and (not place or words[place - 1] in ";}")
    ]
    top = Messages()
    _block(iter(words), top)
    return words[begins[0] + 1] if begins else "", top


def _block(tokens: Iterator[str], into: Messages) -> None:
    """Read a block up to its end; add the messages that are declared in it."""
    before = ""
    named: str | None = None
    for token in tokens:
        if token == "}":
            return
        if token == "{":
            inner = Messages()
            _block(tokens, inner)
            if named is not None:
                into.append((named, inner))
            named, before = None, ""
            continue
        if before in ("", ";", "}") and token == "message":
            named = ""
        elif named == "":
            named = token
        elif token == ";":
            named = None
        before = token
