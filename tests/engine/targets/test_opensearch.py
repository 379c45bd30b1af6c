"""Tests of OpenSearch as a target, on a real server: rows, versions, fencing, requests that come late, crashes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tests.brokers.opensearch import SearchServer
from tidemill.engine.targets import opensearch_client, opensearch_session
from tidemill.engine.targets.batch_writer import BatchWriter
from tidemill.engine.targets.opensearch_session import OFFSET_BITS
from tidemill.operators.graph.target import TargetInput

pytestmark = pytest.mark.slow
OPEN: list[tm.TargetSession] = []
TABLE = TargetInput(tm.utf8, tm.json, windowed=False, table=True)


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def index() -> str:
    """An index that no other test has."""
    return f"rows-{uuid.uuid4().hex[:12]}"


def target(server: SearchServer, index: str) -> tm.Target:
    return tm.opensearch(server.url, index, positions=f"{index}-positions").accept(TABLE)


def session(
    server: SearchServer, index: str, *, topic_id: str = "id", partition: int = 0, epoch: str = ""
) -> tm.TargetSession:
    task = tm.TargetTask("app", "totals", "topic", topic_id, partition)
    one = target(server, index).open(task, epoch or uuid.uuid4().hex)
    OPEN.append(one)
    one.position()
    return one


def records(*pairs: tuple[Any, Any], first: int = 0) -> list[tm.Record[Any, Any]]:
    return [tm.Record(key, value, 1_000 + n, (), first + n) for n, (key, value) in enumerate(pairs)]


class View(msgspec.Struct):
    user: str
    amount: float


def test_rows_are_kept_by_key(search: SearchServer, index: str) -> None:
    one = session(search, index)
    assert one.position() is None
    one.write(records(("a", View("ann", 1.0)), ("b", View("bob", 2.0)), ("a", None), ("c", View("cid", 3.0))), 4)
    assert one.position() == 4
    one.write(records(("a", View("ann", 4.0)), ("c", None), ("d", None), ("b", {}), first=4), 8)
    one.write([], 9)
    assert search.rows(index) == {"a": {"user": "ann", "amount": 4.0}, "b": {}}
    assert one.position() == 9
    assert search.version(index, "b") == (1 << OFFSET_BITS) + 8


def test_keys_and_values_as_they_are_written(search: SearchServer, index: str) -> None:
    one = session(search, index)
    window, key = tm.Windowed("é/ü", 60_000, 120_000), uuid.UUID(int=7)
    broken = msgspec.Raw(b'{"n":\n7}')
    one.write(records((window, {"n": 5}), (17, {"n": None}), (key, broken), (b"raw", {}), (("a", 1), {"n": [1]})), 5)
    rows = {"é/ü:60000:120000": {"n": 5}, "17": {"n": None}, str(key): {"n": 7}, "raw": {}, '["a",1]': {"n": [1]}}
    assert search.rows(index) == rows


def test_rows_without_a_form_are_refused(search: SearchServer, index: str) -> None:
    one = session(search, index)
    wrong = [("b", float("nan")), ("c", object()), ("d", 5), ("e", [1]), ("f", {"n": float("inf")}), ("", {})]
    with pytest.raises(tm.RecordsRefused) as failure:
        one.write(records(("a", {"n": 1}), *wrong, (b"\xff", {}), ("x" * 513, {}), ("x" * 512, {})), 10)
    assert sorted(failure.value.errors) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "an object of JSON, such as a dict or a struct, not a int" in str(failure.value.errors[3])
    assert one.position() is None
    assert search.rows(index) == {}


def test_documents_that_the_mapping_refuses(search: SearchServer, index: str) -> None:
    """The row of a key is then the last one that is not refused."""
    one = session(search, index)
    one.write(records(("a", {"n": 1})), 1)
    rows = records(("a", {"n": 2}), ("b", {"n": 3}), ("a", {"n": "many"}), ("c", {"n": {"m": 1}}), first=1)
    with pytest.raises(tm.RecordsRefused) as failure:
        one.write(rows, 5)
    assert sorted(failure.value.errors) == [2, 3]
    assert "failed to parse field [n] of type [long] in document with id 'a'" in str(failure.value.errors[2])
    assert one.position() == 1
    one.write(rows[:2], 5)
    assert (search.rows(index), one.position()) == ({"a": {"n": 2}, "b": {"n": 3}}, 5)


def test_a_former_owner_is_refused(search: SearchServer, index: str) -> None:
    first = session(search, index)
    first.write(records(("a", {"n": 1})), 1)
    second = session(search, index)
    assert second.position() == 1
    for _ in range(2):
        with pytest.raises(tm.TargetFenced):
            first.write(records(("a", {"n": 2}), first=1), 2)
        with pytest.raises(tm.TargetFenced):
            first.write([], 2)
        with pytest.raises(tm.TargetFenced):
            first.position()
    second.write(records(("b", {"n": 3}), first=1), 2)
    assert search.rows(index) == {"a": {"n": 1}, "b": {"n": 3}}


def test_a_former_owner_that_stood_still_inside_its_write_changes_nothing(
    search: SearchServer, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request comes after its successor has written later rows, and deleted one."""
    first = session(search, index)
    stale = records(("a", {"n": 1}), ("b", {"n": 1}), ("c", {"n": 1}))
    bulk = opensearch_session.OpenSearchSession._bulk

    def late(self: Any, rows: Any, body: bytes) -> Any:
        monkeypatch.undo()
        second = session(search, index)
        second.write([*stale, *records(("a", {"n": 2}), ("b", None), first=3)], 5)
        return bulk(self, rows, body)

    monkeypatch.setattr(opensearch_session.OpenSearchSession, "_bulk", late)
    with pytest.raises(tm.TargetFenced):
        first.write(stale, 3)
    assert search.rows(index) == {"a": {"n": 2}, "c": {"n": 1}}
    assert session(search, index).position() == 5


