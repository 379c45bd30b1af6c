"""The stores of one task in one RocksDB. Only this and `rocks_library.py` know `rocksdict`.

All stores are in one column family, each under a number that represents its name, and so is the position: data and
position are flushed together or not at all, which two column families do not guarantee. The write-ahead log is off,
because the changelog is the log: after a crash the content is that of an earlier commit, and its position says which.

    0x0000 about | stores | position        the owner, the number of each store name, and the position of the content
    number (2 bytes) key                    the entries of the store with this number
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn
from weakref import WeakSet

import msgspec
from rocksdict import DbClosedError, Options, Rdict, RdictIter, ReadOptions, WriteBatch

from .changes import Changes
from .keys import successor
from .linked_files import TABLE, link_files
from .rocks_library import RocksMemory, access, is_stalled, options, state_error, write_options
from .store import Change, CorruptStore, NewerFormat, Position, StateError, Unusable, WrongOwner
from .store_prefixes import LENGTH, decode_prefixes, encode_prefixes, with_store

__all__ = ["FORMAT", "RocksMemory", "RocksStore", "TaskDirectoryInfo", "owner_of"]

FORMAT = 1
"""The version of the layout above; a directory with a higher number was written by a later version."""

META = b"\x00\x00"
ABOUT, STORES, POSITION = META + b"about", META + b"stores", META + b"position"
LINK_ATTEMPTS = 10
STALLED_SECONDS = 0.01


class TaskDirectoryInfo(msgspec.Struct, frozen=True):
    """The content of the key `about`: format and owner."""

    format: int
    application: str
    task: str


class RocksStore:
    """All persistent stores of one task. Used by one thread at a time."""

    def __init__(self, path: Path, app_id: str, task: str, memory: RocksMemory, *, read_only: bool = False) -> None:
        """Open the directory, and create it if it does not exist.

        With `read_only` nothing in it is changed, and it must exist.

        Raises `WrongOwner`, `NewerFormat`, `CorruptStore`, `Unusable` or `InUse`.
        """
        self._path = path
        self._task = task
        self._open = True
        self._read_only = read_only
        self._linking = Lock()  # held while the files are linked, so that the store is not closed meanwhile
        self._scans: WeakSet[Iterator[Any]] = WeakSet()
        self._write_options = write_options()
        self._memory = memory
        self._loading = False
        if not read_only:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Unusable(f"{path} cannot be created: {error.strerror}", str(error.strerror)) from error
        self._db = self._opened()
        try:
            self._prefixes, self._position = self._read_meta(app_id, task)
        except BaseException:
            memory.closed()
            with suppress(Exception):  # it may fail in the same way, and the first error is raised
                self._db.close()
            raise

    def get(self, store: str, key: bytes) -> bytes | None:
        prefix = self._prefixes.get(store)
        if prefix is None:
            return None
        try:
            return self._db.get(prefix + key)
        except Exception as error:
            self._fail("read", error)

    def get_many(self, store: str, keys: list[bytes]) -> list[bytes | None]:
        prefix = self._prefixes.get(store)
        if prefix is None:
            return [None] * len(keys)
        try:
            found: Any = self._db.get([prefix + key for key in keys])
        except Exception as error:
            self._fail("read", error)
        return found

    def scan(self, store: str, lo: bytes, hi: bytes | None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        prefix = self._prefixes.get(store)
        if prefix is None or (hi is not None and hi <= lo):
            return iter(())
        options = ReadOptions()
        options.set_iterate_upper_bound(_end(prefix) if hi is None else prefix + hi)
        try:
            cursor = self._db.iter(options)
        except Exception as error:
            self._fail("read", error)
        entries = self._entries(cursor, prefix + lo, reverse, options)
        self._scans.add(entries)
        return entries

    def apply(self, changes: Iterable[Change], position: Position) -> None:
        columns = Changes.of(changes).columns
        prefixes, merged = self._prefixes, self._position.merge(position)
        for column in columns:
            if column.store not in prefixes:
                prefixes = with_store(prefixes, column.store)

        def fill(batch: WriteBatch) -> None:
            put, delete = batch.put, batch.delete
            for column in columns:
                prefix = prefixes[column.store]
                for first, end in column.ranges:
                    batch.delete_range(prefix + first, prefix + end)
                for key, value in islice(zip(column.keys, column.values, strict=True), column.covered, None):
                    if value is None:
                        delete(prefix + key)
                    else:
                        put(prefix + key, value)
            if len(prefixes) > len(self._prefixes):
                put(STORES, encode_prefixes(prefixes))
            put(POSITION, msgspec.json.encode(merged))

        self._write(fill)
        self._prefixes, self._position = prefixes, merged

    def names(self) -> tuple[str, ...]:
        """Return the names of the stores that have, or had, entries."""
        return tuple(self._prefixes)

    def position(self) -> Position:
        return self._position

    def clear(self, store: str) -> None:
        position = self._position.without(store)
        prefix = self._prefixes.get(store)

        def fill(batch: WriteBatch) -> None:
            if prefix is not None:
                batch.delete_range(prefix, _end(prefix))
            batch.put(POSITION, msgspec.json.encode(position))

        self._write(fill)
        self._position = position

    def keep(self, stores: Collection[str]) -> list[str]:
        """Remove all stores but these and the engine's own (named ".…"); return the removed names."""
        position = self._position
        known = self._prefixes.keys() | position.changelogs.keys()
        gone = sorted(name for name in known - set(stores) if not name.startswith("."))
        if gone:
            for name in gone:
                position = position.without(name)
            prefixes = {name: prefix for name, prefix in self._prefixes.items() if name not in gone}

            def fill(batch: WriteBatch) -> None:
                for name in gone:
                    if name in self._prefixes:
                        batch.delete_range(self._prefixes[name], _end(self._prefixes[name]))
                batch.put(STORES, encode_prefixes(prefixes))
                batch.put(POSITION, msgspec.json.encode(position))

            self._write(fill)
            self._prefixes, self._position = prefixes, position
        return gone

    def size(self) -> int:
        try:
            on_disk = self._db.property_int_value("rocksdb.total-sst-files-size") or 0
            return on_disk + (self._db.property_int_value("rocksdb.cur-size-all-mem-tables") or 0)
        except Exception as error:
            self._fail("measured", error)

    def flush(self, wait: bool = True) -> None:
        try:
            self._db.flush(wait)
        except Exception as error:
            self._fail("flushed", error)

    def set_loading(self, loading: bool) -> None:
        if loading == self._loading:
            return
        with self._linking:
            if not self._open:
                raise StateError(f"{self._path} cannot be used: it was closed")
            self._open = False
            self._close()
            self._loading = loading
            self._db = self._opened()
            self._open = True

    def checkpoint(self, into: Path) -> Position:
        """Copy all applied changes into a new directory; return their position.

        `into` must be on the same file system. May be called in any thread; the thread that uses the store does not
        wait. Raises StateError.
        """
        for _ in range(LINK_ATTEMPTS):
            with self._linking:
                if not self._open:
                    raise StateError(f"{self._path} cannot be copied: it was closed")
                self.flush()
                try:
                    link_files(self._path, into)
                except OSError as error:
                    raise Unusable(f"{self._path} cannot be copied to {into}: {error}", str(error.strerror)) from error
            if (found := _opened_copy(into)) is not None:
                return found
        raise StateError(f"{self._path} cannot be copied: RocksDB replaced its files each time")

    def close(self) -> None:
        """Flush and release the directory, even if the flush fails. A second call does nothing."""
        with self._linking:
            if self._open:
                self._open = False
                self._close()

    def _opened(self) -> Rdict:
        size = self._memory.opened()
        made = options(self._memory, size, create=not self._read_only, loading=self._loading)
        try:
            return Rdict(str(self._path), made, access_type=access(read_only=self._read_only))
        except Exception as error:
            self._memory.closed()
            self._fail("opened", error)

    def _close(self) -> None:
        self._memory.closed()
        for entries in list(self._scans):  # each holds the database open
            entries.close()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        try:
            if not self._read_only:
                self._db.flush()
            self._db.close()
        except Exception as error:
            with suppress(Exception):  # it fails in the same way, and the first error is raised
                self._db.close()
            self._fail("closed", error)

    def _entries(
        self, cursor: RdictIter, first: bytes, reverse: bool, options: ReadOptions
    ) -> Iterator[tuple[bytes, bytes]]:
        # Three traps of rocksdict: the upper bound is in the memory of the options, so they must live as long as the
        # cursor (hence the parameter); set_iterate_lower_bound sets the upper bound, so `first` is compared here; and a
        # cursor that reads damaged data looks like one at its end, so its status is checked (`items` has none).
        cut = LENGTH
        valid, get_key, get_value, step = (
            cursor.valid,
            cursor.key,
            cursor.value,
            cursor.prev if reverse else cursor.next,
        )
        try:
            if reverse:
                cursor.seek_to_last()
            else:
                cursor.seek(first)
            while valid():
                key: bytes = get_key()
                if key < first:
                    return
                yield key[cut:], get_value()
                step()
            cursor.status()
        except Exception as error:
            self._fail("read", error)

    def _write(self, fill: Callable[[WriteBatch], None]) -> None:
        """Write what `fill` puts into a batch, atomically.

        While RocksDB catches up with its work, this thread waits here: a wait in RocksDB would stop all threads of the
        process, because rocksdict holds the GIL. A batch can be written once, so it is filled again.
        """
        while True:
            batch = WriteBatch(raw_mode=True)
            fill(batch)
            try:
                self._db.write(batch, self._write_options)
            except Exception as error:
                if not is_stalled(error):
                    self._fail("written", error)
            else:
                return
            time.sleep(STALLED_SECONDS)

    def _read_meta(self, app_id: str, task: str) -> tuple[dict[str, bytes], Position]:
        try:
            raw = self._db.get([ABOUT, STORES, POSITION])
            empty = next(iter(self._db.keys()), None) is None
        except Exception as error:
            self._fail("read", error)
        about, stores, position = raw if raw is not None else (None, None, None)
        if about is None:
            if not empty or self._read_only:
                raise CorruptStore(f"{self._path} does not name the owner of its entries", task)
            content = msgspec.json.encode(TaskDirectoryInfo(FORMAT, app_id, task))
            self._write(lambda batch: batch.put(ABOUT, content))
            return {}, Position()
        try:
            found = msgspec.json.decode(about, type=TaskDirectoryInfo)
            if found.format > FORMAT:
                raise NewerFormat(
                    f"{self._path} has format {found.format}, but this version of Tidemill reads formats up to "
                    f"{FORMAT}: a later version wrote it; upgrade, or remove it to restore from the changelogs"
                )
            if (found.application, found.task) != (app_id, task):
                raise WrongOwner(
                    f"{self._path} contains the state of task {found.task} of application {found.application!r}, not "
                    f"of task {task} of {app_id!r}: give each application its own state directory"
                )
            prefixes = decode_prefixes(stores)
            return prefixes, Position() if position is None else msgspec.json.decode(position, type=Position)
        except (msgspec.DecodeError, OverflowError) as error:
            raise CorruptStore(f"{self._path} has unreadable metadata: {error}", task) from error

    def _fail(self, doing: str, error: Exception) -> NoReturn:
        """Raise the error that fits a rocksdict exception, which only RocksDB's text tells apart."""
        if isinstance(error, DbClosedError):
            raise StateError(f"{self._path} cannot be {doing}: it was closed") from error
        if type(error) is not Exception:
            raise error
        raise state_error(self._path, self._task, doing, str(error)) from error


