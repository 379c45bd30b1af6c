"""Results after state has moved are those of a program whose state never did, for random numbers of partitions."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.integration.program import PROGRAMS
from tests.support.bucket import Bucket
from tests.support.examples import examples
from tests.support.resharding import ContinuedDriver, resharded
from tests.support.savepoints import saved

pytestmark = pytest.mark.slow

TOPICS = "test"
OTHERS = 1_000_000
HOUR_MS = 3_600_000
LAST = ("win", "count", "total", "held", "digits", "priced")
"""Steps of whose results the last one of a key is compared; of the others, all."""


@pytest.fixture(scope="module")
def app() -> Iterator[tm.App]:
    patch = pytest.MonkeyPatch()
    patch.setenv("TOPICS", TOPICS)
    spec = importlib.util.spec_from_file_location("resharded", PROGRAMS / "resharded.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.app
    patch.undo()


def feed(driver: tm.testing.TopologyDriver, phase: int) -> list[tm.Record[Any, Any]]:
    """Send the records of a phase, and then some that close its windows; return the results."""
    begin = 2 * HOUR_MS * phase
    if phase == 0:
        driver.send_all(f"{TOPICS}-items", [tm.Record(f"i{item}", 100 * item, 0) for item in range(7)])
    values = range(200 * phase, 200 * (phase + 1))
    driver.send_all(f"{TOPICS}-data", [tm.Record(f"u{value % 53}", value, begin + 7 * value) for value in values])
    later = begin + 3 * HOUR_MS // 2
    others = [tm.Record(f"x{value}", OTHERS + 1_000 * phase + value, later) for value in range(100)]
    driver.send_all(f"{TOPICS}-data", others)
    return driver.read(f"{TOPICS}-results")


def by_key(results: list[tm.Record[Any, Any]]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in results:
        step, value = record.value
        if not record.key.startswith(("other", "x")):
            found[step, record.key].append(repr(value))
    return {
        place: values[-1:] if place[0] in LAST else ["one"] * len(values) if place[0] == "first" else sorted(values)
        for place, values in found.items()
    }


@given(counts=st.lists(st.integers(1, 5), min_size=3, max_size=3))
@examples(5)
def test_results_do_not_depend_on_when_partitions_change(
    app: tm.App, tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    folder, bucket = tmp_path_factory.mktemp("continued"), Bucket()
    with tm.testing.TopologyDriver(app, partitions=counts[0]) as driver:
        found = feed(driver, 0)
        one = saved(driver, folder / "worker", bucket)
    for phase, partitions in enumerate(counts[1:], start=1):
        with tm.testing.TopologyDriver(app, partitions=partitions) as empty:
            made, _ = resharded(bucket, one, empty.plan, folder, f"phase-{phase}")
        with ContinuedDriver(app, partitions, bucket, made, folder) as driver:
            found += feed(driver, phase)
            bucket = Bucket()
            one = saved(driver, folder / f"worker-{phase}", bucket, f"end-{phase}")
    with tm.testing.TopologyDriver(app, partitions=counts[0]) as driver:
        wanted = [record for phase in range(3) for record in feed(driver, phase)]
    assert by_key(found) == by_key(wanted)
