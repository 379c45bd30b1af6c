"""Tests that state is moved to another number of partitions: every entry once, in its place, and results continue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.bucket import Bucket
from tests.support.golden_state import program as golden_program
from tests.support.programs import PROGRAMS
from tests.support.resharding import contents, plan_of, resharded
from tests.support.savepoints import saved
from tidemill.engine.errors import ConfigError
from tidemill.engine.resharding.parts import Part, refused
from tidemill.engine.resharding.rules import Rule, placed, predecessors, rules_for

KEYS = [f"k{number}" for number in range(23)]


def app_of(name: str) -> tm.App:
    app = tm.App("test", on_error=tm.skip)
    PROGRAMS[name](app)
    return app


def topics(app: tm.App) -> list[str]:
    return sorted({topic for source in app.topology().sources for topic in source.topics})


def fill(driver: tm.testing.TopologyDriver, app: tm.App, rounds: int = 60, begin: int = 0) -> None:
    for number in range(begin, begin + rounds):
        for topic in topics(app):
            driver.send(topic, key=KEYS[number % len(KEYS)], value=number * 7 % 13, timestamp=10 + number)


def base_of(app: tm.App, partitions: int, folder: Path, bucket: Bucket) -> Any:
    with tm.testing.TopologyDriver(app, partitions=partitions) as driver:
        fill(driver, app)
        return saved(driver, folder / "worker-0", bucket)


def values(content: dict[tuple[str, str], dict[bytes, bytes]]) -> list[tuple[str, bytes]]:
    return [(store, value) for (_, store), entries in content.items() for value in entries.values()]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_state_that_goes_to_more_partitions_and_back_is_the_same(name: str, tmp_path: Path) -> None:
    app, bucket = app_of(name), Bucket()
    base = base_of(app, 2, tmp_path, bucket)
    more, stores = resharded(bucket, base, plan_of(app, 6), tmp_path, "more")
    assert all(one.after == one.before for one in stores)
    back, _ = resharded(bucket, more, plan_of(app, 2), tmp_path, "back")
    before, after = contents(bucket, base, tmp_path), contents(bucket, back, tmp_path)
    shapes = [state.shape for node in app.topology().nodes for state in node.stores]
    if any("waiting" in shape or "journal" in shape for shape in shapes):
        assert sorted(values(after)) == sorted(values(before))  # records that wait get new numbers
    else:
        assert after == before


@given(old=st.integers(1, 9), new=st.integers(1, 20), key=st.binary(min_size=1))
def test_a_key_comes_from_a_predecessor(old: int, new: int, key: bytes) -> None:
    for rule in rules_for(0, ("murmur2", "CRC32")):
        assert placed(rule, key, 0, old) in predecessors(placed(rule, key, 0, new), old, new)
    assert placed(Rule("murmur2", True), key + b"12345678", 8, new) == placed(Rule("murmur2", False), key, 0, new)


def closing(app: tm.App) -> None:
    keyed = app.stream("a", key=tm.utf8, value=tm.json).group_by_key()
    keyed.window(tm.tumbling("1m")).emit("close").count().named("closing").to("out", value=tm.json)


def moved(
    build: Callable[[tm.App], None], folder: Path, partitions: tuple[int, int], sent: list[tuple[str, int, int | None]]
) -> dict[tuple[str, str], dict[bytes, bytes]]:
    """Return the entries after records of a key, a time and a partition."""
    app, bucket = tm.App("test"), Bucket()
    build(app)
    with tm.testing.TopologyDriver(app, partitions=partitions[0]) as driver:
        for key, time, partition in sent:
            driver.send("a", key=key, value=1, timestamp=time, partition=partition)
        base = saved(driver, folder / "worker-0", bucket)
    made, _ = resharded(bucket, base, plan_of(app, partitions[1]), folder, "made")
    return contents(bucket, made, folder)


def keys_in(partition: int, partitions: int) -> list[str]:
    return [key for key in KEYS if placed(Rule("murmur2", False), key.encode(), 0, partitions) == partition]


def test_tasks_become_one_unless_results_that_are_sent_once_would_be_skipped(tmp_path: Path) -> None:
    (early, *_), (late, *_) = keys_in(0, 2), keys_in(1, 2)
    same = moved(closing, tmp_path / "same", (2, 1), [(early, 61_000, None), (late, 62_000, None)])
    [entries] = same.values()
    clock = (~62_000).to_bytes(8, "big", signed=True)
    assert [value[1:] for value in entries.values()].count(clock) == 1  # the newest time
    with pytest.raises(ConfigError, match="stream times are 1000 and 200000"):
        moved(closing, tmp_path / "behind", (2, 1), [(early, 1_000, None), (late, 200_000, None)])
    assert moved(closing, tmp_path / "more", (2, 4), [(early, 1_000, None), (late, 200_000, None)])


def test_a_key_in_another_partition_is_refused_with_the_store(tmp_path: Path) -> None:
    sent: list[tuple[str, int, int | None]] = [(key, 10, 0) for key in KEYS]
    with pytest.raises(ConfigError, match=r"store 'closing' cannot be moved: task 0_0 has the key"):
        moved(closing, tmp_path, (2, 4), sent)


def test_a_store_of_an_unknown_layout_is_refused_by_name() -> None:
    app = tm.App("test")
    closing(app)
    made = plan_of(app, 4)
    part = made.subtopologies[0]
    codec = replace(part.stores[0].codec, placement=None)
    unknown = replace(part, stores=(replace(part.stores[0], codec=codec),))
    before = Part(unknown, 2, 4, ("murmur2",), {"closing": unknown.stores[0]})
    [text] = refused([before], {})
    assert text.startswith("store 'closing' (count by utf8")
    assert refused([replace(before, old=4)], {}) == []


def test_no_store_of_an_operator_is_of_an_unknown_layout() -> None:
    for app in (golden_program(), *map(app_of, PROGRAMS)):
        tables = {table.id for table in app.topology().global_tables}
        for node in app.topology().nodes:
            for state in node.stores if node.id not in tables else ():
                assert state.codec.placement is not None, state.spec.name
