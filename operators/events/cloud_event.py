"""`tm.CloudEvent`: an event with its attributes, as CloudEvents 1.0 defines them."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final, Generic, TypeAlias

import msgspec
from typing_extensions import TypeVar

__all__ = ["Attribute", "CloudEvent", "checked_extensions", "event_of"]

T = TypeVar("T", default=Any)
Attribute: TypeAlias = "str | int | bool"
NAME: Final = re.compile("[a-z0-9]+")
SPECVERSION: Final = "1.0"
OWN: Final = frozenset({"id", "source", "type", "data", "subject", "time", "datacontenttype", "dataschema"})


class CloudEvent(msgspec.Struct, Generic[T], frozen=True):
    """An event: the value of a stream that is read by `tm.cloudevents`.

    Args:
        id: Its id, unique for its source: give the same event the same id when it is made again.
        source: Where it comes from, a URI or a part of one.
        type: What has happened.
        data: The event itself, None if it has none.
        subject: What it is about, within the source.
        time: When it happened, with a time zone.
        datacontenttype: The media type of the data; for JSON it need not be given.
        dataschema: The URI of the schema of the data.
        extensions: Other attributes, by names of small letters and digits.

    Example:
        >>> tm.CloudEvent("7", "/shop", "order.paid", {"amount": 4.5}).type
        'order.paid'
    """

    id: str
    source: str
    type: str
    data: T | None = None
    subject: str | None = None
    time: dt.datetime | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: dict[str, Attribute] = {}


def checked_extensions(event: CloudEvent[Any]) -> dict[str, Attribute]:
    """Return the extensions of an event; raise ValueError for an event that may not be written."""
    for name in ("id", "source", "type"):
        if not isinstance(getattr(event, name), str) or not getattr(event, name):
            raise ValueError(f"a CloudEvent has a text as its {name}, which is not empty, not {getattr(event, name)!r}")
    if event.time is not None and event.time.tzinfo is None:
        raise ValueError(f"the time {event.time!r} of a CloudEvent has no time zone, so it is no point in time")
    for name in event.extensions:
        if not NAME.fullmatch(name) or name in OWN or name in ("specversion", "data_base64"):
            raise ValueError(
                f"{name!r} cannot be the name of an extension of a CloudEvent: names are small letters and digits, and "
                "those of CloudEvents itself are taken"
            )
    return event.extensions


def event_of(attributes: dict[str, Any], data: Any) -> CloudEvent[Any]:
    """Return the event of its attributes and data; raise ValueError for one that is not whole."""
    version = attributes.pop("specversion", None)
    if version != SPECVERSION:
        raise ValueError(f"the record is a CloudEvent of version {version!r}, and 1.0 is understood")
    missing = [name for name in ("id", "source", "type") if not attributes.get(name)]
    if missing:
        raise ValueError(f"the CloudEvent has no {', '.join(missing)}")
    time = attributes.pop("time", None)
    known = {name: attributes.pop(name) for name in OWN & attributes.keys()}
    return CloudEvent(
        **known,
        data=data,
        time=None if time is None else msgspec.convert(time, dt.datetime),
        extensions=attributes,
    )
