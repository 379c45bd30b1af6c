"""The state a `Processor` declares: one value, a mapping or a list for each key.

A declaration is a class attribute; an instance at work has, under the same name, that state bound to the store
`<step>-<attribute>` and to the key at hand. What is read is a copy, when it could be changed in place: changes are
made by `set`, so that a reader sees what it would see after a restart. With a `ttl` values are forgotten that much
event time after they were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, Final, Generic, get_args, overload

from typing_extensions import TypeVar, is_typeddict

from ...state.cache import Codec
from ...state.key_equality import PLAIN, all_plain
from ...state.keys import pack, prefix_range, unpack
from ..errors import TopologyError
from ..graph.topology import StoreView, check_name
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde, is_exact
from ..serdes.value_copies import Copier
from ..stores.expiring import NO_KEY, Shelf, kept_value, slot_codec, visible
from ..stores.schema import of_type
from ..time.durations import Duration, parse_duration

__all__ = ["Item", "ListState", "MapState", "State", "ValueState", "declared"]

K = TypeVar("K", default=Any)
V = TypeVar("V", default=Any)
T = TypeVar("T", default=Any)
S = TypeVar("S", default=Any)

ENDS: Final = -1
"""In place of a sequence number: where a list begins and ends."""


class State:
    """A declared state. Bound to a step, it works on the key at hand."""

    _shelf: Shelf | None = None
    _name = "state"

    def __init__(self, ttl: Duration | None, name: str | None, *, what: str = "ttl") -> None:
        self.ttl = None if ttl is None else parse_duration(ttl, what, at_least=1)
        if name is not None:
            check_name(name, "store")
        self.store = name
        """The store's own name; `<step>-<attribute>` when None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        """How the store's entries are encoded."""
        raise NotImplementedError

    def view(self, key: Serde[Any]) -> StoreView:
        """How people see the store."""
        return StoreView(from_value=kept_value, visible=visible)

    def holding(self) -> str:
        """A word for what it holds."""
        return ""

    def bind(self, shelf: Shelf, *, watermarked: bool) -> Any:
        """The same state, at work. `watermarked` is whether its step goes by watermarks."""
        at_work = type(self).__new__(type(self))
        at_work.__dict__.update(self.__dict__)
        at_work._shelf = shelf
        return at_work

    def expires(self, *, watermarked: bool) -> bool:
        """Whether it forgets as its step's time goes on."""
        return self.ttl is not None

    def sweep(self, time: int) -> None:
        """Deletes what has expired by this stream time."""
        if self._shelf is not None:
            self._shelf.sweep(time)

    def expires_by(self, time: int) -> bool:
        """Whether anything may expire by this stream time."""
        return self._shelf is not None and self._shelf.expires_by(time)

    def _here(self) -> tuple[Shelf, Any]:
        """Where the state is kept, and the key at hand."""
        shelf = self._shelf
        if shelf is None:
            raise RuntimeError(f"state {self._name!r} can be used only while a record is processed")
        key = shelf.at_hand.key
        if key is NO_KEY:
            raise RuntimeError(
                f"state {self._name!r}: no key is at hand in a method that is called every so often; read all keys "
                "with scan(), or say whose state is meant with ctx.use(key)"
            )
        return shelf, key

    def _everywhere(self) -> Iterator[tuple[Shelf, Any, Any]]:
        """Where the state is kept, with each slot and value of the task, in the order of encoded keys."""
        if self._shelf is None:
            raise RuntimeError(f"state {self._name!r} can be used only while a record is processed")
        shelf = self._shelf
        return ((shelf, slot, value) for slot, value in shelf.entries())


class Item:
    """The values a state holds: checks them on their way in and out, and copies what can be changed in place."""

    def __init__(self, kind: Any) -> None:
        self._seen: set[type] = set()
        """Classes of which values that were read are what the state is for."""
        self._name = getattr(kind, "__name__", str(kind))
        self.word = of_type(kind)
        plain = isinstance(kind, type) and not is_typeddict(kind) and not get_args(kind)
        self._accepted: tuple[type, ...] = (float, int) if kind is float else (kind,) if plain else (object,)
        self.copy = Copier(auto)

    def taken(self, value: Any, state: str) -> Any:
        """The value to store; TypeError when the state is not for such."""
        if not isinstance(value, self._accepted):
            raise TypeError(f"state {state!r} holds values of type {self._name}, not {value!r}")
        return self.copy.taken(value)

    def read(self, value: Any, shelf: Shelf) -> Any:
        """A value that was stored; TypeError when the state is not for such, as after a change of the program."""
        if value.__class__ not in self._seen:
            if not isinstance(value, self._accepted) and named(value.__class__) not in map(named, self._accepted):
                raise TypeError(
                    f"store {shelf.cache.name!r} holds a {type(value).__qualname__} of an earlier version of the "
                    f"program, {value!r}, and the state is declared with {self._name}: give it another name, under "
                    "which it begins empty"
                )
            self._seen.add(value.__class__)
        return self.copy(value)