def _opened_copy(path: Path) -> Position | None:
    """Return the position of a copy and remove what it does not need; None if a file is missing."""
    made = Options(raw_mode=True)
    made.set_max_open_files(64)
    made.set_skip_stats_update_on_db_open(True)
    try:
        copy = Rdict(str(path), made, access_type=access(read_only=True))
    except Exception:  # rocksdict raises plain exceptions; the reason is a missing file
        return None
    try:
        needed = {str(file["name"]).lstrip("/") for file in copy.live_files()}
        raw: bytes | None = copy.get(POSITION)
    finally:
        copy.close()
    for file in path.glob(f"*{TABLE}"):
        if file.name not in needed:
            file.unlink()
    return Position() if raw is None else msgspec.json.decode(raw, type=Position)


def owner_of(path: Path) -> TaskDirectoryInfo:
    """Return the format, application and task of a directory. Raises StateError."""
    try:
        found = Rdict(str(path), Options(raw_mode=True), access_type=access(read_only=True))
    except Exception as error:
        raise state_error(path, "", "opened", str(error)) from error
    try:
        return msgspec.json.decode(found.get(ABOUT) or b"", type=TaskDirectoryInfo)
    except msgspec.DecodeError as error:
        raise CorruptStore(f"{path} is not the state of a task: it does not name its owner") from error
    finally:
        found.close()


def _end(prefix: bytes) -> bytes:
    end = successor(prefix)
    assert end is not None
    return end
