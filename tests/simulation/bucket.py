"""The snapshot storage of a schedule: files in memory, with random faults.

A call may fail before or after it took effect, be slow, or leave a partial file; the storage may be unavailable for a
while. A process may be killed or paused in any call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tidemill.engine.snapshots.storage import Missing, StorageError

from .world import World

__all__ = ["BucketFaults", "SimulatedBucket"]


@dataclass(frozen=True)
class BucketFaults:
    """The probability of each fault, per call."""

    fails: float = 0.0
    """The call raises an error, in half of the cases after it took effect."""
    cut: float = 0.0
    """An upload leaves a partial file and raises an error."""
    slow: float = 0.0
    longest: int = 0
    """The maximum duration of a slow call, in ms."""


class SimulatedBucket:
    """A `Storage` that all processes of a schedule share."""

    def __init__(self, world: World, faults: BucketFaults) -> None:
        self.url = "sim://bucket"
        self.content: dict[str, bytes] = {}
        self.down = False
        self._world = world
        self._faults = faults

    def lose(self, ms: int) -> None:
        """Fail all calls for some time."""
        self.down = True
        self._world.note("the bucket is lost")
        self._world.later(ms, self._found)

    def _found(self) -> None:
        self.down = False

    def heal(self) -> None:
        """End all faults."""
        self._faults, self.down = BucketFaults(), False

    def put(self, source: Path, path: str, passed: Callable[[int], None]) -> None:
        content = source.read_bytes()
        passed(len(content))
        self._begin("put")
        if self._world.random.random() < self._faults.cut:
            self.content[path] = content[: self._world.random.randint(0, len(content) - 1)]
            raise StorageError("only a part of the file has arrived")
        self.content[path] = content
        self._end()

    def put_new(self, path: str, content: bytes) -> bool:
        self._begin("put new")
        try:
            fresh = self.content.setdefault(path, content) == content
            self._end()
        except StorageError:
            return self.content.get(path) == content  # as FsspecStorage does if a response was lost
        return fresh

    def read(self, path: str) -> bytes:
        self._begin("read")
        self._end()
        if path not in self.content:
            raise Missing(f"{path} is not there", lasting=True)
        return self.content[path]

    def get(self, path: str, into: Path, passed: Callable[[int], None]) -> None:
        content = self.read(path)
        into.write_bytes(content)
        passed(len(content))

    def list(self, folder: str) -> Mapping[str, int]:
        self._begin("list")
        self._end()
        return {path: len(content) for path, content in self.content.items() if path.startswith(f"{folder}/")}

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._begin("delete")
            self.content.pop(path, None)
            self._end()

    def _begin(self, what: str) -> None:
        self._world.pause(f"bucket {what}")
        if self._faults.slow and self._world.random.random() < self._faults.slow:
            self._world.wait(None, self._world.random.randint(1, self._faults.longest))
        if self.down or self._world.random.random() < self._faults.fails / 2:
            raise StorageError("500 internal error")

    def _end(self) -> None:
        if self._world.random.random() < self._faults.fails / 2:
            raise StorageError("the response was lost")
