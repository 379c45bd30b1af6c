"""Property tests of OpenSearch as a target: requests fail, get no answer, come late, and owners are replaced.

The server is a model: documents with external versions, and positions that are changed with their sequence number. At
the end all late requests have come, and the rows are those of the newest topic.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tidemill as tm
from tests.support.examples import examples
from tidemill.engine.targets.batch_writer import BatchWriter
from tidemill.engine.targets.opensearch import OpenSearch
from tidemill.engine.targets.opensearch_session import OFFSET_BITS, OpenSearchSession

KEYS = 4
HOW = ["succeeds", "succeeds", "succeeds", "fails", "answers not", "comes late", "half"]


def topic(number: int) -> list[tm.Record[Any, Any]]:
    """Return the records of a topic; each has another content, deletes some rows, and has some bad records."""
    found: list[tm.Record[Any, Any]] = []
    for offset in range(40):
        turn = (offset * 7 + number * 3) % 11
        value = None if turn == 5 else {"n": "bad" if turn == 8 else offset + 100 * number}
        found.append(tm.Record(f"k{(offset * 3 + offset // 5) % KEYS}", value, 0, (), offset))
    return found


def is_bad(record: tm.Record[Any, Any]) -> bool:
    return record.value is not None and record.value["n"] == "bad"


@dataclass
class Server:
    """What is durable, and the requests that have not come yet."""

    rows: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Version and value by id; None for a document that was deleted."""
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    late: list[Callable[[], object]] = field(default_factory=list)
    how: list[str] = field(default_factory=list)
    """What becomes of the next requests that change something; they succeed if it does not say."""
    changes: int = 0

    def change(self, request: Callable[[bool], Any]) -> Any:
        """Carry out a request, or not, or without an answer, or later, or half."""
        how = self.how.pop(0) if self.how else "succeeds"
        if how == "comes late":
            self.late.append(lambda: request(False))
        if how in ("fails", "comes late"):
            raise tm.TargetUnavailable(how)
        answer = request(how == "half")
        if how == "answers not":
            raise tm.TargetUnavailable(how)
        return answer

    def put(self, name: str, body: Any, former: Any) -> Any:
        there = self.documents.get(name)
        expected = None if former is None else former["_seq_no"]
        if (None if there is None else there["_seq_no"]) != expected:
            return None
        self.changes += 1
        self.documents[name] = {"_seq_no": self.changes, "_primary_term": 1, "_source": dict(body)}
        return self.documents[name]

    def bulk(self, body: bytes, half: bool) -> Any:
        lines = iter(body.decode().splitlines())
        items: list[Any] = []
        for number, line in enumerate(lines):
            ((action, about),) = json.loads(line).items()
            value = None if action == "delete" else json.loads(next(lines))
            items.append({action: self.item(about, value, half and number % 2 == 1)})
        return {"items": items}

    def item(self, about: Any, value: Any, busy: bool) -> Any:
        if busy:
            return {"status": 429, "error": {"type": "rejected_execution", "reason": "busy"}}
        if value is not None and value["n"] == "bad":
            return {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "bad"}}
        version, _ = self.rows.get(about["_id"], (0, None))
        if about["version"] < version:
            reason = f"current version [{version}] is higher than the one provided"
            return {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": reason}}
        self.rows[about["_id"]] = about["version"], value
        return {"status": 200}


class ModelClient:
    """The client of a session, whose requests go to the model."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def get(self, index: str, name: str) -> Any:
        return self.server.documents.get(name)

    def put(self, index: str, name: str, body: Any, former: Any) -> Any:
        body = dict(body)
        return self.server.change(lambda half: self.server.put(name, body, former))

    def asked(self, request: Callable[[Any], Any]) -> Any:
        return request(self)

    def bulk(self, index: str, body: bytes, params: Any) -> Any:
        return self.server.change(lambda half: self.server.bulk(body, half))

    def failure(self, status: int, text: str) -> Exception:
        return tm.TargetUnavailable(text)

    def close(self) -> None: ...


class ModelSession(OpenSearchSession):
    def _has_versions(self) -> bool:
        return any(version >> OFFSET_BITS for version, _ in cast("ModelClient", self.client).server.rows.values())


@dataclass
class ModelTarget(tm.Target):
    server: Server

    def open(self, task: tm.TargetTask, epoch: str) -> tm.TargetSession:
        client: Any = ModelClient(self.server)
        session = ModelSession(client, OpenSearch("http://localhost", "rows", None, "positions"), task, epoch)
        session.claim()
        return session


class SinkOwner:
    """A process that has the task."""

    def __init__(self, server: Server, number: int, made: int) -> None:
        self.number = number
        self.task = tm.TargetTask("app", "sink", "topic", f"id-{number}", 0)
        self.writer = BatchWriter(ModelTarget(server), self.task, f"epoch {made}")
        self.records = topic(number)
        self.batch: list[tm.Record[Any, Any]] = []
        self.end = 0
        self.fenced = False

    def write(self, count: int) -> None:
        """Write the next records, or again those that failed."""
        if self.fenced:
            return
        if not self.batch:
            self.batch = self.records[self.end : self.end + count]
            self.end += len(self.batch)
        try:
            while refused := self.writer.write(self.batch, self.end):
                assert all(is_bad(self.batch[index]) for index in refused)
                self.batch = [record for index, record in enumerate(self.batch) if index not in refused]
        except tm.TargetUnavailable:
            return
        except tm.TargetFenced:
            self.fenced = True
            return
        self.batch = []


class Searches(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.server = Server()
        self.newest = self.made = 0
        self.owners: list[SinkOwner] = []
        self.replace()

    @rule()
    def replace(self) -> None:
        self.owners.append(SinkOwner(self.server, self.newest, self.made))
        self.made += 1

    @precondition(lambda self: self.newest < 3)
    @rule()
    def make_topic_again(self) -> None:
        """Who has read the former topic and has not opened the target can do so no more, as its task is gone."""
        self.owners = [owner for owner in self.owners if owner.writer._session is not None]
        self.newest += 1
        self.replace()

    @rule(data=st.data(), count=st.integers(1, 9), how=st.lists(st.sampled_from(HOW), max_size=4))
    def write(self, data: st.DataObject, count: int, how: list[str]) -> None:
        self.server.how = how
        data.draw(st.sampled_from(self.owners)).write(count)

    @precondition(lambda self: self.server.late)
    @rule(data=st.data())
    def come_late(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.server.late) - 1))
        self.server.late.pop(number)()

    @invariant()
    def rows_before_the_position_are_there(self) -> None:
        if not hasattr(self, "server"):
            return
        found = self.server.documents.get(str(self.owners[-1].task))
        position = 0 if found is None else found["_source"]["position"] or 0
        last = {one.key: one.offset for one in topic(self.newest)[:position] if not is_bad(one)}
        for key, offset in last.items():
            version, value = self.server.rows[key]
            assert (version & ((1 << OFFSET_BITS) - 1)) - 1 >= offset
            assert value is None or value["n"] // 100 == self.newest

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        self.server.how = []
        for _ in range(2):
            for owner in self.owners:
                owner.write(9)
            self.replace()
            while self.owners[-1].end < 40 or self.owners[-1].batch:
                self.owners[-1].write(9)
                if self.owners[-1].fenced:
                    self.replace()
            while self.server.late:
                self.server.late.pop()()
            right = {one.key: one.value for one in topic(self.newest) if not is_bad(one)}
            assert {key: value for key, (_, value) in self.server.rows.items()} == right


TestSearches = Searches.TestCase
TestSearches.settings = examples(300, stateful_step_count=50)
