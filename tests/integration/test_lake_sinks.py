"""Sinks to data lakes write each row once: with kills, zombies, and storage outages."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.brokers import client
from tests.object_stores.hdfs import Hdfs
from tests.object_stores.places import Places
from tests.object_stores.s3 import S3
from tests.support.maven import Unavailable

from .eos import trial
from .eos.deaths import Death
from .lakes import Lake
from .program import Life
from .sink_trial import SinkTrial
from .stage import Stage

pytestmark = [
    *(pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(300)),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
KILLS = int(os.environ.get("TIDEMILL_TEST_KILLS", "3"))
OUTAGE_SECONDS = int(os.environ.get("TIDEMILL_TEST_OUTAGE", "5"))
ALL = os.environ.get("TIDEMILL_TEST_LAKES") == "all"

PLACES = (
    "before-target-write",
    "during-target-write",
    "after-target-write",
    "during-target-publish",
    "between-target-files",
    "after-send-offsets",
)
OF_FILES = ("during-target-publish", "between-target-files")


class Trial(SinkTrial):
    """The program, its input and its lake."""

    module = "to_lake.py"

    def __init__(self, stage: Stage, lake: Lake, **settings: object) -> None:
        super().__init__(stage, **settings)
        self.lake = lake

    @property
    def variables(self) -> dict[str, str]:
        where = {"LAKE": self.lake.url, "KIND": self.lake.kind, "CATALOGS": json.dumps(self.lake.catalogs)}
        return {**where, **self.lake.environment}

    def written(self) -> int:
        return len(self.lake.rows())

    def finish(self, lives: Sequence[Life]) -> None:
        """Wait until everything is written, and compare the rows with those of a batch."""
        client.wait_for(lambda: self.written() >= self.sales.made, 90, f"{self.sales.made} sales in the lake")
        if self.lake.kind != "parquet":
            client.wait_for(lambda: self.totals() == self.expected(), 90, "the totals")
        for life in lives:
            assert life.stop() == 0
        rows = [(row["number"], row["item"], row["pieces"]) for row in self.lake.rows()]
        assert sorted(rows) == self.sales.all

    def totals(self) -> list[tuple[str, int, int]]:
        """The rows of the table by item."""
        return sorted((row["item"], row["sales"], row["pieces"]) for row in self.lake.rows("totals"))

    def expected(self) -> list[tuple[str, int, int]]:
        """What a batch computation gives for it."""
        count, pieces = Counter[str](), Counter[str]()
        for _, item, number in self.sales.all:
            count[item] += 1
            pieces[item] += number
        return sorted((item, count[item], pieces[item]) for item in count)


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch) -> Lake:
    kind, scheme = request.param
    uris = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("sales", "totals")}
    catalogs = {name: {"name": "lake", "type": "sql", "uri": uri} for name, uri in uris.items()}
    if scheme == "file":
        url = f"file://{tmp_path}/lake/sales"
        return Lake(kind, url, catalogs={name: {**one, "warehouse": url} for name, one in catalogs.items()})
    try:
        place = places.at("s3-apart" if (kind, scheme) == ("delta", "s3") else scheme, f"{tmp_path.name}/sales")
    except Unavailable as reason:
        pytest.skip(f"left out: {reason}")
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    access = {"s3.access-key-id": "a", "s3.secret-access-key": "b", "s3.region": "us-east-1"}
    access |= {"warehouse": place.url, "s3.endpoint": place.environment.get("AWS_ENDPOINT_URL", "")}
    return Lake(kind, place.url, place.environment, {name: {**one, **access} for name, one in catalogs.items()})


def lakes(*names: str, others: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """Return the lakes to test; all of them on request."""
    names += others if ALL else ()
    pairs = [tuple(name.split("-")) for name in names]
    return pytest.mark.parametrize("lake", pairs, ids=names, indirect=True)


@pytest.mark.timeout(120 + 20 * KILLS)
@lakes("parquet-s3", "iceberg-file", "delta-file", others=("parquet-file", "parquet-hdfs", "iceberg-s3", "delta-s3"))
def test_each_row_once_through_kills(stage: Stage, lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    seed, chance = trial.seeded()
    count = KILLS * 2 // 3
    reached = PLACES if lake.kind == "parquet" else [place for place in PLACES if place not in OF_FILES]
    deaths = [Death(place, nth=chance.choice((1, 2, 5))) for place in chance.sample([*reached] * KILLS, count)]
    deaths += [Death(working=True, after=chance.uniform(0, 1.5)) for _ in range(KILLS - count)]
    Trial(stage, lake).survive(deaths, seed, chance, capsys, f"{lake.kind}, ")


@lakes("iceberg-file", others=("parquet-s3", "parquet-file", "parquet-hdfs", "iceberg-s3", "delta-file", "delta-s3"))
@pytest.mark.parametrize("place", ["during-target-write", *(["during-target-publish"] if ALL else [])])
def test_an_owner_that_was_paused_in_a_commit_is_refused(stage: Stage, lake: Lake, place: str) -> None:
    """It is paused, replaced, and resumed."""
    if lake.kind != "parquet" and place in OF_FILES:
        pytest.skip("it publishes no files")
    one = Trial(stage, lake, session_timeout="6s", heartbeat_interval="1s")
    one.replace_while_paused(place)


@pytest.mark.timeout(300 + 2 * OUTAGE_SECONDS)
@lakes("parquet-s3", others=("parquet-hdfs", "iceberg-s3", "iceberg-file", "delta-file"))
def test_an_unavailable_storage_stalls_only_the_sink(stage: Stage, lake: Lake, places: Places) -> None:
    one = Trial(stage, lake)
    life = one.program().start()
    with one.feed():
        client.wait_for(lambda: one.written() > 100, 60, "rows")
        bring_back = _take_away(lake, places)
        try:
            life.wait_for("the target is unavailable", 60)
            time.sleep(OUTAGE_SECONDS)
        finally:
            bring_back()
        life.wait_for("available again", 60)
    one.finish([life])
    assert "membership lost" not in life.log


def _take_away(lake: Lake, places: Places) -> Callable[[], None]:
    """Make a storage fail, and return the function that restores it."""
    scheme, _, path = lake.url.partition("://")
    if scheme == "file":
        folder, away = Path(path), Path(f"{path}-away")
        folder.rename(away)
        folder.write_text("this is no directory")
        return lambda: (folder.unlink(), away.rename(folder))[0]
    server = places.server(scheme)
    if isinstance(server, Hdfs):
        server.kill_data_nodes()
        return server.start_data_nodes
    assert isinstance(server, S3)
    server.stop()
    return server.restart
