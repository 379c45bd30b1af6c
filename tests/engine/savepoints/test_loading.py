"""Tests of savepoints that are loaded from rows: round trips with dumps, and rows that are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.bucket import Bucket
from tests.support.examples import every, examples
from tests.support.golden_state import program as golden_program
from tests.support.programs import PROGRAMS
from tests.support.savepoints import saved
from tidemill.engine.clock import ManualClock
from tidemill.engine.errors import ConfigError
from tidemill.engine.kafka.partitioners import MURMUR2, PARTITIONERS
from tidemill.engine.offline.entries import StateSource, batches, dump
from tidemill.engine.offline.parts import DeclaredStore, declared_store
from tidemill.engine.offline.readers import reading
from tidemill.engine.offline.writers import FORMATS, Format, writing
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.savepoints.content import SavepointContent
from tidemill.engine.savepoints.loading import SavepointLoad, empty_savepoint
from tidemill.engine.savepoints.savepoint_state import SavepointState
from tidemill.engine.snapshots.savepoint import Savepoint

PARTITIONS = 3
NONCES = count(1)


class Pen(msgspec.Struct, frozen=True):
    name: str
    price: float
    colours: list[str] = []
    sold: int | None = None


def written(source: StateSource, declared: DeclaredStore, form: Format, path: Path) -> list[Any]:
    rows = list(dump(source, declared))
    with writing(form, path) as writer:
        for batch in batches(rows):
            writer.write(batch)
    return sorted(((row.row, row.task) for row in rows), key=repr)


def loaded(bucket: Bucket, base: Savepoint, declared: DeclaredStore, form: Format, path: Path, name: str) -> Savepoint:
    load = SavepointLoad(
        bucket, base, PARTITIONERS[MURMUR2], path.parent / "work", ManualClock(1_700_000_000_000), lambda text: None
    )
    with reading(form, path) as rows:
        made, number = load.run(name, next(NONCES), declared.name, declared.state, rows)
    assert number >= 0
    return made


def stores_of(app: tm.App) -> list[DeclaredStore]:
    topology = app.topology()
    found = [declared_store(topology, state.spec.name) for node in topology.nodes for state in node.stores]
    return [declared for declared in found if declared.subtopology is not None]


def loadable(app: tm.App) -> list[DeclaredStore]:
    return [declared for declared in stores_of(app) if not isinstance(declared.state.view.loading, str)]


def app_of(name: str) -> tm.App:
    app = tm.App("test", on_error=tm.skip)
    PROGRAMS[name](app)
    return app


LOADABLE = [name for name in PROGRAMS if loadable(app_of(name))]
CASES = [(name, FORMATS[at % len(FORMATS)]) for at, name in enumerate(LOADABLE)]


def entries(bucket: Bucket, one: Savepoint, store: str, path: Path) -> set[tuple[str, bytes, bytes]]:
    content = SavepointContent(bucket, one, path)
    manifests = content.manifests()
    return {
        (task.task, key, value)
        for task in one.tasks
        for name, key, value in content.entries(task, manifests.get(task.task))
        if name == store
    }


def fill(driver: tm.testing.TopologyDriver, app: tm.App, rounds: int = 40) -> None:
    for number in range(rounds):
        for topic in sorted({topic for source in app.topology().sources for topic in source.topics}):
            driver.send(topic, key="klmn"[number % 4], value=number * 7 % 13, timestamp=10 + number)


def test_most_programs_have_a_store_that_can_be_loaded() -> None:
    kinds = {declared.state.shape.split(" by ")[0] for name in PROGRAMS for declared in loadable(app_of(name))}
    assert kinds >= {"count", "reduce", "aggregate", "table", "rows", "ValueState", "MapState"}


@pytest.mark.parametrize(
    "case", every(24, [(name, FORMATS[at % len(FORMATS)]) for at, name in enumerate(LOADABLE)]), ids="-".join
)
def test_what_is_dumped_and_loaded_is_dumped_again(case: tuple[str, Format], tmp_path: Path) -> None:
    name, form = case
    app = app_of(name)
    bucket = Bucket()
    with tm.testing.TopologyDriver(app, partitions=PARTITIONS) as driver:
        fill(driver, app)
        base = saved(driver, tmp_path / "worker-0", bucket)
    for number, declared in enumerate(loadable(app)):
        path = tmp_path / f"{number}.{form}"
        rows = written(SavepointState(bucket, base), declared, form, path)
        if form == "csv" and ODD_KEYS.get(name) == declared.name:
            with pytest.raises(ConfigError, match="may be text or not"):
                loaded(bucket, base, declared, form, path, f"again-{number}")
            continue
        made = loaded(bucket, base, declared, form, path, f"again-{number}")
        assert written(SavepointState(bucket, made), declared, form, path) == rows
        for other in stores_of(app):
            before = entries(bucket, base, other.name, tmp_path / "entries")
            after = entries(bucket, made, other.name, tmp_path / "entries")
            if other.name != declared.name:
                assert after == before
            elif not any(word in name for word in HIDDEN):
                assert {(task, key) for task, key, _ in after} == {(task, key) for task, key, _ in before}
                assert form != "jsonl" or after == before


UNWRITTEN = "\0" if sys.version_info < (3, 11) else ""
"""Characters that `csv` cannot write."""
KEYS = st.text(st.characters(codec="utf-8", exclude_characters=UNWRITTEN), max_size=5)
ODD_KEYS = {
    "suppress": "small-count",
    "watermark behind a repartition": "w",
    "join of tables": "j-count",
    "left join of tables": "j-count",
    "outer join of tables": "j-count",
    "groups of parts of rows": "a-aggregate",
}
"""The store of a program whose keys are numbers without a serde."""
HIDDEN = ("at intervals", "watermark", "processor", "timers", "recurring")
"""Programs that store more than the rows show: pending records, and times of records."""


def test_every_other_store_is_refused_with_a_reason(tmp_path: Path) -> None:
    app = golden_program()
    made = plan(partition(app.topology()), "golden", dict.fromkeys(topics(app), PARTITIONS))
    base = empty_savepoint(made, {}, {}, "exactly_once")
    path = tmp_path / "empty.jsonl"
    path.touch()
    refused: dict[str, str] = {}
    for declared in stores_of(app):
        try:
            loaded(Bucket(), base, declared, "jsonl", path, "none")
        except ConfigError as error:
            refused[declared.name] = str(error)
    assert "do not determine what the step keeps" in refused["sketches"]
    assert "'mean' (tm.mean), 'top' (tm.top)" in refused["columns"]
    assert all(f"{name!r} cannot be loaded: " in text for name, text in refused.items())
    assert {"count", "reduce", "tumbling", "session", "sliding", "keeping-value"}.isdisjoint(refused)
    assert {"outer-left", "suppress", "history", "tables", "foreign", "keeping-items", "deduplicate"} <= refused.keys()


def topics(app: tm.App) -> set[str]:
    return {topic for source in app.topology().sources for topic in source.topics}


def loading(
    build: Callable[[tm.App], Any], lines: str, tmp_path: Path, form: Format = "jsonl"
) -> tuple[Bucket, Savepoint, DeclaredStore]:
    app = tm.App("test")
    build(app)
    made = plan(partition(app.topology()), "test", dict.fromkeys(topics(app), PARTITIONS))
    bucket, path = Bucket(), tmp_path / f"rows.{form}"
    path.write_text(lines)
    [declared] = stores_of(app)
    base = empty_savepoint(made, {("a", 1): 7}, {"a": "id"}, "exactly_once")
    return bucket, loaded(bucket, base, declared, form, path, "made"), declared


def rows_after(build: Callable[[tm.App], Any], lines: str, tmp_path: Path, form: Format = "jsonl") -> dict[Any, Any]:
    bucket, made, declared = loading(build, lines, tmp_path, form)
    return {row.row.key: row.row.value for row in dump(SavepointState(bucket, made), declared)}


def counts(app: tm.App) -> None:
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().count().named("s")


def pens(app: tm.App) -> None:
    app.stream("a", key=tm.int64, value=tm.json(Pen)).group_by_key().reduce(lambda one, other: other).named("s")


def columns(app: tm.App) -> None:
    grouped = app.stream("a", key=tm.utf8, value=tm.json).group_by_key()
    grouped.aggregate(n=tm.count(), total=tm.sum("x"), most=tm.max("x"), all=tm.collect("x")).named("s")


def windows(app: tm.App) -> None:
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.tumbling("1m")).count().named("s")


def sessions(app: tm.App) -> None:
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.session(gap="1m")).count().named("s")


def test_a_savepoint_of_a_batch_computation(tmp_path: Path) -> None:
    lines = "".join(f'{{"key":"u{number}","value":{number}}}\n' for number in range(50))
    bucket, made, declared = loading(counts, lines, tmp_path)
    rows = list(dump(SavepointState(bucket, made), declared))
    assert {row.row.key: row.row.value for row in rows} == {f"u{number}": number for number in range(50)}
    for row in rows:
        assert row.task == f"0_{PARTITIONERS[MURMUR2](row.row.key.encode(), PARTITIONS)}"
    assert {(it.topic, it.partition): it.offset for it in made.inputs} == {("a", 0): 0, ("a", 1): 7, ("a", 2): 0}
    assert made.name == "made"
    assert made.size > 0


def test_values_get_the_types_of_the_program(tmp_path: Path) -> None:
    pen = '{"name": "ink", "price": 2, "colours": ["red"], "sold": null}'
    expected = {5: Pen("ink", 2.0, ["red"])}
    assert rows_after(pens, f'{{"key": 5, "value": {pen}}}', tmp_path) == expected
    cells = 'key,value_name,value_price,value_colours\n5,ink,2,"[""red""]"\n'
    assert rows_after(pens, cells, tmp_path, "csv") == expected
    cells = "key,value_n,value_total,value_most,value_all\nu,3,1.5,,\n"
    assert rows_after(columns, cells, tmp_path, "csv") == {"u": {"n": 3, "total": 1.5, "most": None, "all": []}}


REFUSED: list[tuple[Callable[[tm.App], Any], str, str]] = [
    (counts, '{"value": 1}', "line 1 is no row of store 's': it has no key"),
    (
        counts,
        '{"key": "a", "value": 1}\n{"key": "a", "value": 2}',
        "line 2 is no row .* an earlier row has the same key",
    ),
    (counts, '{"key": "a", "value": 1.5}', "1.5 is not a whole number"),
    (counts, '{"key": "a", "value": true}', "True is not a number"),
    (counts, '{"key": "a"}', "is not a number"),
    (counts, '{"key": 5, "value": 1}', "5 is not text"),
    (counts, '{"key": "a", "value": 1, "timestamp": -4}', "the timestamp is -4"),
    (counts, '{"key": "a", "value": 1, "timestamp": "x"}', "line 1: timestamp is 'x'"),
    (counts, '{"key": "a", "value": 1, "window_start": 0}', "the store has no column window_start"),
    (counts, '{"key": "a", "value"', "line 1: Input data was truncated"),
    (pens, '{"key": 5, "value": {"name": "ink"}}', "missing required field `price`"),
    (columns, '{"key": "a", "value": {"m": 1}}', "the step has no column 'm'"),
    (columns, '{"key": "a", "value": {"n": "x"}}', "column 'n': 'x' is not a number"),
    (windows, '{"key": "a", "value": 1}', "window_start is None"),
    (windows, '{"key": "a", "value": 1, "window_start": 5}', "no window of the program begins at 5"),
    (windows, '{"key": "a", "value": 1, "window_start": 0, "window_end": 9}', "of another size"),
    (sessions, '{"key": "a", "value": 1, "window_start": 5}', "window_end is None"),
]


@pytest.mark.parametrize(("build", "lines", "message"), REFUSED)
def test_a_row_that_does_not_fit_is_refused(
    build: Callable[[tm.App], Any], lines: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        loading(build, lines, tmp_path)


@given(
    rows=st.dictionaries(KEYS, st.tuples(st.integers(0, 1 << 60), st.integers(0, 1 << 40)), max_size=30),
    form=st.sampled_from(FORMATS),
)
@example(rows={"\r": (0, 0), "0\r": (1, 1), "\n": (2, 2), "\r\n": (3, 3)}, form="csv")
@examples(30)
def test_any_counts_come_back(tmp_path_factory: pytest.TempPathFactory, rows: Any, form: Format) -> None:
    folder = tmp_path_factory.mktemp("counts")
    lines = "".join(
        msgspec.json.encode({"key": key, "value": value, "timestamp": time}).decode() + "\n"
        for key, (value, time) in rows.items()
    )
    bucket, made, declared = loading(counts, lines, folder)
    path = folder / f"dump.{form}"
    first = written(SavepointState(bucket, made), declared, form, path)
    assert {row.key: (row.value, row.timestamp) for row, _ in first} == rows
    again = loaded(bucket, made, declared, form, path, "again")
    assert written(SavepointState(bucket, again), declared, form, path) == first
