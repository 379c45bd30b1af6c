"""The state a `Processor` declares: one value, a mapping or a list for each key.

A declaration is a class attribute; an instance at work has, under the same name, that state bound to the store
`<step>-<attribute>` and to the key at hand. What is read is a copy, when it could be changed in place: changes are made
by `set`, so that a reader sees what it would see after a restart. Writes are noted in a journal until the record is
done, so that a function that fails half-way changes nothing.

    encoded key:   00 the clock   |   01 + (key), (key, map key) or (key, sequence) an entry
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeAlias, get_args, overload

from typing_extensions import TypeVar, is_typeddict

from ..state.cache import Codec, StateCache
from ..state.keys import pack, prefix_range, unpack
from .errors import TopologyError
from .fold import Copier
from .serde import Serde
from .serde_auto import auto, auto_key
from .topology import StoreView

__all__ = ["CLOCK", "Bound", "Journal", "ListState", "MapState", "State", "ValueState", "declared"]

K = TypeVar("K", default=Any)
V = TypeVar("V", default=Any)
T = TypeVar("T", default=Any)
S = TypeVar("S", default=Any)

Cache: TypeAlias = StateCache[Any, Any]

ENTRY, AFTER = b"\x01", b"\x02"
ENDS: Final = -1
"""In place of a sequence number: where a list begins and ends."""


class Clock:
    """The cache key under which a step keeps its stream time: equal to no key of a user's."""

    def __repr__(self) -> str:
        return "CLOCK"


CLOCK: Final = Clock()


class Journal:
    """What the states of a step held before the record at hand, so that it can be as if the record had never come."""

    def __init__(self) -> None:
        self.notes: list[tuple[Cache, Any, Any]] = []

    def write(self, cache: Cache, key: Any, entry: Any) -> None:
        """Writes an entry; None deletes."""
        self.notes.append((cache, key, cache[key]))
        cache.put(key, entry)

    def undo(self) -> None:
        """Takes back all writes since the last `clear`."""
        for cache, key, before in reversed(self.notes):
            cache.put(key, before)
        self.notes.clear()


@dataclass(frozen=True)
class Bound:
    """Where a state works."""

    cache: Cache
    journal: Journal
    at_hand: AtHand
    encode_key: Callable[[Any], bytes]


class AtHand(Protocol):
    """What tells the key at hand."""

    key: Any


class State:
    """A declared state. Bound to a step, it works on the key at hand."""

    _bound: Bound | None = None
    _name = "state"

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        """How the store's entries are encoded."""
        raise NotImplementedError

    def view(self) -> StoreView:
        """How people see the store."""
        return StoreView(visible=lambda key: key is not CLOCK)

    def bind(self, bound: Bound) -> Any:
        """The same state, at work."""
        at_work = type(self).__new__(type(self))
        at_work.__dict__.update(self.__dict__)
        at_work._bound = bound
        return at_work

    def _here(self) -> tuple[Bound, Any]:
        """Where the state works, and the key at hand."""
        bound = self._bound
        if bound is None:
            raise RuntimeError(f"state {self._name!r} can be used only while a record is processed")
        return bound, bound.at_hand.key


class Item:
    """The values a state holds: checks them on their way in, and copies what can be changed in place."""

    def __init__(self, kind: Any) -> None:
        self._name = getattr(kind, "__name__", str(kind))
        plain = isinstance(kind, type) and not is_typeddict(kind) and not get_args(kind)
        self._accepted: tuple[type, ...] = (float, int) if kind is float else (kind,) if plain else (object,)
        self.copy = Copier(auto)

    def taken(self, value: Any, state: str) -> Any:
        """The value to store; TypeError when the state is not for such."""
        if not isinstance(value, self._accepted):
            raise TypeError(f"state {state!r} holds values of type {self._name}, not {value!r}")
        return self.copy(value)


class ValueState(State, Generic[T]):
    """One value for each key."""

    @overload
    def __init__(self: ValueState[S | None], kind: type[S], *, default: None = None) -> None: ...
    @overload
    def __init__(self: ValueState[S], kind: type[S], *, default: S) -> None: ...
    def __init__(self, kind: Any, *, default: Any = None) -> None:
        self._item = Item(kind)
        self._default = default

    def get(self) -> T:
        """The value under the key at hand, or the default."""
        bound, key = self._here()
        value = bound.cache[key]
        return self._item.copy(self._default if value is None else value)

    def set(self, value: T) -> None:
        """Replaces the value under the key at hand. None is the same as `clear()`."""
        bound, key = self._here()
        bound.journal.write(bound.cache, key, None if value is None else self._item.taken(value, self._name))

    def clear(self) -> None:
        """Removes the value, so that `get()` gives the default again."""
        bound, key = self._here()
        bound.journal.write(bound.cache, key, None)

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        return _codec(key.encode, key.decode)


