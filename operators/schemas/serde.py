"""Serdes of a schema registry, as programs have them.

Such a serde has two forms. In the topics of a program it is a `TopicSerde`, which the source or the sink makes of it
for its topic. Everywhere else, in stores, changelogs and repartition topics, it is itself: the local form, without a
registry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic

from typing_extensions import TypeVar

from ..serdes.base import Serde, is_closed, taken_unseen, utf8
from .local import LocalKey
from .schema import Schemas
from .subjects import Role, check_strategy
from .wire import Format, TopicSerde, WireOptions

__all__ = ["RegistryKey", "RegistrySerde", "in_topic"]

T = TypeVar("T", default=Any)


class RegistrySerde(Generic[T]):
    """A serde with schemas of a registry, made by `tm.SchemaRegistry`.

    Outside of the program's topics it writes without the registry: `encode` and `decode` are that form.

    Example:
        >>> registry = tm.SchemaRegistry("mock://shop")
        >>> events = app.stream("events", key=tm.utf8, value=registry.avro(schema='"string"'))
    """

    def __init__(
        self, form: Format, schemas: Schemas, options: WireOptions, local: Serde[T], key: Serde[T] | None = None
    ) -> None:
        """Create it; `local` is the form in stores, `key` that of keys instead of `LocalKey`."""
        check_strategy(options.subject, form.name, form.title)
        self.model = form.model
        self.closed = is_closed(local)
        self.typed: bool = getattr(local, "typed", False)
        self.takes = taken_unseen(local)
        self.encode = local.encode
        self.decode = local.decode
        self._form = form
        self._schemas = schemas
        self._options = options
        self._key = key

    def in_topic(self, topic: str | None, role: Role) -> TopicSerde:
        """Return the serde of a topic's values or keys; `topic` is None where several are read.

        Example:
            >>> registry = tm.SchemaRegistry("mock://shop")
            >>> registry.avro(schema='"string"').in_topic("events", "value").encode("pen").hex()
            '00000000010670656e'
        """
        return TopicSerde(self._form, self._schemas, self._options, self, topic, role)

    @cached_property
    def _as_key(self) -> RegistryKey:
        return RegistryKey(self, self._key or LocalKey(self.model, self._form.title))

    def as_key(self) -> RegistryKey:
        """Return the serde of keys.

        Example:
            >>> registry = tm.SchemaRegistry("mock://shop")
            >>> registry.avro(schema='"string"').as_key().encode("pen")
            b'pen'
        """
        return self._as_key

    def __repr__(self) -> str:
        return self._form.title


class RegistryKey:
    """The same for keys: equal keys have equal bytes, whatever their schemas."""

    hashable = scattered = True

    def __init__(self, whole: RegistrySerde[Any], local: Serde[Any]) -> None:
        self._whole = whole
        self.model = whole.model
        self.like: Serde[Any] | None = utf8 if whole.model is str else None
        self.encode = local.encode
        self.decode = local.decode

    def in_topic(self, topic: str | None, role: Role = "key") -> TopicSerde:
        """Return the serde of a topic's keys; `topic` is None where several are read."""
        made = self._whole.in_topic(topic, "key")
        made.local = self
        return made

    def __repr__(self) -> str:
        return repr(self._whole)


def in_topic(serde: Serde[Any], topic: str | None, role: Role) -> Serde[Any]:
    """Return the form of a serde in a topic: itself, unless it has another one there."""
    form: Callable[[str | None, Role], Serde[Any]] | None = getattr(serde, "in_topic", None)
    return serde if form is None else form(topic, role)
