"""Tables as histories of streams: rows at one version, in order, and the positions of the sink that wrote them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

import tidemill as tm
from tidemill.engine.clock import SYSTEM
from tidemill.engine.errors import Fatal
from tidemill.engine.history.pieces import PiecesEnd, encoded
from tidemill.engine.history.planning import pieces_at
from tidemill.engine.targets.target_threads import TargetThreads
from tidemill.operators.graph.history import History, HistoryInput, HistoryRows, PackedRows, SourceHistory

from .table_formats import DeltaFormat, IcebergFormat, View, Wider, given, session

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
INPUT = HistoryInput("views", "topic", tm.utf8, tm.json(Wider), own_time=False)


@pytest.fixture(params=["delta", "iceberg"])
def table(request: pytest.FixtureRequest) -> DeltaFormat | IcebergFormat:
    return request.getfixturevalue(request.param)


def write(table: DeltaFormat | IcebergFormat, *views: Any, partition: int = 0, first: int = 0, **more: Any) -> None:
    """Write views as the sink, each a second after the one before, counted back from a minute."""
    target = table.target(timestamp="at", **more).accept(given(tm.json(type(views[0]))))
    one = session(target, partition=partition)
    rows = [tm.Record("k", view, 60_000 - 1_000 * at, (), at) for at, view in enumerate(views, first)]
    one.write(rows, first + len(views))


def planned(history: History, until: Any = None, topic_id: str = "id") -> tuple[list[bytes], Mapping[int, int]]:
    """Return the pieces of a history, and where the topic begins."""

    def begins(positions: Mapping[int, int] | None) -> Mapping[int, int]:
        return {} if positions is None else positions

    *pieces, end = pieces_at(SourceHistory(0, history, until, INPUT), begins, (topic_id, 2))
    assert isinstance(end, PiecesEnd)
    return [encoded(piece) for piece in pieces], end.begins


def read(history: History, pieces: list[bytes]) -> list[tuple[int, str]]:
    """Return the times and users of the rows."""
    reader, unpacker = history.reader(INPUT), history.unpacker(INPUT)
    found: list[tuple[int, str]] = []
    for piece in pieces:
        for each in reader.read(piece):
            rows = unpacker.unpack(each.data) if isinstance(each, PackedRows) else each
            assert isinstance(rows, HistoryRows)
            found += zip(rows.timestamps, [value.user for value in rows.values], strict=True)
    return found


def written_by(table: DeltaFormat | IcebergFormat, **more: Any) -> History:
    return tm.history(table.target(timestamp="at"), written_by="app/sink", **more)


def test_rows_become_records_in_the_order_of_their_times(table: DeltaFormat | IcebergFormat) -> None:
    write(table, View("ann", 1.0, "buy"), View("bob", 2.0, "cart"), partition_by=["kind"])
    write(table, Wider("cid", 3.0, "buy", 7), partition=1, first=2)
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json(Wider), history=table.target(timestamp="at"), until={})
    views.to("out", value=tm.json(Wider))
    with tm.testing.TopologyDriver(app) as driver:
        found = [(record.timestamp, record.value) for record in driver.read("out")]
    rows = [Wider("cid", 3.0, "buy", 7), Wider("bob", 2.0, "cart"), Wider("ann", 1.0, "buy")]
    assert found == list(zip((58_000, 59_000, 60_000), rows, strict=True))


def test_the_topic_begins_where_the_sink_is(table: DeltaFormat | IcebergFormat) -> None:
    write(table, View("ann", 1.0), View("bob", 2.0))
    pieces, begins = planned(written_by(table))
    assert begins == {0: 2, 1: -1}
    assert read(written_by(table), pieces) == [(59_000, "bob"), (60_000, "ann")]
    write(table, View("cid", 3.0), partition=1)
    assert planned(written_by(table))[1] == {0: 2, 1: 1}


def test_later_versions_and_maintenance_change_nothing(table: DeltaFormat | IcebergFormat) -> None:
    write(table, View("ann", 1.0), View("bob", 2.0))
    pieces, _ = planned(written_by(table))
    write(table, View("cid", 3.0), first=2)
    if isinstance(table, DeltaFormat):
        table.table().optimize.compact()
        table.table().create_checkpoint()
    else:
        table.table().delete("user = 'ann'")
    assert read(written_by(table), pieces) == [(59_000, "bob"), (60_000, "ann")]
    assert len(read(written_by(table), planned(written_by(table))[0])) == (3 if isinstance(table, DeltaFormat) else 2)


def test_a_version_can_be_chosen(table: DeltaFormat | IcebergFormat) -> None:
    write(table, View("ann", 1.0))
    version = (
        table.table().version() if isinstance(table, DeltaFormat) else table.table().current_snapshot().snapshot_id
    )
    write(table, View("bob", 2.0), first=1)
    old = written_by(table, version=version)
    assert read(old, planned(old, until={})[0]) == [(60_000, "ann")]
    if isinstance(table, DeltaFormat):
        assert planned(old)[1] == {0: 1, 1: -1}
    else:
        with pytest.raises(tm.TopologyError, match="until="):
            planned(old)
    missing = written_by(table, version=987)
    with pytest.raises(tm.TopologyError, match=r"no (version|snapshot) 987"):
        planned(missing, until={})


def test_files_that_have_gone_are_named(table: DeltaFormat | IcebergFormat) -> None:
    write(table, View("ann", 1.0))
    pieces, _ = planned(written_by(table))
    place = table.url if isinstance(table, DeltaFormat) else table.catalog["warehouse"]
    for file in Path(place.removeprefix("file://")).rglob("*.parquet"):
        file.unlink()
    with pytest.raises(Fatal, match=r"file .*\.parquet: .* must stay while it is read"):
        read(written_by(table), pieces)


def test_until_leaves_out_later_rows(table: DeltaFormat | IcebergFormat) -> None:
    write(table, View("ann", 1.0), View("bob", 2.0), View("cid", 3.0))
    until = dt.datetime.fromtimestamp(60, dt.timezone.utc)
    history = tm.history(table.target(timestamp="at"))
    assert read(history, planned(history, until=until)[0]) == [(58_000, "cid"), (59_000, "bob")]


def test_positions_that_are_not_clear_are_refused(table: DeltaFormat | IcebergFormat) -> None:
    write(table, View("ann", 1.0))
    plain = tm.history(table.target(timestamp="at"))
    if isinstance(table, DeltaFormat):
        with pytest.raises(tm.TopologyError, match="written_by='application/step'"):
            planned(plain)
    else:
        assert planned(plain)[1] == {0: 1, 1: -1}
    with pytest.raises(tm.TopologyError, match="no sink"):
        planned(tm.history(table.target(), written_by="app/other"))


def test_a_table_of_other_writers(delta: DeltaFormat) -> None:
    """Its times may be in the folders, and not in the files."""
    days = pa.array([dt.date(2026, 1, 2), dt.date(2026, 1, 1)])
    write_deltalake(delta.url, pa.table({"user": ["a", "b"], "amount": [1.0, 2.0], "day": days}), partition_by=["day"])
    history = tm.history(delta.target(), timestamp="day")
    assert [user for _, user in read(history, planned(history, until={})[0])] == ["b", "a"]


def test_what_makes_no_sense_is_refused(delta: DeltaFormat, iceberg: IcebergFormat) -> None:
    for table in (delta, iceberg):
        with pytest.raises((tm.TopologyError, Fatal), match="history"):
            planned(tm.history(table.target()), until={})
    write(iceberg, View("ann", 1.0))
    with pytest.raises(tm.TopologyError, match="no column 'usr', the key; did you mean"):
        planned(tm.history(iceberg.target(), key="usr"), until={})
    with pytest.raises(tm.TopologyError, match="are for tables"):
        tm.history("file:///lake", version=1)
    with pytest.raises(tm.TopologyError, match="are for tables"):
        tm.history("file:///lake", written_by="app/sink")
    with pytest.raises(tm.TopologyError, match="the application and the step"):
        tm.history(delta.target(), written_by="app")


@pytest.mark.parametrize("form", ["parquet", "delta", "iceberg"])
@pytest.mark.parametrize("topic_id", ["a/+b//c", "/+d/"])
def test_ids_of_topics_may_have_slashes(
    form: str, topic_id: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As the client library gives them: the topic begins where the sink is with any id."""
    given_table = None if form == "parquet" else request.getfixturevalue(form)
    if given_table is None:
        target = tm.parquet(f"file://{tmp_path}/files", key={"key": "string"}, timestamp="at")
        history = tm.history(f"file://{tmp_path}/files", timestamp="at", key="key")
    else:
        target, history = given_table.target(timestamp="at"), written_by(given_table)
    threads = TargetThreads("app", SYSTEM, 10_000)
    threads.at_end = True
    writer = threads.writer(target.accept(given(tm.json(View), tm.utf8)), "sink", "topic", topic_id, 1)
    writer.write([tm.Record("k", View("ann", 1.0), 60_000, (), 0)], 1)
    for ready in (lambda: writer.outcome() is not None, lambda: writer.staged is None):
        deadline = time.monotonic() + 20
        while not ready():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    writer.close()
    assert planned(history, topic_id=topic_id)[1] == {0: -1, 1: 1}