def named(kind: type) -> tuple[str, str]:
    """A class by its name: a module that is imported again, as in a notebook, has each of its classes twice."""
    return kind.__module__, kind.__qualname__


class ValueState(State, Generic[T]):
    """One value for each key."""

    @overload
    def __init__(
        self: ValueState[S | None],
        kind: type[S],
        *,
        default: None = None,
        ttl: Duration | None = None,
        name: str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: ValueState[S], kind: type[S], *, default: S, ttl: Duration | None = None, name: str | None = None
    ) -> None: ...
    def __init__(self, kind: Any, *, default: Any = None, ttl: Duration | None = None, name: str | None = None) -> None:
        super().__init__(ttl, name)
        self._item = Item(kind)
        self._default = default

    def holding(self) -> str:
        return self._item.word

    def get(self) -> T:
        """The value under the key at hand, or the default."""
        shelf, key = self._here()
        value = shelf.read(key)
        return self._item.copy(self._default) if value is None else self._item.read(value, shelf)

    def set(self, value: T) -> None:
        """Replaces the value under the key at hand. None is the same as `clear()`."""
        shelf, key = self._here()
        shelf.write(key, None if value is None else self._item.taken(value, self._name))

    def clear(self) -> None:
        """Removes the value, so that `get()` gives the default again."""
        shelf, key = self._here()
        shelf.write(key, None)

    def scan(self) -> Iterator[tuple[Any, T]]:
        """Every key of the task that has a value, and the value, in the order of encoded keys."""
        read = self._item.read
        return ((key, read(value, shelf)) for shelf, key, value in self._everywhere())

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        return slot_codec(key.encode, key.decode, exact=is_exact(key))


class MapState(State, MutableMapping[K, V], Generic[K, V]):
    """A mapping for each key. Entries are stored one by one; iteration is in the order of the encoded map keys."""

    def __init__(self, kind: type[K], item: type[V], *, ttl: Duration | None = None, name: str | None = None) -> None:
        super().__init__(ttl, name)
        self._item_key = Item(kind)
        self._item = Item(item)

    def holding(self) -> str:
        return f"{self._item_key.word} to {self._item.word}"

    def __getitem__(self, key: K, /) -> V:
        shelf, slot = self._slot(key)
        value = shelf.read(slot)
        if value is None:
            raise KeyError(key)
        return self._item.read(value, shelf)

    def __setitem__(self, key: K, value: V, /) -> None:
        shelf, slot = self._slot(self._item_key.taken(key, self._name))
        if value is None:
            raise TypeError(f"map state {self._name!r} cannot hold None: delete the key instead")
        shelf.write(slot, self._item.taken(value, self._name))

    def __delitem__(self, key: K, /) -> None:
        shelf, slot = self._slot(key)
        if shelf.read(slot) is None:
            raise KeyError(key)
        shelf.write(slot, None)

    def __iter__(self) -> Iterator[K]:
        read, (shelf, _) = self._item_key.read, self._here()
        return iter([read(slot[1], shelf) for slot in self._slots()])

    def __len__(self) -> int:
        return len(self._slots())

    def __contains__(self, key: object, /) -> bool:
        shelf, slot = self._slot(key)
        return shelf.read(slot) is not None

    def clear(self) -> None:
        """Removes all entries of the key at hand."""
        shelf, _ = self._here()
        for slot in self._slots():
            shelf.write(slot, None)

    def scan(self) -> Iterator[tuple[Any, K, V]]:
        """Every key of the task, map key and value, in the order of encoded keys."""
        read, read_key = self._item.read, self._item_key.read
        return ((outer, read_key(key, shelf), read(value, shelf)) for shelf, (outer, key), value in self._everywhere())

    def _slot(self, key: Any) -> tuple[Shelf, tuple[Any, Any]]:
        """Where the state is kept, and the slot of a map key, which may be of any kind."""
        shelf, outer = self._here()
        if key.__class__ not in PLAIN and not all_plain((key,)):
            shelf.cache.by_bytes()
        return shelf, (outer, key)

    def _slots(self) -> list[tuple[Any, Any]]:
        shelf, outer = self._here()
        return list(shelf.slots(*prefix_range(shelf.encode_key(outer))))

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        encode, decode = key.encode, key.decode

        def decode_slot(data: bytes) -> Any:
            outer, inner = unpack(data, bytes, bytes)
            return decode(outer), auto_key.decode(inner)

        return slot_codec(lambda slot: pack(encode(slot[0]), auto_key.encode(slot[1])), decode_slot, exact=False)


