"""What is known of a version of a program from a file or from state, to be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ...state.rocks import RocksMemory
from ..config.settings import Settings
from ..errors import ConfigError
from ..plan.store_changes import StoreFacts, VersionFacts
from .local import LocalState
from .snapshots import SnapshotState
from .sources import source_at

__all__ = ["described", "recorded"]


class StoreIn(msgspec.Struct):
    """A store in a description."""

    name: str
    shape: str
    was: tuple[str, ...] = ()


class StepIn(msgspec.Struct):
    """A step in a description."""

    name: str
    internal: bool = False
    was: tuple[str, ...] = ()


class Described(msgspec.Struct):
    """What matters here of the output of `tidemill topology --format json`."""

    app: str
    steps: list[StepIn]
    stores: list[StoreIn]


def described(path: Path) -> VersionFacts:
    """Return the facts of a file by `tidemill topology --format json`. Raises ConfigError."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Described)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}; it must be what `tidemill topology --format json` has written"
        ) from error
    return VersionFacts(
        {store.name: StoreFacts(store.shape, store.was) for store in found.stores},
        {step.name: step.was for step in found.steps if step.internal},
    )


def recorded(place: str | None, settings: Settings) -> VersionFacts:
    """Return the facts that state records.

    A directory names its stores, snapshots say what they hold as well. `place` is as in `source_at`. Raises
    ConfigError, StateError or StorageError.
    """
    source: Any = source_at(place, settings)
    if isinstance(source, SnapshotState):
        return VersionFacts({name: StoreFacts(shape) for name, shape in source.shapes().items()})
    assert isinstance(source, LocalState)
    names = source.names(RocksMemory(8 << 20))
    return VersionFacts({name: StoreFacts() for name in names})
