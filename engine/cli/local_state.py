"""Reads and removes the local state of an application that does not run, on this machine.

Each worker's directory is locked while it is looked at, so a running application is never disturbed: it is refused with
the pid of who has it. What a store holds is what was committed and written to disk here; after a crash the last commits
may be in the changelog alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import orjson

from ...operators.graph.topology import OperatorState, Topology
from ...operators.record import Windowed
from ...operators.suggest import did_you_mean
from ...state.directory import StateDirectory, read_process
from ...state.rocks import RocksMemory, RocksStore
from ...state.store import StateError, unframe
from ..config.settings import Settings
from ..errors import ConfigError, StateUnusable

__all__ = ["Entry", "as_line", "entries", "lookup", "remove_state", "state_of", "worker_dirs", "workers"]

MEMORY = 64 << 20
"""For RocksDB while a store is read."""


class Entry(NamedTuple):
    """An entry of a store as its users see it."""

    worker: str
    task: str
    key: Any
    value: Any
    timestamp: int | None


def state_of(topology: Topology, store: str) -> OperatorState:
    """The declaration of a store. Raises ConfigError when there is none or nothing of it is on disk."""
    known = {state.spec.name: state for node in topology.nodes for state in node.stores}
    found = known.get(store)
    if found is None:
        raise ConfigError(f"the program has no store {store!r}{did_you_mean(store, known)}")
    if found.spec.kind != "rocksdb":
        raise ConfigError(f"the store {store!r} is in memory only: there is nothing of it on disk")
    return found


def worker_dirs(settings: Settings) -> list[Path]:
    """The directories of the application's workers on this machine."""
    return sorted(path for path in (settings.state_dir / settings.app_id).glob("worker-*") if path.is_dir())


def workers(settings: Settings) -> dict[str, int]:
    """The numbers of the application's workers on this machine, by the member ids they have or had last."""
    found: dict[str, int] = {}
    for path in worker_dirs(settings):
        known, number = read_process(path), path.name.removeprefix("worker-")
        if known is not None and number.isdecimal():
            found[known.member_id] = int(number)
    return found


def entries(settings: Settings, state: OperatorState) -> Iterator[Entry]:
    """All entries of a store, task by task, in the order of their encoded keys."""
    for worker, task, store in opened(settings):
        for raw_key, raw_value in store.scan(state.spec.name, b"", None):
            entry = decoded(state, worker, task, raw_key, raw_value)
            if entry is not None:
                yield entry


def decoded(state: OperatorState, worker: str, task: str, raw_key: bytes, raw_value: bytes) -> Entry | None:
    """An entry as people see it; None for the step's own bookkeeping. Raises ConfigError when the program is not the
    one that wrote it."""
    codec, view = state.codec, state.view
    try:
        key = codec.decode_key(raw_key)
        if not view.visible(key):
            return None
        value = codec.decode_value(unframe(raw_value))
        shown = view.from_value(value)
        return None if shown is None else Entry(worker, task, view.from_key(key), shown, view.timestamp(value))
    except Exception as error:  # whatever a serde raises
        raise ConfigError(
            f"an entry of store {state.spec.name!r} in task {task} of {worker} cannot be decoded: {error}; it was "
            "written by a program with other serdes, or by another version of Tidemill"
        ) from error


def lookup(settings: Settings, state: OperatorState, wanted: str) -> Iterator[Entry]:
    """The entries with a key: the text itself, or what it is as JSON. For a windowed store, those of all windows."""
    codec, view = state.codec, state.view
    meant = candidates(wanted)
    found = False
    for worker, task, store in opened(settings):
        for raw_key in {raw for key in meant for raw in encoded(codec.encode_key, view.to_key, key)}:
            raw_value = store.get(state.spec.name, raw_key)
            if raw_value is not None:
                entry = decoded(state, worker, task, raw_key, raw_value)
                if entry is not None:
                    found = True
                    yield entry
    if not found:
        for entry in entries(settings, state):
            if plain(entry.key) in meant or plain(inner(entry.key)) in meant:
                yield entry


def inner(key: Any) -> Any:
    """The key that a windowed key is for, or the key itself."""
    return cast("Windowed[Any]", key).key if isinstance(key, Windowed) else key


def candidates(wanted: str) -> list[Any]:
    """What a key given as text may mean."""
    meant: list[Any] = [wanted]
    with suppress(orjson.JSONDecodeError):
        meant.append(orjson.loads(wanted))
    return meant


def encoded(encode: Callable[[Any], bytes], to_key: Callable[[Any], Any], key: Any) -> list[bytes]:
    """The key as bytes, nothing when it cannot be one of this store."""
    try:
        return [encode(to_key(key))]
    except Exception:  # whatever a serde raises for what is not its kind of key
        return []


def opened(settings: Settings) -> Iterator[tuple[str, str, RocksStore]]:
    """Every task's stores and every global table on this machine, one after the other.

    Raises StateUnusable when somebody has them open.
    """
    for path in worker_dirs(settings):
        with usable(), StateDirectory(path, settings.app_id) as directory:
            memory = RocksMemory(MEMORY)
            found = [(task, task, directory.task(task)) for task in directory.tasks()]
            found += [("global", table, directory.table(table)) for table in directory.tables()]
            for task, owner, place in found:
                store = RocksStore(place, settings.app_id, owner, memory)
                try:
                    yield path.name, task, store
                finally:
                    store.close()


def remove_state(settings: Settings) -> None:
    """Removes the application's state on this machine. Raises StateUnusable when a worker runs, and removes nothing."""
    paths = worker_dirs(settings)
    with usable():
        held: list[StateDirectory] = []
        try:
            held += [StateDirectory(path, settings.app_id) for path in paths]
            for path in paths:
                shutil.rmtree(path)
            with suppress(OSError):  # somebody keeps something of his own there, or it was never made
                (settings.state_dir / settings.app_id).rmdir()
        except OSError as error:
            raise StateUnusable(f"the state directory cannot be removed: {error}") from error
        finally:
            for directory in held:
                directory.close()


@contextmanager
def usable() -> Generator[None, None, None]:
    """Says in the engine's errors what the state layer says in its own."""
    try:
        yield
    except StateError as error:
        raise StateUnusable(str(error)) from error


def plain(value: Any) -> Any:
    """A value as JSON has it; what JSON does not know is shown as text."""
    return msgspec.to_builtins(value, enc_hook=repr, builtin_types=())


def as_line(entry: Entry) -> str:
    """An entry as one JSON object."""
    whole: dict[str, Any] = {"key": plain(entry.key), "value": plain(entry.value)}
    if entry.timestamp is not None:
        whole["timestamp"] = entry.timestamp
    return orjson.dumps({**whole, "task": entry.task, "worker": entry.worker}, default=repr).decode()
