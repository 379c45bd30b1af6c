"""`tm.cloudevents`: records as CloudEvents, by the protocol binding for Kafka 1.0.

    binary       the value is the data, the attributes are in headers: ce_id, ce_source ..., content-type
    structured   the value is JSON of attributes and data, content-type is application/cloudevents+json

Both are read, whichever is written. Names and rules are those of the specification (kafka-protocol-binding.md and
json-format.md of github.com/cloudevents/spec).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final, Generic, Literal, cast, overload

import msgspec
from typing_extensions import TypeVar

from ..errors import TopologyError
from ..record import Headers
from ..schemas.serde import in_topic
from ..schemas.subjects import Role
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..serdes.json import Json, json
from .cloud_event import CloudEvent, checked_extensions, event_of

__all__ = ["CloudEvents", "cloudevents"]

T = TypeVar("T", default=Any)
Mode = Literal["binary", "structured"]
PREFIX: Final = "ce_"
CONTENT_TYPE: Final = "content-type"
STRUCTURED: Final = b"application/cloudevents+json; charset=UTF-8"
JSON_TYPE: Final = "application/json"
EMPTY: Final = msgspec.Raw(b"")
HeaderList = list[tuple[str, "bytes | None"]]


class CloudEvents(Generic[T]):
    """The serde of events, made by `tm.cloudevents`."""

    closed = True

    def __init__(self, data: Serde[T], mode: Mode) -> None:
        self.data = data
        self.mode: Mode = mode
        self.encode = auto.encode
        self.decode = auto.decode

    def in_topic(self, topic: str | None, role: Role) -> EventsInTopic:
        """Return the serde of a topic."""
        return EventsInTopic(self, in_topic(self.data, topic, role))

    def as_key(self) -> Serde[Any]:
        """Raise TopologyError: events are values."""
        raise TopologyError(f"{self!r} is a serde of values: attributes of events are in the headers of a record")

    def __repr__(self) -> str:
        return f"cloudevents({self.data!r})"


class EventsInTopic:
    """The serde of one topic of events."""

    def __init__(self, local: CloudEvents[Any], data: Serde[Any]) -> None:
        self.local = local
        self._data = data
        self._json = isinstance(local.data, Json)
        self._binary = local.mode == "binary"
        self._attributes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    # Reading

    def decode(self, data: bytes, /) -> CloudEvent[Any]:
        """Return the event of a record without headers, which is structured."""
        try:
            parts = self._attributes(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            parts = {}
        if "specversion" not in parts:
            raise ValueError(
                "the record is no CloudEvent: it has no header ce_specversion, and its value is no JSON of an event"
            )
        raw, encoded = parts.pop("data", EMPTY), parts.pop("data_base64", EMPTY)
        attributes: dict[str, Any] = {name: msgspec.json.decode(part) for name, part in parts.items()}
        given = {name: part for name, part in attributes.items() if part is not None}
        return event_of(given, self._of_json(bytes(raw), bytes(encoded), given.get("datacontenttype")))

    def _of_json(self, raw: bytes, encoded: bytes, media: str | None) -> Any:
        if encoded not in (b"", b"null"):
            return self._data.decode(base64.b64decode(msgspec.json.decode(encoded, type=str), validate=True))
        if raw in (b"", b"null"):
            return None
        if not self._json and raw[:1] == b'"' and not _is_json(media):
            raw = msgspec.json.decode(raw, type=str).encode()
        return self._data.decode(raw)

    def decode_with_headers(self, column: Sequence[bytes | None], headers: Sequence[Headers]) -> list[Any]:
        """Return the events of records; None for a null value without attributes."""
        return [self._event(data, mine or ()) for data, mine in zip(column, headers, strict=True)]

    def _event(self, data: bytes | None, headers: Headers) -> Any:
        attributes: dict[str, Any] = {}
        media: str | None = None
        for name, content in headers:
            lower = name.lower()
            if content is not None and lower.startswith(PREFIX):
                attributes[lower[len(PREFIX) :]] = content.decode()
            elif content is not None and lower == CONTENT_TYPE:
                media = content.decode()
        if media is not None and media.startswith("application/cloudevents"):
            if not media.startswith("application/cloudevents+json"):
                raise ValueError(
                    f"the CloudEvent is written as {media}, and application/cloudevents+json is understood"
                )
            return None if data is None else self.decode(data)
        if not attributes:
            return None if data is None else self.decode(data)
        if media is not None:
            attributes["datacontenttype"] = media
        return event_of(attributes, None if data is None else self._data.decode(data))

    def without_ids(self, headers: Sequence[Headers]) -> list[Headers]:
        """Return headers without the attributes, which are in the events."""
        return [tuple(each for each in mine or () if not _is_attribute(each[0])) for mine in headers]

    # Writing

    def encode(self, value: Any, /) -> bytes | None:
        """Return the value of the record of an event; None for one without data, in binary mode."""
        if not isinstance(value, CloudEvent):
            raise TypeError(f"{self!r} writes tm.CloudEvent objects, not {value!r}")
        event = cast("CloudEvent[Any]", value)
        extensions = checked_extensions(event)
        data = None if event.data is None else self._data.encode(event.data)
        if self._binary:
            return data
        whole: dict[str, Any] = {"specversion": "1.0", **self._named(event), **extensions}
        if data is not None:
            if self._json:
                whole["data"] = msgspec.Raw(data)
            else:
                whole["data_base64"] = base64.b64encode(data).decode()
        return msgspec.json.encode(whole)

    def with_attributes(self, headers: Iterable[HeaderList | None], values: Sequence[Any]) -> list[HeaderList | None]:
        """Return the headers of records with the attributes of their events."""
        found: list[HeaderList | None] = []
        for given, value in zip(headers, values, strict=False):
            kept = [each for each in given or () if not _is_attribute(each[0])]
            if value is not None:
                kept += self._headers(value)
            found.append(kept or None)
        return found

    def _headers(self, event: CloudEvent[Any]) -> HeaderList:
        if not self._binary:
            return [(CONTENT_TYPE, STRUCTURED)]
        attributes = {"specversion": "1.0", **self._named(event), **event.extensions}
        media = attributes.pop("datacontenttype", None)
        headers: HeaderList = [(PREFIX + name, _text(value).encode()) for name, value in attributes.items()]
        return headers if media is None else [*headers, (CONTENT_TYPE, _text(media).encode())]

    def _named(self, event: CloudEvent[Any]) -> dict[str, Any]:
        """Return the attributes that have a value."""
        media = event.datacontenttype
        if media is None and self._json and event.data is not None:
            media = JSON_TYPE
        time = None if event.time is None else event.time.isoformat().replace("+00:00", "Z")
        attributes = {
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "subject": event.subject,
            "time": time,
            "datacontenttype": media,
            "dataschema": event.dataschema,
        }
        return {name: value for name, value in attributes.items() if value is not None}

    def __repr__(self) -> str:
        return repr(self.local)


def _is_attribute(name: str) -> bool:
    lower = name.lower()
    return lower.startswith(PREFIX) or lower == CONTENT_TYPE


def _is_json(media: str | None) -> bool:
    kind = (media or JSON_TYPE).partition(";")[0].strip().lower()
    return kind.endswith(("/json", "+json"))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@overload
def cloudevents(data: type[T], /, *, mode: Mode = "binary") -> CloudEvents[T]: ...
@overload
def cloudevents(data: Serde[T], /, *, mode: Mode = "binary") -> CloudEvents[T]: ...
@overload
def cloudevents(data: Any = Any, /, *, mode: Mode = "binary") -> CloudEvents[Any]: ...
def cloudevents(data: Any = Any, /, *, mode: Mode = "binary") -> CloudEvents[Any]:
    """Return the serde of CloudEvents 1.0: values are `tm.CloudEvent` objects.

    Records in binary mode (attributes in headers) and in structured mode (all in JSON) are read; their headers do not
    stay with the record, since they are the attributes of the event.

    Args:
        data: The type of the data, which is JSON, or the serde of the data, such as `registry.avro(Order)`; without it
            the data are plain objects in JSON.
        mode: How events are written, "binary" or "structured".

    Raises:
        TopologyError: The type cannot be read from JSON, or the mode is unknown.

    Example:
        >>> import msgspec
        >>> class Paid(msgspec.Struct):
        ...     amount: float
        >>> events = app.stream("events", key=tm.utf8, value=tm.cloudevents(Paid))
        >>> events.filter(lambda event: event.type == "order.paid").to("paid", value=tm.cloudevents(Paid))
        >>> with tm.testing.TopologyDriver(app) as driver:
        ...     paid = tm.CloudEvent("7", "/shop", "order.paid", Paid(4.5))
        ...     driver.send("events", key="ann", value=paid, timestamp=1)
        ...     driver.read("paid")[0].value.data
        Paid(amount=4.5)
    """
    if mode not in ("binary", "structured"):
        raise TopologyError(f"tm.cloudevents(mode=) is 'binary' or 'structured', not {mode!r}")
    whole = not isinstance(data, type) and callable(getattr(data, "encode", None)) and hasattr(data, "decode")
    if whole:
        return CloudEvents(cast("Serde[Any]", data), mode)
    return CloudEvents(json if data is Any else cast("Serde[Any]", json(data)), mode)
