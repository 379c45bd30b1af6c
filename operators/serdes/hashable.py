"""Hashable keys: lists, dicts and sets that a serde reads can be keys of a store.

JSON keys are often objects (Debezium writes `{"id": 7}`). Python's lists, dicts and sets have no hash, so a step with a
store could not use them. Here they are converted to lists, dicts and sets that have a hash, equal the plain ones, have
the same bytes, and cannot be changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, NoReturn, TypeVar, cast, get_origin

import msgspec

from ..errors import TopologyError
from .base import Serde, check_serde, is_closed, is_exact, taken_unseen

__all__ = ["HashableDict", "HashableKeys", "HashableList", "check_key_serde", "hashable"]

T = TypeVar("T")
CHANGING: Final = {
    list: "append clear extend insert pop remove reverse sort __delitem__ __iadd__ __imul__ __setitem__",
    dict: "clear pop popitem setdefault update __delitem__ __ior__ __setitem__",
}
BARE: Final = frozenset({list, dict, set, tuple})


class Immutable:
    """The base of lists and dicts that cannot be changed."""

    __slots__ = ()

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self


class HashableList(Immutable, list[Any]):
    """A list in a key."""

    __slots__ = ()

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return HashableList, (list(self),)


class HashableDict(Immutable, dict[Any, Any]):
    """A dict in a key."""

    __slots__ = ()

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return HashableDict, (dict(self),)


def refuse_change(self: object, *arguments: object, **named: object) -> NoReturn:
    raise TypeError("a key cannot be changed: make a copy of it with list() or dict()")


for kind in (HashableList, HashableDict):
    for name in CHANGING[kind.__mro__[2]].split():
        setattr(kind, name, refuse_change)


def hashable(key: Any) -> Any:
    """Return the key with its lists, dicts and sets replaced by hashable ones."""
    if isinstance(key, list):
        return HashableList(map(hashable, cast("list[Any]", key)))
    if isinstance(key, dict):
        return HashableDict({name: hashable(part) for name, part in cast("dict[Any, Any]", key).items()})
    if isinstance(key, set):
        return frozenset(cast("set[Any]", key))
    if type(key) is tuple:
        return tuple(map(hashable, cast("tuple[Any, ...]", key)))
    return key


class HashableKeys(Generic[T]):
    """A serde that reads what another serde reads, made hashable, and writes as it does."""

    def __init__(self, inner: Serde[T]) -> None:
        self.inner = inner
        self.closed = is_closed(inner)
        self.takes = taken_unseen(inner)
        self.typed: bool = getattr(inner, "typed", False)
        self.encode: Callable[[T], bytes] = inner.encode
        many = getattr(inner, "encode_many", None)
        if many is not None:
            self.encode_many: Callable[[list[T]], list[bytes]] = many

    def decode(self, data: bytes, /) -> T:
        key = self.inner.decode(data)
        return hashable(key) if type(key) in BARE else key

    def __repr__(self) -> str:
        return repr(self.inner)


def has_hash(model: type[Any]) -> bool:
    """Return whether objects of a class have a hash."""
    if issubclass(model, msgspec.Struct):  # its __hash__ may be a method that raises
        return model.__struct_config__.frozen or not model.__struct_config__.eq
    return getattr(model, "__hash__", None) is not None


def check_key_serde(serde: Serde[T] | None, what: str) -> Serde[T] | None:
    """Return a serde for keys that may be keys of a store.

    Raises TopologyError if it is no serde, or reads objects of a class without a hash.
    """
    if check_serde(serde, what) is None or serde is None:
        return None
    as_key = getattr(serde, "as_key", None)
    if as_key is not None:  # a serde with a form of its own for keys
        return as_key()
    if is_exact(serde) or getattr(serde, "hashable", False) or isinstance(serde, HashableKeys):
        return serde
    model = getattr(serde, "model", None)
    plain = model in BARE or get_origin(model) in BARE  # list[int] is a type, too, for Python 3.10
    if not plain and isinstance(model, type) and not has_hash(cast("type[Any]", model)):
        raise TopologyError(
            f"{what}{serde!r} reads objects that cannot be looked up, since {model.__name__} has no hash: declare the "
            "class frozen (a dataclass or msgspec.Struct with frozen=True, a pydantic model with "
            "model_config = ConfigDict(frozen=True)), or give key=tm.json for plain objects"
        )
    return HashableKeys(serde)
