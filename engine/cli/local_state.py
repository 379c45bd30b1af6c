"""The local state of an application on this machine: its directories, and their removal."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from ...state.directory import StateDirectory, read_process
from ..config.settings import Settings
from ..errors import StateUnusable
from ..offline.sources import explained
from ..restore.progress_file import RestoringTask, read_progress

__all__ = ["remove_state", "restoring", "worker_dirs", "worker_numbers"]


def worker_dirs(settings: Settings) -> list[Path]:
    """Return the directories of the application's workers on this machine."""
    return sorted(path for path in (settings.state_dir / settings.app_id).glob("worker-*") if path.is_dir())


def worker_numbers(settings: Settings) -> dict[str, int]:
    """Return the numbers of the workers on this machine, by their last member ids."""
    found: dict[str, int] = {}
    for path in worker_dirs(settings):
        known, number = read_process(path), path.name.removeprefix("worker-")
        if known is not None and number.isdecimal():
            found[known.member_id] = int(number)
    return found


def restoring(settings: Settings, now: int) -> list[tuple[int, RestoringTask]]:
    """Return the tasks that workers on this machine restore, with the workers' numbers.

    `now` is in ms since 1970.
    """
    return [
        (int(number), task)
        for path in worker_dirs(settings)
        if (number := path.name.removeprefix("worker-")).isdecimal()
        for task in read_progress(path, now)
    ]


def remove_state(settings: Settings) -> None:
    """Remove the application's state on this machine.

    Raises StateUnusable if a worker is running; nothing is removed then.
    """
    paths = worker_dirs(settings)
    with explained():
        held: list[StateDirectory] = []
        try:
            held += [StateDirectory(path, settings.app_id) for path in paths]
            for path in paths:
                shutil.rmtree(path)
            with suppress(OSError):  # it has other files, or was never created
                (settings.state_dir / settings.app_id).rmdir()
        except OSError as error:
            raise StateUnusable(f"the state directory cannot be removed: {error}") from error
        finally:
            for directory in held:
                directory.close()
