"""Finds the state that a command reads: of this machine, in a directory, or of snapshots."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ...state.store import StateError
from ..config.settings import Settings
from ..config.snapshot_urls import checked_url, missing_package
from ..errors import ConfigError, Fatal, StateUnusable
from ..snapshots.service import storage_at
from ..snapshots.storage import Missing, StorageError
from .entries import StateSource
from .local import found_in
from .snapshots import CommittedOffsets, SnapshotState

__all__ = ["OWN_SNAPSHOTS", "explained", "source_at"]

OWN_SNAPSHOTS = "snapshots"
"""In place of a URL: the one of the setting."""


def source_at(place: str | None, settings: Settings, committed: CommittedOffsets | None = None) -> StateSource:
    """Return the state at a place: a URL, a directory, or "snapshots" for those of the setting.

    None is the state directory. `committed` is asked where stores have no changelogs. Raises ConfigError if there is no
    state.
    """
    if place is not None and "://" in place:
        return _snapshots(checked_url(place, "--from"), settings, committed)
    if place == OWN_SNAPSHOTS and not Path(place).is_dir():
        if settings.snapshots is None:
            raise ConfigError(f"{settings.app_id} has no setting snapshots: give the URL of its snapshots with --from")
        return _snapshots(settings.snapshots, settings, committed)
    if place is None:
        local = found_in(settings.state_dir / settings.app_id, settings.app_id)
        if local is not None:
            return local
        hint = ", or read its snapshots with --from snapshots" if settings.snapshots is not None else ""
        raise ConfigError(
            f"there is no state of {settings.app_id} in {settings.state_dir}: give its directory by --state-dir{hint}"
        )
    path = Path(place)
    if not path.is_dir():
        raise ConfigError(
            f"--from {place}: there is no such directory; give a directory, the URL of a snapshot store, such as "
            "file:///mnt/backup/tidemill, or the name of a savepoint in the snapshot store of the setting snapshots"
        )
    local = found_in(path, settings.app_id)
    if local is not None:
        return local
    if (path / settings.app_id / "tasks").is_dir():
        return _snapshots(path.absolute().as_uri(), settings, committed)
    raise ConfigError(
        f"--from {place}: the directory has no state of {settings.app_id!r}: neither directories of its workers or of "
        "a task, nor its snapshots. Name another application with --app-id"
    )


def _snapshots(url: str, settings: Settings, committed: CommittedOffsets | None) -> SnapshotState:
    missing = missing_package(url)
    if missing:
        raise ConfigError(missing)
    return SnapshotState(storage_at(url), settings.app_id, committed=committed)


@contextmanager
def explained() -> Generator[None, None, None]:
    """Raise errors of stores and snapshot stores as errors of the engine."""
    try:
        yield
    except StateError as error:
        raise StateUnusable(str(error)) from error
    except Missing as error:
        raise Fatal(f"{error}: the snapshot was replaced meanwhile; try again") from error
    except StorageError as error:
        raise Fatal(f"a snapshot cannot be read: {error}") from error
