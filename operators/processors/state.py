"""The base of all states of a `Processor`: how they are declared and bound to a store.

The declaration is a class attribute. An instance that runs has, under the same name, the state bound to the store
`<step>-<attribute>` and to the current key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from typing_extensions import is_typeddict

from ...state.cache import Codec
from ..errors import TopologyError
from ..graph.topology import StoreView, check_name
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..serdes.from_plain import as_type
from ..serdes.value_copies import Copier
from ..stores.expiring import NO_KEY, ExpiringStore, expiring_view
from ..stores.schema import of_type
from ..time.durations import Duration, parse_duration

__all__ = ["DeclaredState", "Item", "declared"]


class DeclaredState:
    """A declared state; when bound to a step, it applies to the current key."""

    _store: ExpiringStore | None = None
    _name = "state"

    def __init__(self, ttl: Duration | None, name: str | None, *, what: str = "ttl") -> None:
        self.ttl = None if ttl is None else parse_duration(ttl, what, at_least=1)
        if name is not None:
            check_name(name, "store")
        self.store = name
        """The store's own name; if None, the name is `<step>-<attribute>`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        """Return the codec of the store's entries."""
        raise NotImplementedError

    def view(self, key: Serde[Any]) -> StoreView:
        """Return the view of the store for queries."""
        return expiring_view()

    def holding(self) -> str:
        """Return a description of the types of the values."""
        return ""

    def bind(self, store: ExpiringStore, *, watermarked: bool) -> Any:
        """Return a copy bound to a store; `watermarked` is whether the step has watermarks."""
        at_work = type(self).__new__(type(self))
        at_work.__dict__.update(self.__dict__)
        at_work._store = store
        return at_work

    def expires(self, *, watermarked: bool) -> bool:
        """Return whether values expire as time moves."""
        return self.ttl is not None

    def expire(self, time: int) -> None:
        """Delete the values that have expired by this stream time."""
        if self._store is not None:
            self._store.expire(time)

    def expires_by(self, time: int) -> bool:
        """Return whether any value may expire by this stream time."""
        return self._store is not None and self._store.expires_by(time)

    def _here(self) -> tuple[ExpiringStore, Any]:
        """Return the store and the current key."""
        store = self._store
        if store is None:
            raise RuntimeError(f"state {self._name!r} can be used only while a record is processed")
        key = store.current.key
        if key is NO_KEY:
            raise RuntimeError(
                f"state {self._name!r}: there is no current key in a method with tm.every; read all keys with "
                "scan(), or set the key with ctx.use(key)"
            )
        return store, key

    def _everywhere(self) -> Iterator[tuple[ExpiringStore, Any, Any]]:
        """Yield the store with each slot and value of the task, in the order of encoded keys."""
        if self._store is None:
            raise RuntimeError(f"state {self._name!r} can be used only while a record is processed")
        store = self._store
        return ((store, slot, value) for slot, value in store.entries())


class Item:
    """The values of a state: checked when written and read, and copied if they are mutable."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self._seen: set[type] = set()
        """Classes whose values have been checked when read."""
        self._name = getattr(kind, "__name__", str(kind))
        self.word = of_type(kind)
        plain = isinstance(kind, type) and not is_typeddict(kind) and not get_args(kind)
        self._accepted: tuple[type, ...] = (float, int) if kind is float else (kind,) if plain else (object,)
        self.copy = Copier(auto)

    def loaded(self, value: Any) -> Any:
        """Return the value to store for one in JSON types. Raises ValueError."""
        try:
            return self.taken(as_type(self.kind, value), "")
        except TypeError as error:
            raise ValueError(f"{value!r} is not of type {self._name}: {error}") from error

    def taken(self, value: Any, state: str) -> Any:
        """Return the value to store; raise TypeError if it is not of the declared type."""
        if not isinstance(value, self._accepted):
            raise TypeError(f"state {state!r} holds values of type {self._name}, not {value!r}")
        return self.copy.taken(value)

    def read(self, value: Any, store: ExpiringStore) -> Any:
        """Return a stored value; raise TypeError if its class no longer matches the declaration."""
        if value.__class__ not in self._seen:
            if not isinstance(value, self._accepted) and qualified_name(value.__class__) not in map(
                qualified_name, self._accepted
            ):
                raise TypeError(
                    f"store {store.cache.name!r} holds a {type(value).__qualname__} of an earlier version of the "
                    f"program, {value!r}, and the state is declared with {self._name}: give it another name, under "
                    "which it begins empty"
                )
            self._seen.add(value.__class__)
        return self.copy(value)


def qualified_name(kind: type) -> tuple[str, str]:
    """Return the qualified name of a class, which stays the same when its module is reloaded."""
    return kind.__module__, kind.__qualname__


def declared(cls: type) -> dict[str, DeclaredState]:
    """Return the declared states of a class, inherited ones first, in order of declaration."""
    found: dict[str, DeclaredState] = {}
    for parent in reversed(cls.__mro__):
        for name, value in vars(parent).items():
            if isinstance(value, DeclaredState):
                found[name] = value
            elif isinstance(value, type) and issubclass(value, DeclaredState):
                raise TopologyError(f"{cls.__name__}.{name}: call the class, as in tm.{value.__name__}(...)")
            else:
                found.pop(name, None)
    return found
