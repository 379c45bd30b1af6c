"""One owner's access to OpenSearch.

Imported only where OpenSearch is a target, because it needs the extra `opensearch`.

OpenSearch has no transactions, so what is written twice, or late, must change nothing. Each document is written with a
version, and OpenSearch refuses one that is lower than what it has:

    version = generation of the task << 42 | offset of the record in the topic + 1

A generation belongs to one task, which is one partition of one topic. A task that is new takes the next one of the
index, so what it writes is later than what the tasks of a former topic wrote. The position follows the rows: after a
crash in between, the rows are written again with the same versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ...operators.errors import ConfigError, TidemillError
from ...operators.graph.target import RecordsRefused, TargetFenced, TargetSession, TargetTask, TargetUnavailable
from ...operators.record import Record
from ...operators.serdes.json import check_finite
from ..failpoints import hit
from .opensearch import OpenSearch
from .opensearch_client import BLOCKED, CLOSED, OpenSearchClient
from .opensearch_indices import prepare
from .row_names import encode, row_name

__all__ = ["OpenSearchSession", "opened"]

OFFSET_BITS: Final = 42
"""4 million million records of a partition. A version has 63 bits, so an index has two million generations."""
OUTDATED: Final = 0
"""No task has this generation: one that is to take a new one is given it."""
MOST_BYTES: Final = 4 << 20
"""Of one request, which a slow server can carry out in time. By default servers take 100 MB."""
LONGEST_ID: Final = 512
"""Bytes of UTF-8."""
ATTEMPTS: Final = 20
SAMPLE: Final = 1000
CONFLICT: Final = re.compile(r"current version \[(\d+)\]")


def opened(target: OpenSearch, task: TargetTask, epoch: str) -> OpenSearchSession:
    """Create what is missing, check the indices, and make `epoch` the one that may write."""
    session = OpenSearchSession(OpenSearchClient(target, task.sink), target, task, epoch)
    try:
        prepare(session.client, target)
        session.claim()
    except BaseException:
        session.close()
        raise
    return session


class Row(NamedTuple):
    """A document that is to be written or deleted."""

    name: str
    record: int
    """The index of its record."""
    offset: int
    source: bytes | None


class OpenSearchSession(TargetSession):
    """The session of one epoch."""

    def __init__(self, client: OpenSearchClient, target: OpenSearch, task: TargetTask, epoch: str) -> None:
        self.client = client
        self._target = target
        self._task = task
        self._epoch = epoch
        self._place = str(task)
        self._found: Mapping[str, Any] = {}
        """The document of the position, as it was last read or written."""

    def claim(self) -> None:
        """Set the epoch; a new task takes a generation."""
        for _ in range(ATTEMPTS):
            found = self.client.get(self._target.positions, self._place)
            former: Mapping[str, Any] = {} if found is None else found["_source"]
            generation = former.get("generation", OUTDATED)
            if generation == OUTDATED:
                generation = self._next_generation()
            if self._put(found, former.get("position"), generation):
                return
        raise TargetUnavailable(f"other owners open {self._place} all the time")

    def position(self) -> int | None:
        return self._own()["position"]

    def write(self, records: Sequence[Record[Any, Any]], position: int) -> None:
        rows: dict[str, Row] = {}
        wrong: dict[int, Exception] = {}
        for index, record in enumerate(records):
            try:
                row = _row(index, record)
            except Exception as error:
                wrong[index] = error
            else:
                rows[row.name] = row
        if wrong:
            raise RecordsRefused(wrong)
        former = self._found
        for chunk in _chunks(list(rows.values()), former["_source"]["generation"]):
            if self._own() != former["_source"]:
                raise TargetUnavailable(f"the position of {self._place} has changed")
            wrong.update(self._bulk(*chunk))
        if wrong:
            raise RecordsRefused(wrong)
        hit("during-target-write")
        if not self._put(former, position, former["_source"]["generation"]):
            self._own()
            raise TargetUnavailable(f"the position of {self._place} was written late")

    def close(self) -> None:
        self.client.close()

    def _own(self) -> Mapping[str, Any]:
        """Read the document of the position. Raises TargetFenced if its epoch is another one."""
        found = self.client.get(self._target.positions, self._place)
        if found is None or found["_source"].get("epoch") != self._epoch:
            raise TargetFenced(f"another owner has opened {self._place} in {self._target.positions!r} since")
        self._found = found
        return found["_source"]

    def _put(self, former: Mapping[str, Any] | None, position: int | None, generation: int) -> bool:
        """Write the document of the position; return whether `former` was there still."""
        task = self._task
        source = {
            "application": task.application,
            "sink": task.sink,
            "topic": task.topic,
            "topic_id": task.topic_id,
            "partition": task.partition,
            "index": self._target.index,
            "epoch": self._epoch,
            "generation": generation,
            "position": position,
        }
        written = self.client.put(self._target.positions, self._place, source, former)
        if written is None:
            return False
        self._found = {**written, "_source": source}
        return True

    def _next_generation(self) -> int:
        """Return a generation that no task of the index has had."""
        positions, name = self._target.positions, f"generation:{self._target.index}"
        for _ in range(ATTEMPTS):
            found = self.client.get(positions, name)
            if found is None and self._has_versions() and self.client.get(positions, name) is None:
                raise self.client.misfit(
                    f"documents of the index have versions of a sink, and {positions!r} does not know of it any more: "
                    "new versions might be lower, and be refused. Delete the index, or write to another one"
                )
            last = OUTDATED if found is None else found["_source"]["generation"]
            source = {"index": self._target.index, "generation": last + 1}
            if self.client.put(positions, name, source, found) is not None:
                return last + 1
        raise TargetUnavailable(f"other tasks open the index {self._target.index!r} all the time")

    def _has_versions(self) -> bool:
        """Return whether some documents of the index have versions of a sink."""
        index = self._target.index
        self.client.asked(lambda server: server.indices.refresh(index=index))
        query = {"size": SAMPLE, "version": True, "_source": False, "sort": ["_doc"]}
        found = self.client.asked(lambda server: server.search(index=index, body=query))
        return any(one["_version"] >> OFFSET_BITS for one in found["hits"]["hits"])

    def _bulk(self, rows: Sequence[Row], body: bytes) -> Mapping[int, Exception]:
        """Write documents, and return which were refused.

        Raises TargetUnavailable if any was not written for another reason.
        """
        filters = {"filter_path": "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by"}
        answer = self.client.asked(lambda server: server.bulk(index=self._target.index, body=body, params=filters))
        refused: dict[int, Exception] = {}
        later: Exception | None = None
        outdated = False
        for row, item in zip(rows, answer["items"], strict=True):
            (result,) = item.values()
            status, error = result["status"], result.get("error")
            if error is None:
                continue  # 404: there was nothing to delete
            kind, reason = error["type"], str(error.get("reason"))
            if status == 409:
                outdated = outdated or self._is_foreign(reason)
            elif status == 400 and kind not in (CLOSED, BLOCKED):
                refused[row.record] = ValueError(f"OpenSearch refuses the document {row.name!r}: {_why(error)}")
            else:
                later = self.client.failure(status, f"{kind}: {reason}")
                if isinstance(later, ConfigError):
                    raise later
        if outdated:
            self._put(self._found, self._found["_source"]["position"], OUTDATED)
            raise TargetFenced(
                f"another sink, or another partition, has written a row of {self._place} in the index "
                f"{self._target.index!r} since it was opened"
            )
        if later is not None:
            raise later
        return refused

    def _is_foreign(self, reason: str) -> bool:
        """Return whether the version that is there is another task's.

        Otherwise it is that of a later record of the row.
        """
        found = CONFLICT.search(reason)
        if found is None:
            raise TidemillError(f"the server does not say which version it has: {reason}")
        return int(found[1]) >> OFFSET_BITS != self._found["_source"]["generation"]


def _chunks(rows: Sequence[Row], generation: int) -> Iterator[tuple[list[Row], bytes]]:
    """Divide rows into the bodies of requests; each has one at least."""
    chunk: list[Row] = []
    lines: list[bytes] = []
    size = 0
    for row in rows:
        version = (generation << OFFSET_BITS) + row.offset + 1
        action = {"_id": row.name, "version": version, "version_type": "external_gte"}
        line = encode({"delete" if row.source is None else "index": action}) + b"\n"
        if row.source is not None:
            line += row.source + b"\n"
        if chunk and size + len(line) > MOST_BYTES:
            yield chunk, b"".join(lines)
            chunk, lines, size = [], [], 0
        chunk.append(row)
        lines.append(line)
        size += len(line)
    if chunk:
        yield chunk, b"".join(lines)


def _row(index: int, record: Record[Any, Any]) -> Row:
    """Return the document of a record. Raises ValueError and the like if there can be none."""
    name = row_name(record.key).decode()
    if not 0 < len(name.encode()) <= LONGEST_ID:
        raise ValueError(f"the id of a document has 1 to {LONGEST_ID} bytes, and the key has {len(name.encode())}")
    return Row(name, index, record.offset, None if record.value is None else _source(record.value))


def _source(value: Any) -> bytes:
    """Return a value as the source of a document."""
    found = encode(value)
    if found[:1] != b"{":
        raise ValueError(f"a document is an object of JSON, such as a dict or a struct, not a {type(value).__name__}")
    if b"null" in found:
        check_finite(value)
    return msgspec.json.format(found, indent=-1) if b"\n" in found else found  # a `msgspec.Raw` with line breaks


def _why(error: Mapping[str, Any]) -> str:
    """Return the reason of an error, and what caused it."""
    inner = error.get("caused_by")
    return f"{error.get('reason')}" + (f" ({inner['reason']})" if inner and inner.get("reason") else "")