class MapState(State, MutableMapping[K, V], Generic[K, V]):
    """A mapping for each key. Entries are stored one by one; iteration is in the order of the encoded map keys."""

    def __init__(self, kind: type[K], item: type[V]) -> None:
        self._item_key = Item(kind)
        self._item = Item(item)

    def __getitem__(self, key: K, /) -> V:
        bound, outer = self._here()
        value = bound.cache[outer, key]
        if value is None:
            raise KeyError(key)
        return self._item.copy(value)

    def __setitem__(self, key: K, value: V, /) -> None:
        bound, outer = self._here()
        slot = outer, self._item_key.taken(key, self._name)
        if value is None:
            raise TypeError(f"map state {self._name!r} cannot hold None: delete the key instead")
        bound.journal.write(bound.cache, slot, self._item.taken(value, self._name))

    def __delitem__(self, key: K, /) -> None:
        bound, outer = self._here()
        if bound.cache[outer, key] is None:
            raise KeyError(key)
        bound.journal.write(bound.cache, (outer, key), None)

    def __iter__(self) -> Iterator[K]:
        return iter([slot[1] for slot in self._slots()])

    def __len__(self) -> int:
        return len(self._slots())

    def __contains__(self, key: object, /) -> bool:
        bound, outer = self._here()
        return bound.cache[outer, key] is not None

    def clear(self) -> None:
        """Removes all entries of the key at hand."""
        bound, _ = self._here()
        for slot in self._slots():
            bound.journal.write(bound.cache, slot, None)

    def _slots(self) -> list[tuple[Any, Any]]:
        bound, outer = self._here()
        lo, hi = prefix_range(bound.encode_key(outer))
        entries = bound.cache.scan(ENTRY + lo, AFTER if hi is None else ENTRY + hi)
        return [slot for slot, _ in entries]

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        encode, decode = key.encode, key.decode

        def decode_slot(data: bytes) -> Any:
            outer, inner = unpack(data, bytes, bytes)
            return decode(outer), auto_key.decode(inner)

        return _codec(lambda slot: pack(encode(slot[0]), auto_key.encode(slot[1])), decode_slot)


class ListState(State, Generic[T]):
    """A list for each key. Items are stored one by one; it grows at its end and shrinks from its beginning."""

    def __init__(self, kind: type[T]) -> None:
        self._item = Item(kind)

    def append(self, value: T) -> None:
        """Adds an item at the end."""
        if value is None:
            raise TypeError(f"list state {self._name!r} cannot hold None")
        bound, key = self._here()
        begin, end = _ends(bound, key)
        bound.journal.write(bound.cache, (key, end), self._item.taken(value, self._name))
        bound.journal.write(bound.cache, (key, ENDS), (begin, end + 1))

    def extend(self, values: Iterable[T]) -> None:
        """Adds items at the end."""
        for value in values:
            self.append(value)

    def popleft(self) -> T:
        """Removes and gives the first item; IndexError when there is none."""
        bound, key = self._here()
        begin, end = _ends(bound, key)
        if begin == end:
            raise IndexError(f"list state {self._name!r} is empty")
        value: Any = bound.cache[key, begin]
        bound.journal.write(bound.cache, (key, begin), None)
        bound.journal.write(bound.cache, (key, ENDS), None if begin + 1 == end else (begin + 1, end))
        return value

    def clear(self) -> None:
        """Removes all items of the key at hand."""
        bound, key = self._here()
        begin, end = _ends(bound, key)
        for place in range(begin, end):
            bound.journal.write(bound.cache, (key, place), None)
        bound.journal.write(bound.cache, (key, ENDS), None)

    def __iter__(self) -> Iterator[T]:
        bound, key = self._here()
        copy, cache = self._item.copy, bound.cache
        return iter([copy(cache[key, place]) for place in range(*_ends(bound, key))])

    def __len__(self) -> int:
        bound, key = self._here()
        begin, end = _ends(bound, key)
        return end - begin

    def __getitem__(self, index: int, /) -> T:
        bound, key = self._here()
        begin, end = _ends(bound, key)
        place = (begin if index >= 0 else end) + index
        if not begin <= place < end:
            raise IndexError(f"list state {self._name!r} has {end - begin} items, so there is none at {index}")
        return self._item.copy(bound.cache[key, place])

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        encode, decode = key.encode, key.decode

        def decode_slot(data: bytes) -> Any:
            outer, place = unpack(data, bytes, int)
            return decode(outer), place

        return _codec(lambda slot: pack(encode(slot[0]), slot[1]), decode_slot)

    def view(self) -> StoreView:
        return StoreView(visible=lambda slot: slot is not CLOCK and slot[1] != ENDS)


def _ends(bound: Bound, key: Any) -> tuple[int, int]:
    """The places of a list's first item and after its last."""
    ends = bound.cache[key, ENDS]
    return (0, 0) if ends is None else ends


def declared(cls: type) -> dict[str, State]:
    """The states of a class, those it inherits first, in the order of their declaration."""
    found: dict[str, State] = {}
    for parent in reversed(cls.__mro__):
        for name, value in vars(parent).items():
            if isinstance(value, State):
                found[name] = value
            elif isinstance(value, type) and issubclass(value, State):
                raise TopologyError(f"{cls.__name__}.{name}: call the class, as in tm.{value.__name__}(...)")
            else:
                found.pop(name, None)
    return found


def _codec(encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]) -> Codec[Any, Any]:
    def encode_key(slot: Any) -> bytes:
        return b"\x00" if slot is CLOCK else ENTRY + encode(slot)

    def decode_key(data: bytes) -> Any:
        return CLOCK if data[:1] == b"\x00" else decode(data[1:])

    return Codec(encode_key, decode_key, auto.encode, auto.decode)
