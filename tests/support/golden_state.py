"""Golden state: archives of state in each format so far, which later versions must read.

An archive has the files of one process: the state directory of a program with every kind of store, a snapshot of one of
its tasks, the metadata of its offsets, and for comparison checksums of all entries, and all rows. `make golden-state`
adds an archive if the current format differs from that of the newest one.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

import tidemill as tm
from tests.support.bucket import Bucket
from tests.support.state_dirs import take_snapshots, write_state
from tidemill.engine.offline.entries import StateSource, dump
from tidemill.engine.offline.local import found_in
from tidemill.engine.offline.parts import DeclaredStore, declared_store
from tidemill.engine.offline.plain import nested
from tidemill.engine.snapshots.envelope import sha256
from tidemill.engine.snapshots.manifest import decode
from tidemill.engine.tasks.store_schemas import shapes_metadata
from tidemill.operators.graph.topology import Topology
from tidemill.state.changelog import encode
from tidemill.state.store import Change, WriterId

__all__ = [
    "FOLDER",
    "archives",
    "contents",
    "filled",
    "found",
    "program",
    "raw_entries",
    "rows_of",
    "stores_of",
    "unpacked",
]

FOLDER: Final = Path(__file__).parent.parent / "golden_state"
APP: Final = "golden"
OPAQUE: Final = ("sketches",)
"""Stores with bytes of another library's, which are read but not compared."""


class Keeping(tm.Processor[str, Any, Any]):
    """Uses every kind of state, and timers of both clocks."""

    value = tm.ValueState(dict)
    brief = tm.ValueState(int, ttl="1h")
    entries = tm.MapState(str, int)
    items = tm.ListState(int)
    times = tm.WindowState(int, retention="1d")
    versions = tm.VersionedState(int, history="1d")

    def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
        self.value.set({"n": value, "list": [value, None, 1.5], "at": (1, "x")})
        self.brief.set(value)
        self.entries[f"m{value % 3}"] = value
        self.items.append(value)
        self.times.put(value, ctx.timestamp)
        self.versions.put(value, ctx.timestamp)
        ctx.timer("later", after="30d")
        ctx.timer("clock", after="30d", clock="wall")
        yield value

    def on_timer(self, name: str, ctx: tm.Context[str]) -> None:
        pass

    @tm.every("40d")
    def rarely(self, ctx: tm.Context[str]) -> None:
        pass


def itself(value: Any) -> Any:
    return value


def program() -> tm.App:
    """Return a program with every kind of store. Do not change it, except to add new kinds of store at the end."""
    app = tm.App(APP)
    a, b = (app.stream(topic, key=tm.utf8, value=tm.json) for topic in ("a", "b"))
    keyed = a.group_by_key()
    keyed.count().named("count")
    keyed.reduce(lambda one, other: one + other).named("reduce")
    keyed.aggregate(list, lambda so_far, value: [*so_far, value][-3:]).named("aggregate")
    keyed.aggregate(
        n=tm.count(),
        total=tm.sum(itself),
        mean=tm.mean(itself),
        least=tm.min(itself),
        all=tm.collect(itself),
        top=tm.top(2, by=itself),
    ).named("columns")
    keyed.aggregate(distinct=tm.count_distinct(itself), middle=tm.quantile(itself, 0.5)).named("sketches")
    keyed.window(tm.tumbling("1m", grace="1h")).count().named("tumbling")
    keyed.window(tm.hopping("2m", every="1m", grace="1h")).aggregate(n=tm.count()).named("hopping")
    keyed.window(tm.sliding("1m", grace="1h")).count().named("sliding")
    keyed.window(tm.session(gap="10s", grace="1h")).count().named("session")
    keyed.window(tm.tumbling("1m", grace="1h")).emit(tm.every("1d")).count().named("throttled")
    keyed.window(tm.tumbling("1m", grace="1h")).emit("close").count().named("closing")
    a.deduplicate("1h").named("deduplicate")
    a.deduplicate("1h", by=lambda value: value % 2).named("deduplicate-by")
    a.process(Keeping).named("keeping")
    a.join(b, lambda one, other: [one, other], within="1h", grace="1h", how="outer").named("outer")
    left, right = (app.table(topic, key=tm.utf8, value=tm.json).named(topic) for topic in ("left", "right"))
    left.join(right, lambda one, other: [one, other]).named("tables")
    left.outer_join(right, lambda one, other: [one, other]).named("outer-tables")
    again = right.filter(lambda value: True)  # its readers store the rows
    left.join(again, lambda one, other: [one, other], on=lambda value: f"k{value % 3}").named("foreign")
    left.group_by(lambda value: value % 2, key=tm.int64).count().named("groups")
    left.suppress(until="1d").named("suppress")
    a.join(left.filter(lambda value: True), lambda one, other: [one, other]).named("stream-table")
    history = app.table("history", key=tm.utf8, value=tm.json, history="1d").named("history")
    a.join(history, lambda one, other: [one, other], as_of=True, grace="1h", how="left").named("as-of")
    windows = [keyed.window(tm.tumbling("1m", grace="1h")).count().named(f"windows-{n}") for n in (1, 2)]
    windows[0].join(windows[1], lambda one, other: one + other).named("window-tables")
    keyed.cogroup(lambda so_far, value: so_far + value).cogroup(
        b.group_by_key(), lambda so_far, value: so_far - value
    ).aggregate(0).named("cogroup")
    world = app.global_table("world", key=tm.utf8, value=tm.json)
    a.join(world, lambda one, other: [one, other], on=lambda value: f"k{value % 3}").to("out")
    objects = app.stream("objects", key=tm.json, value=tm.json).group_by_key().count().named("objects")
    objects.to("out-objects", key=tm.json)
    app.stream("other", key=tm.uuid, value=tm.msgpack).group_by_key().reduce(lambda one, other: other).named("reduced")
    return app


