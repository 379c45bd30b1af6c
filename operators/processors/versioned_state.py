"""Versioned state: the value of a key at any time, within the length of the history."""

from __future__ import annotations

from typing import Any, Generic

from typing_extensions import TypeVar

from ...state.cache import Codec
from ..graph.topology import StoreView
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..stores.expiring import ExpiringStore
from ..stores.versions import REFUSED, Version, Versions, versions_codec, versions_view
from ..time.durations import Duration, parse_duration
from ..time.event_time import LATEST
from .state import DeclaredState, Item

__all__ = ["VersionedState"]

T = TypeVar("T", default=Any)

TOO_OLD = "older than the history"


class VersionedState(DeclaredState, Generic[T]):
    """Versions of one value per key, declared as a class attribute of a `Processor`.

    Each version is valid from its own time until that of the next.

    Args:
        kind: The type of the value.
        history: How far back versions are accepted and found: before the newest version of all keys or, with a
            watermark on the sources, before the watermark if there are newer versions.
        name: The name of the store; without it, `<step>-<attribute>`.

    Example:
        >>> class Price(tm.Processor):
        ...     pieces = tm.VersionedState(int, history="1d")
        ...     def process(self, order, ctx):
        ...         self.pieces.put(order["pieces"], ctx.timestamp)
        ...         yield self.pieces.get(as_of=ctx.timestamp - 60_000)
        >>> prices = orders.process(Price)
    """

    _watermarked = False

    def __init__(self, kind: type[T], *, history: Duration, name: str | None = None) -> None:
        super().__init__(None, name)
        self._item = Item(kind)
        self._history = parse_duration(history, "history", at_least=1)
        self._versions: Versions | None = None

    def holding(self) -> str:
        return self._item.word

    def put(self, value: T | None, timestamp: int) -> int | None:
        """Set the value of the current key from a time on.

        A version that is older than the history is dropped and counted, and its own time is returned.

        Args:
            value: The value; None says that there is none from then on.
            timestamp: The time, in milliseconds since 1970; mostly `ctx.timestamp`.

        Returns:
            The time until which the value is valid, because a later version is known; None if it is the newest.

        Raises:
            ValueError: The timestamp is not an int of milliseconds up to the year 9999.

        Example:
            >>> class Price(tm.Processor):
            ...     pieces = tm.VersionedState(int, history="1d")
            ...     def process(self, order, ctx):
            ...         if self.pieces.put(order["pieces"], ctx.timestamp) is None:
            ...             yield "newest"
            >>> prices = orders.process(Price)
        """
        store, key = self._here()
        if type(timestamp) is not int or not 0 <= timestamp <= LATEST:
            raise ValueError(
                f"versioned state {self._name!r}: {timestamp!r} is no time: that is an int of ms up to the year 9999"
            )
        taken = None if value is None else self._item.taken(value, self._name)
        until = self._at_work(store).put(key, taken, timestamp)
        if until != REFUSED:
            return until
        store.drops[TOO_OLD] = store.drops.get(TOO_OLD, 0) + 1
        return timestamp

    def get(self, as_of: int | None = None) -> T | None:
        """Return the value of the current key now or at a time; None if it had none then.

        Args:
            as_of: The time, in milliseconds since 1970; None is now.

        Example:
            >>> class Change(tm.Processor):
            ...     pieces = tm.VersionedState(int, history="1d")
            ...     def process(self, order, ctx):
            ...         self.pieces.put(order["pieces"], ctx.timestamp)
            ...         yield [self.pieces.get(ctx.timestamp - 3_600_000), self.pieces.get()]
            >>> changes = orders.process(Change)
        """
        version = self.version(as_of)
        return None if version is None else version.value

    def version(self, as_of: int | None = None) -> Version | None:
        """Return the value as `get` does, with the time from which it is valid.

        Args:
            as_of: The time, in milliseconds since 1970; None is now.

        Example:
            >>> class Age(tm.Processor):
            ...     pieces = tm.VersionedState(int, history="1d")
            ...     def process(self, order, ctx):
            ...         version = self.pieces.version()
            ...         if version is not None:
            ...             yield ctx.timestamp - version.valid_from
            ...         self.pieces.put(order["pieces"], ctx.timestamp)
            >>> ages = orders.process(Age)
        """
        store, key = self._here()
        versions = self._at_work(store)
        found = versions.newest(key) if as_of is None else versions.as_of(key, as_of)
        if found is None or found.value is None:
            return None
        return Version(found.valid_from, self._item.read(found.value, store))

    def _at_work(self, store: ExpiringStore) -> Versions:
        versions = self._versions
        if versions is None:
            versions = Versions(
                store.cache, store.encode_key, self._history, store.write_plain, watermarked=self._watermarked
            )
            self._versions = versions
        return versions

    def bind(self, store: ExpiringStore, *, watermarked: bool) -> Any:
        at_work = super().bind(store, watermarked=watermarked)
        at_work._watermarked = watermarked
        return at_work

    def expires(self, *, watermarked: bool) -> bool:
        return watermarked

    def expire(self, time: int) -> None:
        if self._store is not None:
            self._at_work(self._store).move(time)

    def expires_by(self, time: int) -> bool:
        return False

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        return versions_codec(key, auto)

    def view(self, key: Serde[Any]) -> StoreView:
        return versions_view(key, self._history, watermarked=False)
