"""A stream reads files before its topic: each row once and in order, with kills, takeovers, and as a batch."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.brokers import client
from tests.object_stores.hdfs import Hdfs
from tests.object_stores.places import Places
from tests.support.maven import Unavailable
from tidemill.engine.group.offsets import committed_metadata
from tidemill.engine.watermarks.watermarks import seen_in

from .program import Life, Program
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(300)]

PARTITIONS = 3
ITEMS = ("pen", "ink", "pad", "cup")
STEP_MS = 10
BEGAN = 1_700_000_000_000


class Sale:
    """A numbered sale; its time and its key follow from the number."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.key = f"k{number * 7919 % 50}"
        self.item = ITEMS[number % 4]
        self.pieces = number % 9
        self.at = BEGAN + number * STEP_MS

    @property
    def row(self) -> client.Row:
        value = {"number": self.number, "item": self.item, "pieces": self.pieces}
        return client.Row(self.key.encode(), json.dumps(value).encode(), timestamp=self.at)


class Shop:
    """A topic with sales, the files before it, and the programs."""

    def __init__(self, stage: Stage, url: str, **variables: str) -> None:
        self.stage = stage
        self.url = url
        self.variables = variables
        stage.topics("sales", "passed", "seconds", "totals", partitions=PARTITIONS)

    def send(self, numbers: Iterable[int]) -> None:
        self.stage.send("sales", [Sale(number).row for number in numbers])

    def write_files(self, count: int, folder: Path) -> None:
        """Write files that overlap in time, with rows in any order."""
        folder.mkdir(parents=True)
        chance = random.Random(count)
        numbers = list(range(count))
        for start in range(0, count, count // 2):
            half = numbers[start : start + count // 2]
            chance.shuffle(half)
            for number in range(2):
                sales = [Sale(one) for one in half[number::2]]
                columns = {
                    name: [getattr(sale, name) for sale in sales] for name in ("key", "number", "item", "pieces")
                }
                columns["at"] = pa.array([sale.at * 1000 for sale in sales], pa.timestamp("us", "UTC"))
                pq.write_table(pa.table(columns), folder / f"{start}-{number}.parquet", row_group_size=7_000)

    def program(self, name: str = "historic", role: str = "read", **settings: object) -> Program:
        state = self.stage.directory / name / "state"
        variables = {"LAKE": self.url, "ROLE": role, **self.variables}
        settings = {"commit_interval": "100ms", "state_dir": state, "session_timeout": "6s", **settings}
        return self.stage.program("historic.py", variables=variables, name=name, **settings)

    def passed(self) -> int:
        return sum(client.end_offsets(self.stage.broker, self.stage.name("passed")).values())

    def rows_done(self) -> list[int]:
        """Return how many rows of the record at each committed offset of the history have been processed."""
        options = {"bootstrap.servers": self.stage.broker}
        metadata = committed_metadata(options, self.stage.app_id, None, 10.0)  # it does not wait for transactions
        return [found for each in metadata.values() if (found := seen_in(each).rows) is not None]

    def check(self, count: int) -> None:
        """Compare the results with those of a batch: the sales up to a number, once and in order."""
        rows = self.stage.wait_for_rows("passed", count, 90)
        by_partition: dict[int, list[int]] = {}
        for row in rows:
            by_partition.setdefault(row.partition, []).append(json.loads(row.value or b"")["number"])
        assert sorted(number for numbers in by_partition.values() for number in numbers) == list(range(count))
        for numbers in by_partition.values():
            assert numbers == sorted(numbers)
        client.wait_for(lambda: self.totals() == expected(count), 60, "the totals")
        wanted = Counter[tuple[str, int]]()
        for sale in map(Sale, range(count)):
            wanted[sale.key, sale.at // 1000 * 1000] += sale.pieces
        found = Counter[tuple[str, int]]()
        for row in self.stage.read("seconds"):
            assert row.key is not None
            key = (row.key[:-8].decode(), int.from_bytes(row.key[-8:], "big"))
            assert key not in found
            found[key] = json.loads(row.value or b"")["pieces"]
        assert len(found) > len(wanted) * 9 // 10
        assert all(wanted[key] == pieces for key, pieces in found.items())

    def totals(self) -> dict[str, tuple[int, int]]:
        rows = [json.loads(row.value or b"") | {"item": (row.key or b"").decode()} for row in self.stage.read("totals")]
        return {row["item"]: (row["sales"], row["pieces"]) for row in rows}


def expected(count: int) -> dict[str, tuple[int, int]]:
    """Return the totals of the first sales."""
    sales = [Sale(number) for number in range(count)]
    return {
        item: (len(mine), sum(sale.pieces for sale in mine))
        for item in ITEMS
        if (mine := [sale for sale in sales if sale.item == item])
    }


def ended(life: Life) -> None:
    assert life.exit(120) == 0, life.log[-3000:]


def test_files_of_a_sink_are_read_up_to_its_positions(
    stage: Stage, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sink writes as a batch; the reader goes on behind its positions, as a batch and then live."""
    place = places.at("s3", f"{stage.app_id}/sales")
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    shop = Shop(stage, place.url, **place.environment)
    shop.send(range(2_000))
    ended(shop.program("writer", "write", app_id=f"{stage.app_id}-writer").start(arguments=["--batch"]))
    shop.send(range(2_000, 2_500))
    program = shop.program()
    ended(program.start(arguments=["--batch"]))
    shop.check(2_000)
    assert shop.passed() < 2_500
    life = program.start()
    shop.check(2_500)
    shop.send(range(2_500, 3_000))
    shop.check(3_000)
    assert life.stop() == 0


@pytest.mark.xdist_group("hdfs")
def test_files_in_hdfs_are_read_when_its_nodes_are_back(
    stage: Stage, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader begins while the name node is in safe mode, and goes on while a data node is dead."""
    try:
        place, cluster = places.at("hdfs", f"{stage.app_id}/sales"), places.server("hdfs")
    except Unavailable as reason:
        pytest.skip(f"left out: {reason}")
    assert isinstance(cluster, Hdfs)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    shop = Shop(stage, place.url, **place.environment)
    shop.send(range(22_000))
    ended(shop.program("writer", "write", app_id=f"{stage.app_id}-writer").start(arguments=["--batch"]))
    shop.send(range(22_000, 22_500))
    program = shop.program()
    cluster.kill_data_nodes()
    cluster.stop_name_node()
    cluster.start_name_node()
    life = program.start(failpoint="after-send-offsets:2")
    assert cluster.safe_mode
    cluster.start_data_nodes()
    assert life.exit(120) == -9, life.log[-3000:]
    cluster.kill_data_node(0)
    life = program.start()
    shop.check(22_500)
    cluster.start_data_nodes()
    assert life.stop() == 0
    assert "by the positions with them" in "".join(each.log for each in program.lives)


@pytest.mark.parametrize("form", ["iceberg", "delta"])
def test_a_table_of_a_sink_is_read_up_to_its_positions_through_kills(form: str, stage: Stage, tmp_path: Path) -> None:
    """The sink goes on writing while the reader has begun, from the version that it found first."""
    place = tmp_path / "lake"
    place.mkdir()
    writer_id = f"{stage.app_id}-writer"
    url = str(place) if form == "iceberg" else f"file://{place}/sales"
    shop = Shop(stage, url, FORMAT=form, WRITTEN_BY=f"{writer_id}/sales-out")
    shop.send(range(22_000))
    writer = shop.program("writer", "write", app_id=writer_id)
    ended(writer.start(arguments=["--batch"]))
    shop.send(range(22_000, 22_500))
    program = shop.program()
    for failpoint in ("after-send-offsets:2", "during-hand-over"):
        life = program.start(failpoint=failpoint)
        assert life.exit(90) == -9, life.log[-3000:]
        ended(writer.start(arguments=["--batch"]))
    life = program.start()
    shop.check(22_500)
    shop.send(range(22_500, 23_000))
    shop.check(23_000)
    assert life.stop() == 0
    assert "by the positions with them" in "".join(each.log for each in program.lives)


def test_kills_in_a_history_and_at_its_end(stage: Stage, tmp_path: Path) -> None:
    count, more = 48_000, 500
    shop = Shop(stage, f"file://{tmp_path}/lake/*.parquet", UNTIL=json.dumps(dict.fromkeys(range(PARTITIONS), 0)))
    shop.write_files(count, tmp_path / "lake")
    shop.send(range(count, count + more))
    program, within = shop.program(max_batch=200), list[int]()
    for failpoint in (
        "after-send-offsets:2",
        "during-commit-after:2",
        "after-commit-before-settle",
        "during-hand-over",
    ):
        life = program.start(failpoint=failpoint)
        assert life.exit(90) == -9, life.log[-3000:]
        within += shop.rows_done()
    assert any(within)  # some commits were in the middle of a record with many rows
    life = program.start()
    shop.check(count + more)
    assert life.stop() == 0


def test_instances_that_join_and_die_in_a_history(stage: Stage, tmp_path: Path) -> None:
    count, more = 30_000, 300
    shop = Shop(stage, f"file://{tmp_path}/lake", UNTIL=json.dumps(dict.fromkeys(range(PARTITIONS), 0)))
    shop.write_files(count, tmp_path / "lake")
    shop.send(range(count, count + more))
    programs = [shop.program(f"instance-{number}") for number in range(3)]
    first = programs[0].start()
    client.wait_for(lambda: shop.passed() > 0, 60, "rows of the history")
    second = programs[1].start()
    second.wait_for('"replayed":', 60)
    first.kill()
    third = programs[2].start()
    shop.check(count + more)
    assert (second.stop(), third.stop()) == (0, 0)


def test_a_batch_of_several_workers_and_instances(stage: Stage, tmp_path: Path) -> None:
    count = 8_000
    shop = Shop(stage, f"file://{tmp_path}/lake", UNTIL=json.dumps(dict.fromkeys(range(PARTITIONS), 0)))
    shop.write_files(count, tmp_path / "lake")
    shop.send(range(count, count + 100))
    lives = [shop.program("supervised").start(arguments=["--batch", "--workers", "2"])]
    lives.append(shop.program("alone").start(arguments=["--batch"]))
    for life in lives:
        ended(life)
    shop.check(count)