def test_the_position_is_behind_the_rows(search: SearchServer, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash in between, the rows are written again with the same versions."""

    def crash(place: str) -> None:
        raise KeyboardInterrupt(place)

    one = session(search, index)
    rows = records(("a", {"n": 1}), ("b", {"n": 2}), ("a", {"n": 3}))
    with monkeypatch.context() as patch:
        patch.setattr(opensearch_session, "hit", crash)
        with pytest.raises(KeyboardInterrupt, match="during-target-write"):
            one.write(rows, 3)
    right = {"a": {"n": 3}, "b": {"n": 2}}
    assert search.rows(index) == right
    again = session(search, index)
    assert again.position() is None
    again.write(rows[:1], 1)
    assert search.rows(index) == right, "a row was set back"
    again.write(rows[1:], 3)
    assert (search.rows(index), again.position()) == (right, 3)
    assert search.version(index, "a") == (1 << OFFSET_BITS) + 3


@pytest.mark.parametrize("where", ["topic", "partition"])
def test_a_task_that_is_new_is_later_than_what_there_is(search: SearchServer, index: str, where: str) -> None:
    """A topic that is made again, or one with more partitions, begins at offset 0."""
    one = session(search, index)
    one.write(records(("a", {"n": 1}), ("b", {"n": 1}), first=5_000), 5_002)
    new = session(search, index, topic_id="other") if where == "topic" else session(search, index, partition=1)
    assert new.position() is None
    new.write(records(("a", {"n": 2}), ("b", None)), 2)
    assert search.rows(index) == {"a": {"n": 2}}


@pytest.mark.parametrize("latest", [{"n": 2}, None])
def test_rows_that_another_task_has_written_since_are_not_dropped(
    search: SearchServer, index: str, latest: dict[str, int] | None
) -> None:
    """The task takes a new generation: after a key came to another partition, or back from another application."""
    one = session(search, index)
    one.write(records(("a", {"n": 1})), 1)
    session(search, index, partition=1).write(records(("a", {"n": 2}), ("a", latest)), 2)
    late = records(("a", {"n": 3}), first=1)
    with pytest.raises(tm.TargetFenced, match="another sink, or another partition, has written a row"):
        one.write(late, 2)
    again = session(search, index)
    assert again.position() == 1
    again.write(late, 2)
    assert (search.rows(index), again.position()) == ({"a": {"n": 3}}, 2)
    assert search.version(index, "a") == (3 << OFFSET_BITS) + 2


@pytest.mark.parametrize("rows", [records(("a", {"n": 1})), []])
def test_a_late_write_of_the_position_sets_nothing_back(
    search: SearchServer, index: str, rows: list[tm.Record[Any, Any]]
) -> None:
    late = session(search, index, epoch="epoch")
    one = session(search, index, epoch="epoch")
    late.position()
    one.write(records(("a", {"n": 1}), ("a", {"n": 2})), 2)
    with pytest.raises(tm.TargetUnavailable, match="position"):
        late.write(rows, 1)
    assert search.rows(index) == {"a": {"n": 2}}
    assert late.position() == 2


def test_large_writes_are_divided(search: SearchServer, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch_session, "MOST_BYTES", 1_000)
    sizes: list[int] = []
    bulk = opensearch_session.OpenSearchSession._bulk
    monkeypatch.setattr(
        opensearch_session.OpenSearchSession,
        "_bulk",
        lambda self, rows, body: sizes.append(len(body)) or bulk(self, rows, body),
    )
    one = session(search, index)
    rows = [(f"k{number}", {"text": "x" * (5 * number)}) for number in range(250, 290)]
    one.write(records(*rows), 40)
    assert search.rows(index) == dict(rows)
    assert (len(sizes), max(sizes) < 1_600) == (40, True)
    one.write(records(*((f"k{number}", {"text": "x"}) for number in range(100)), first=40), 140)
    assert 8 < len(sizes) - 40 < 14
    assert max(sizes[40:]) <= 1_000


def test_a_write_that_a_stopped_server_carries_out_late_changes_nothing(
    own_search: SearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner has connected again by then, and has written more."""
    monkeypatch.setattr(opensearch_client, "TIMEOUT", 2)
    writer = BatchWriter(target(own_search, "late"), tm.TargetTask("app", "s", "t", "id", 0), "epoch")
    eventually(writer, records(("a", {"n": 1})), 1)
    own_search.pause()
    with pytest.raises(tm.TargetUnavailable):
        writer.write(records(("a", {"n": 2}), first=1), 2)
    own_search.resume()
    eventually(writer, records(("a", {"n": 2}), ("a", {"n": 3}), ("b", None), first=1), 4)
    writer.close()
    assert own_search.rows("late") == {"a": {"n": 3}}


def eventually(writer: BatchWriter, rows: list[tm.Record[Any, Any]], position: int) -> None:
    """Write as the thread of a sink does."""
    for _ in range(60):
        try:
            assert writer.write(rows, position) == {}
            return
        except tm.TargetUnavailable:
            continue
    raise AssertionError("the server does not come back")


def test_a_crash_of_the_server_in_between(own_search: SearchServer) -> None:
    writer = BatchWriter(target(own_search, "x"), tm.TargetTask("app", "s", "t", "id", 0), "epoch")
    assert writer.write(records(("a", {"n": 1}), ("c", {"n": 1}), ("c", None)), 3) == {}
    own_search.kill()
    for _ in range(2):
        with pytest.raises(tm.TargetUnavailable, match="Connection refused"):
            writer.write(records(("b", {"n": 2}), first=3), 4)
    own_search.start()
    assert writer.write(records(("b", {"n": 2}), first=3), 4) == {}
    assert own_search.rows("x") == {"a": {"n": 1}, "b": {"n": 2}}
    writer.close()
