"""The local form of values and keys, in stores and internal topics, without a registry.

The bytes follow from the value alone. With the schema id in them, as in topics of a registry, one key would have other
bytes under a newer schema: its state would be lost, and it would go to another partition. So a key is written as its
fields in the order of their names, without those that have their default: a field that is added with a default leaves
the bytes of all older keys as they are.

    text             UTF-8, as `tm.utf8` writes it
    anything else    as `auto_key` writes it, where (0, (part, ...)) is a list and (1, ((name, part), ...)) an object
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, cast, get_args

from typing_extensions import is_typeddict

from ..errors import TopologyError
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde
from ..serdes.hashable import has_hash, hashable
from ..serdes.msgpack import Msgpack
from .avro_values import by_position, has_record_union, reading
from .models import MISSING, fields_of, is_model, is_pydantic, plain_type

__all__ = ["LocalKey", "local_value"]

BARE = (list, dict, set, tuple)


def local_value(model: Any) -> Serde[Any]:
    """Return the local form of the values of a model, or of plain objects (Any)."""
    if model is Any or is_pydantic(model) or has_record_union(model) or by_position(model) or _has_any(model):
        return auto
    try:
        return Msgpack(model, "msgpack")
    except TopologyError:
        return auto


def _has_any(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Return whether a type leaves open what is in it, which msgpack could not tell."""
    kind, _ = plain_type(annotation)
    if kind in (Any, object) or kind in BARE:
        return True
    if is_model(kind):
        return kind not in seen and any(_has_any(each.type, seen | {kind}) for each in fields_of(kind))
    return any(_has_any(each, seen) for each in get_args(kind) if each is not ...)


class LocalKey:
    """The local form of keys."""

    hashable = True

    def __init__(self, model: Any, title: str) -> None:
        """Prepare it; `title` names the serde in messages."""
        if is_model(model) and not is_typeddict(model) and not has_hash(model):
            raise TopologyError(
                f"{title} reads objects that cannot be looked up, since {model.__name__} has no hash: declare the "
                "class frozen (a dataclass or msgspec.Struct with frozen=True, a pydantic model with "
                "model_config = ConfigDict(frozen=True)), or give no model, for plain objects"
            )
        if has_record_union(model):
            raise TopologyError(
                f"{title} has a union of several records, which a key cannot have: make one record of them, with a "
                "field that tells them apart"
            )
        self.model = model
        self._title = title
        self._convert: Callable[[Any], Any] | None = None if model is Any else reading(model)
        self._fields: dict[type, tuple[tuple[str, str, Any], ...]] = {}

    def encode(self, value: Any, /) -> bytes:
        return value.encode() if type(value) is str else auto_key.encode(self._parts(value))

    def decode(self, data: bytes, /) -> Any:
        value = auto_key.decode(data)
        if value.__class__ is tuple:
            value = _whole(value)
        return immutable(value if self._convert is None else self._convert(value))

    def _parts(self, value: Any) -> Any:
        if isinstance(value, enum.Enum):
            return self._parts(value.value)
        if isinstance(value, dict):
            items = cast("dict[Any, Any]", value).items()
            return 1, tuple(sorted((name, self._parts(item)) for name, item in items))
        cls: Any = value.__class__
        if is_model(cls):
            fields = self._fields.get(cls)
            if fields is None:
                fields = self._fields[cls] = tuple(
                    sorted((each.name, each.attribute, each.default) for each in fields_of(cls))
                )
            parts = ((name, getattr(value, attribute), default) for name, attribute, default in fields)
            return 1, tuple((name, self._parts(part)) for name, part, default in parts if not _is(part, default))
        if isinstance(value, (set, frozenset)):
            return 0, tuple(sorted(map(self._parts, cast("set[Any]", value))))
        if isinstance(value, (list, tuple)):
            return 0, tuple(map(self._parts, cast("list[Any]", value)))
        return value

    def __repr__(self) -> str:
        return self._title


def _is(part: Any, default: Any) -> bool:
    return default is not MISSING and part.__class__ is default.__class__ and part == default


def _whole(value: Any) -> Any:
    """Return the plain value of parts."""
    if value.__class__ is not tuple:
        return value
    kind, parts = value
    if kind == 1:
        return {name: _whole(part) for name, part in parts}
    return [_whole(part) for part in parts]


def immutable(key: Any) -> Any:
    """Return a key that can be looked up."""
    return hashable(key) if key.__class__ in BARE else key
