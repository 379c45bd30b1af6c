"""A processor's state with a history: what the value of a key was at any time, as far as the history goes back."""

from __future__ import annotations

from typing import Any, Generic

from typing_extensions import TypeVar

from ...state.cache import Codec
from ..graph.topology import StoreView
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..stores.expiring import Shelf
from ..stores.versions import REFUSED, Version, Versions, versions_codec, versions_view
from ..time.durations import Duration, parse_duration
from ..time.event_time import LATEST
from .states import Item, State

__all__ = ["VersionedState"]

T = TypeVar("T", default=Any)

TOO_OLD = "older than the history"


class VersionedState(State, Generic[T]):
    """The versions of one value for each key, each valid from its own time until that of the next.

    `history` is how far back, before the newest version of all keys, versions are taken and found; behind a watermark
    it goes back from what that tells, where there are newer versions.
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
        """Sets what the value of the key at hand is from a time on, in ms: `ctx.timestamp`, as a rule.

        None says that there is no value from then on. Gives the time until which this is valid, because a later version
        is known; None when it is the newest. A version that is too old for the history is not kept and counted as
        dropped: it is valid until its own time, which is never.
        """
        shelf, key = self._here()
        if type(timestamp) is not int or not 0 <= timestamp <= LATEST:
            raise ValueError(
                f"versioned state {self._name!r}: {timestamp!r} is no time: that is an int of ms up to the year 9999"
            )
        taken = None if value is None else self._item.taken(value, self._name)
        until = self._at_work(shelf).put(key, taken, timestamp)
        if until != REFUSED:
            return until
        shelf.drops[TOO_OLD] = shelf.drops.get(TOO_OLD, 0) + 1
        return timestamp

    def get(self, as_of: int | None = None) -> T | None:
        """The value of the key at hand: now, or as it was at a time. None when there was none or it is forgotten."""
        version = self.version(as_of)
        return None if version is None else version.value

    def version(self, as_of: int | None = None) -> Version | None:
        """The same with the time from which the value is valid."""
        shelf, key = self._here()
        versions = self._at_work(shelf)
        found = versions.newest(key) if as_of is None else versions.as_of(key, as_of)
        if found is None or found.value is None:
            return None
        return Version(found.valid_from, self._item.read(found.value, shelf))

    def _at_work(self, shelf: Shelf) -> Versions:
        versions = self._versions
        if versions is None:
            versions = Versions(
                shelf.cache, shelf.encode_key, self._history, shelf.write_plain, watermarked=self._watermarked
            )
            self._versions = versions
        return versions

    def bind(self, shelf: Shelf, *, watermarked: bool) -> Any:
        at_work = super().bind(shelf, watermarked=watermarked)
        at_work._watermarked = watermarked
        return at_work

    def expires(self, *, watermarked: bool) -> bool:
        return watermarked

    def sweep(self, time: int) -> None:
        if self._shelf is not None:
            self._at_work(self._shelf).move(time)

    def expires_by(self, time: int) -> bool:
        return False

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        return versions_codec(key, auto)

    def view(self, key: Serde[Any]) -> StoreView:
        return versions_view(key, self._history, watermarked=False)