class ListState(State, Generic[T]):
    """A list for each key. Items are stored one by one; it grows at its end and shrinks from its beginning."""

    def __init__(self, kind: type[T], *, ttl: Duration | None = None, name: str | None = None) -> None:
        super().__init__(ttl, name)
        self._item = Item(kind)

    def holding(self) -> str:
        return self._item.word

    def append(self, value: T) -> None:
        """Adds an item at the end."""
        if value is None:
            raise TypeError(f"list state {self._name!r} cannot hold None")
        shelf, key = self._here()
        begin, end = self._ends(shelf, key)
        shelf.write((key, end), self._item.taken(value, self._name), behind=(key, end - 1) if begin < end else None)
        shelf.write_plain((key, ENDS), (begin, end + 1))

    def extend(self, values: Iterable[T]) -> None:
        """Adds items at the end."""
        for value in values:
            self.append(value)

    def popleft(self) -> T:
        """Removes and gives the first item; IndexError when there is none."""
        shelf, key = self._here()
        begin, end = self._ends(shelf, key)
        if begin == end:
            raise IndexError(f"list state {self._name!r} is empty")
        value: Any = self._item.read(shelf.read((key, begin)), shelf)
        self._drop(shelf, key, begin, begin + 1, end)
        return value

    def clear(self) -> None:
        """Removes all items of the key at hand."""
        shelf, key = self._here()
        begin, end = self._ends(shelf, key)
        self._drop(shelf, key, begin, end, end)

    def __iter__(self) -> Iterator[T]:
        shelf, key = self._here()
        read = self._item.read
        return iter([read(shelf.read((key, place)), shelf) for place in range(*self._ends(shelf, key))])

    def __len__(self) -> int:
        shelf, key = self._here()
        begin, end = self._ends(shelf, key)
        return end - begin

    def __getitem__(self, index: int, /) -> T:
        shelf, key = self._here()
        begin, end = self._ends(shelf, key)
        place = (begin if index >= 0 else end) + index
        if not begin <= place < end:
            raise IndexError(f"list state {self._name!r} has {end - begin} items, so there is none at {index}")
        return self._item.read(shelf.read((key, place)), shelf)

    def scan(self) -> Iterator[tuple[Any, T]]:
        """Every key of the task and each of its items, in the order of encoded keys."""
        read = self._item.read
        return ((key, read(value, shelf)) for shelf, (key, place), value in self._everywhere() if place != ENDS)

    def sweep(self, time: int) -> None:
        shelf = self._shelf
        if shelf is not None:
            for key, place in shelf.sweep(time):
                begin, end = shelf.read((key, ENDS)) or (0, 0)
                shelf.write_plain((key, ENDS), (max(begin, place + 1), end) if place + 1 < end else None)

    @staticmethod
    def _ends(shelf: Shelf, key: Any) -> tuple[int, int]:
        """The places of the first item that is left and after the last."""
        begin, end = shelf.read((key, ENDS)) or (0, 0)
        while begin < end and shelf.read((key, begin)) is None:
            begin += 1
        return begin, end

    @staticmethod
    def _drop(shelf: Shelf, key: Any, first: int, begin: int, end: int) -> None:
        """Removes the items from `first` on; the list begins at `begin` now."""
        for place in range(first, begin):
            shelf.write((key, place), None)
        shelf.write_plain((key, ENDS), (begin, end) if begin < end else None)

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        encode, decode = key.encode, key.decode

        def decode_slot(data: bytes) -> Any:
            outer, place = unpack(data, bytes, int)
            return decode(outer), place

        return slot_codec(lambda slot: pack(encode(slot[0]), slot[1]), decode_slot, exact=is_exact(key))

    def view(self, key: Serde[Any]) -> StoreView:
        return StoreView(from_value=kept_value, visible=lambda slot: visible(slot) and slot[1] != ENDS)


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
