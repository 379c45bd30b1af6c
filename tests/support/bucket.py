"""An in-memory snapshot storage with injected failures, losses and damage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tidemill.engine.snapshots.storage import Missing, StorageError

__all__ = ["Bucket"]


class Bucket:
    """A `Storage` in memory. `calls` records every call."""

    def __init__(self) -> None:
        self.url = "memory://bucket"
        self.content: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.fails: Callable[[str, str], bool] = lambda doing, path: False
        """Whether a call, such as ("put", path), fails."""
        self.before: Callable[[str, str], None] = lambda doing, path: None
        """Called before each call."""

    def _called(self, doing: str, path: str) -> None:
        self.calls.append((doing, path))
        self.before(doing, path)
        if self.fails(doing, path):
            raise StorageError(f"{doing} {path}: 500 internal error")

    def put(self, source: Path, path: str, passed: Callable[[int], None]) -> None:
        content = source.read_bytes()
        passed(len(content))
        self._called("put", path)
        assert path not in self.content, "a name is used for two files"
        self.content[path] = content

    def put_new(self, path: str, content: bytes) -> bool:
        self._called("put_new", path)
        return self.content.setdefault(path, content) == content

    def read(self, path: str) -> bytes:
        self._called("read", path)
        if path not in self.content:
            raise Missing(f"{path} is not there")
        return self.content[path]

    def get(self, path: str, into: Path, passed: Callable[[int], None]) -> None:
        content = self.read(path)
        into.write_bytes(content)
        passed(len(content))

    def list(self, folder: str) -> Mapping[str, int]:
        self._called("list", folder)
        return {
            path: len(content) for path, content in self.content.items() if not folder or path.startswith(f"{folder}/")
        }

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._called("delete", path)
            self.content.pop(path, None)

    # For tests

    def manifests(self) -> list[str]:
        return sorted(path for path in self.content if "/manifests/" in path)

    def files(self) -> list[str]:
        return sorted(path for path in self.content if "/files/" in path)

    def put_count(self) -> int:
        return sum(doing == "put" for doing, _ in self.calls)
