"""The start of a history: its pieces are written to their topic, once for the application.

All processes do it when they start, and one of them succeeds: a transactional producer with the same id in each ends
the transaction of another one, and writes only if the topic has no piece and the group no position in it. All pieces
are written in one transaction, so there are all of them or none.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import import_module
from typing import Final

from msgspec.structs import replace

from ...operators.errors import TopologyError
from ...operators.graph.history import SourceHistory
from ...operators.graph.topology import Repartition, Source
from ...operators.record import Outgoing, Row
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..config.settings import Settings
from ..errors import CommitOutcomeUnknown, Fatal, Fenced, Retryable
from ..group.offsets import committed_metadata
from ..ids import path_safe, transactional_id
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.errors import TransactionAborted
from ..kafka.options import group_options, producer_options, restore_options
from ..kafka.producer import TransactionalProducer
from ..kafka.topics import Topics
from ..plan.plan import Plan
from ..restore.start_offsets import starting_offsets
from ..snapshots.storage import StorageError
from .history import RowHistory
from .pieces import AnyPiece, PiecesEnd, encoded, pieces_of

__all__ = ["begin_histories", "pieces_at", "topic_of_pieces"]

LOG = logging.getLogger("tidemill")
PAUSE_MS: Final = 500
ANSWER_SECONDS: Final = 10.0
BATCH: Final = 500


def begin_histories(plan: Plan, settings: Settings, topics: Topics, clock: Clock, stopping: Callable[[], bool]) -> None:
    """Write the pieces of the program's histories that have not been written.

    Raises TopologyError if files do not fit the program, and Fatal if they or Kafka cannot be read or written.
    """
    for node in plan.topology.nodes:
        if isinstance(node, Repartition) and node.history is not None:
            pieces = topic_of_pieces(plan, node)
            began = clock.monotonic()
            while not stopping():
                try:
                    _begin(plan, node.history, pieces, settings, topics, clock)
                    break
                except (Retryable, Fenced, TransactionAborted, CommitOutcomeUnknown) as failure:
                    if clock.monotonic() - began > settings.connect_timeout:
                        raise Fatal(
                            f"the history of {node.history.given.source!r} cannot be begun: {failure}"
                        ) from failure
                    LOG.info("the history of %r: %s; trying again", node.history.given.source, failure)
                    clock.sleep(PAUSE_MS // 2 + random.randrange(PAUSE_MS))


def topic_of_pieces(plan: Plan, node: Repartition) -> str:
    """Return the topic with the pieces that the step of a history reads."""
    [topic] = [topic for part in plan.subtopologies for topic, read in part.inputs if read.id == node.inputs[0].node]
    return topic


def pieces_at(
    history: SourceHistory, begins: Callable[[Mapping[int, int] | None], Mapping[int, int]], identity: tuple[str, int]
) -> list[AnyPiece]:
    """Return the pieces of a history; the last one is the end.

    `identity` is the id of the topic and its number of partitions. `begins` returns where the partitions begin, given
    their positions in the history, if it has any. Raises TopologyError and StorageError.
    """
    rows = history.history
    assert isinstance(rows, RowHistory)
    what = f"the source {history.given.source!r}: {rows!r}"
    found = import_module(f"{__package__}.row_source").row_source(rows, history.given)  # it needs an extra
    groups, files, version = found.listing()
    positions = None
    if history.until is None:
        topic_id, partitions = identity
        positions = found.positions(history.given.topic, path_safe(topic_id), partitions)
    before = history.until if isinstance(history.until, datetime) else None
    if before is not None and any(group.oldest is None for group in groups):
        raise TopologyError(f"{what}: until={before!r} needs event times: name their column, tm.history(timestamp=)")
    limit = None if before is None else int(before.timestamp() * 1000)
    found_pieces = pieces_of(groups, before=limit)
    pieces: list[AnyPiece] = [replace(piece, version=version, partitions=identity[1]) for piece in found_pieces]
    ends = begins(positions)
    source = "by the positions with them" if positions is not None else "by start= or until="
    LOG.info(
        "%s: %d files, %s rows, %d pieces; then the topic %r, %s",
        what,
        files,
        f"{sum(group.rows for group in groups):,}",
        len(pieces),
        history.given.topic,
        source,
    )
    return [*pieces, PiecesEnd(dict(ends))]


def _begin(plan: Plan, history: SourceHistory, topic: str, settings: Settings, topics: Topics, clock: Clock) -> None:
    if _is_begun(topic, settings, topics, clock):
        return
    source = plan.topology.node(history.source)
    assert isinstance(source, Source)
    name = history.given.topic
    identity = topics.identities([name])[name]
    live = [(name, partition) for partition in range(identity[1])]

    def begins(positions: Mapping[int, int] | None) -> Mapping[int, int]:
        if positions is not None:
            return positions
        until = history.until
        if isinstance(until, datetime):
            return {partition: at for (_, partition), at in topics.at(live, until).items()}
        if until is not None:
            if set(until) != {partition for _, partition in live}:
                raise TopologyError(
                    f"the source {history.given.source!r}: until= has offsets of {len(until)} partitions, and the "
                    f"topic {name!r} has the partitions 0 to {identity[1] - 1}"
                )
            return until
        if source.start == "earliest":
            return {partition: -1 for _, partition in live}
        found = starting_offsets(dict.fromkeys(live, source), topics, clock.now())
        return {partition: at for (_, partition), at in found.items()}

    try:
        pieces = pieces_at(history, begins, identity)
    except StorageError as failure:
        what = f"the history of {history.given.source!r}: {failure}"
        raise (Fatal(what) if failure.lasting else Retryable(what)) from failure
    identifier = transactional_id(settings.app_id, f"history-{history.given.source}")
    limits = dict.fromkeys(("message.timeout.ms", "transaction.timeout.ms"), settings.transaction_limit)
    producer = TransactionalProducer({**producer_options(settings), **limits}, identifier)
    try:
        producer.init(ANSWER_SECONDS)
        if _is_begun(topic, settings, topics, clock):
            return
        now = clock.now()
        for start in range(0, len(pieces), BATCH):
            rows: list[Row] = [(None, encoded(one), now, None, 0) for one in pieces[start : start + BATCH]]
            producer.produce([Outgoing(topic, rows)])
        producer.commit(settings.transaction_limit / 1000)
    finally:
        producer.close()


def _is_begun(topic: str, settings: Settings, topics: Topics, clock: Clock) -> bool:
    """Return whether the pieces of a history have been written, or even processed and deleted."""
    key: TopicPartition = (topic, 0)
    if committed_metadata(group_options(settings), settings.app_id, [key], ANSWER_SECONDS):
        return True
    [first], [end] = topics.begins([key]).values(), topics.ends([key], committed=True).values()
    if first == end:
        return False
    reader = ChangelogReader(restore_options(settings, 1), clock)
    try:
        reader.assign({key: first})
        deadline = clock.monotonic() + int(ANSWER_SECONDS * 1000)
        while clock.monotonic() < deadline:
            polled = reader.poll(1, 0.2)
            if polled.batches:
                return True
            if polled.ends.get(key, -1) >= end:
                return False
    finally:
        reader.close()
    raise Retryable(f"topic {topic!r} cannot be read")