def filled(app: tm.App) -> tm.testing.TopologyDriver:
    driver = tm.testing.TopologyDriver(app, partitions=2)
    time = 1_700_000_000_000
    for number in range(24):
        for topic in ("world", "left", "right", "history", "a", "b"):
            if (number + len(topic)) % 3:
                driver.send(topic, key=f"k{number % 5}", value=number, timestamp=time + number * 7_000)
        driver.send("objects", key={"id": number % 3}, value=number, timestamp=time + number)
        key = "00000000-0000-0000-0000-00000000000" + str(number % 3)
        driver.send("other", key=tm.uuid.decode(key.encode()), value={"n": number}, timestamp=time + number)
    driver.send("a", key="alone", value=99, timestamp=time + 170_000)
    return driver


def stores_of(topology: Topology) -> list[DeclaredStore]:
    """Return all stores of the program."""
    return [declared_store(topology, state.spec.name) for node in topology.nodes for state in node.stores]


def rows_of(source: StateSource, declared: DeclaredStore) -> list[Any]:
    """Return the rows of a store in JSON types."""
    return json.loads(msgspec.json.encode([{**nested(row.row), "task": row.task} for row in dump(source, declared)]))


def raw_entries(driver: tm.testing.TopologyDriver) -> dict[str, str]:
    """Return a checksum of the bytes of all entries, by task and store."""
    sums: dict[str, str] = {}
    for task in driver._tasks.values():
        for state in driver.plan.subtopology(task.id).stores:
            name = state.spec.name
            if name not in OPAQUE:
                pairs = [list(pair) for pair in task.stores[state.spec.kind].scan(name, b"", None)]
                sums[f"{task.id}/{name}"] = sha256(msgspec.msgpack.encode(pairs))[:16] if pairs else ""
    return sums


def contents(app: tm.App, driver: tm.testing.TopologyDriver) -> dict[str, Any]:
    """Return the compared contents: bytes of entries, changelog records with headers, metadata of offsets."""
    record = encode([Change("s", b"k", b"\x01v")], {"t:0@id": 7}, WriterId(3, 4))[0]
    states = tuple(state for node in app.topology().nodes for state in node.stores)
    return {
        "entries": raw_entries(driver),
        "headers": [[name, value.decode("latin-1")] for name, value in record[2] or ()],
        "metadata": shapes_metadata(states),
    }


def archives() -> list[Path]:
    """Return the archives, oldest first."""
    return sorted(FOLDER.glob("*.tar.xz"))


def unpacked(archive: Path, into: Path) -> dict[str, Any]:
    """Unpack an archive, and return its contents for comparison."""
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    return json.loads((into / "contents.json").read_text())


def write(path: Path) -> None:
    """Write an archive in the current format."""
    app = program()
    with tempfile.TemporaryDirectory() as folder, filled(app) as driver:
        place = Path(folder)
        worker = place / "state" / APP / "worker-0"
        write_state(driver, worker)
        bucket = Bucket()
        take_snapshots(driver, worker, bucket)
        smallest = min(
            (name for name, content in bucket.content.items() if decode(content).position.changelogs),
            key=lambda name: len(bucket.content[name]),
        )
        (place / "snapshots" / smallest).parent.mkdir(parents=True)
        (place / "snapshots" / smallest).write_bytes(bucket.content[smallest])
        from_disk = found(place)
        rows = {declared.name: rows_of(from_disk, declared) for declared in stores_of(app.topology())}
        (place / "contents.json").write_text(json.dumps({**contents(app, driver), "rows": rows}))
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w:xz", preset=9) as tar:
            for file in sorted(file for file in place.rglob("*") if file.is_file()):
                if not file.name.startswith(("LOG", "LOCK", "lock")):
                    about = tarfile.TarInfo(str(file.relative_to(place)))
                    about.size = file.stat().st_size
                    tar.addfile(about, io.BytesIO(file.read_bytes()))


def found(place: Path) -> StateSource:
    """Return the state in an unpacked archive."""
    source = found_in(place / "state", APP)
    assert source is not None
    return source


def main() -> None:
    """Add an archive if the format differs from that of the newest one."""
    app = program()
    newest = archives()
    if newest:
        with tempfile.TemporaryDirectory() as folder, filled(app) as driver:
            known = unpacked(newest[-1], Path(folder))
            if all(known[name] == content for name, content in contents(app, driver).items()):
                sys.stdout.write(f"the format is still that of {newest[-1].name}\n")
                return
    path = FOLDER / f"{len(newest) + 1:03d}.tar.xz"
    write(path)
    sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
