"""Tests of how the engine interprets responses of the admin client."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition

from tidemill.engine.errors import Retryable
from tidemill.engine.kafka.topics import Topics


class Told(NamedTuple):
    offset: int


class Admin:
    """An admin client with one response for every partition."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.listed = 0

    def list_offsets(self, asked: dict[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Future[Told]]:
        answer: Future[Told] = Future()
        answer.set_result(Told(self.offset))
        return dict.fromkeys(asked, answer)

    def list_topics(self, **_: Any) -> None:
        self.listed += 1


def topics(offset: int) -> tuple[Topics, Admin]:
    made, admin = Topics({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}), Admin(offset)
    made._admin = admin
    return made, admin


def test_an_answer_is_an_offset() -> None:
    made, admin = topics(7)
    assert made.ends([("log", 0)], committed=False) == {("log", 0): 7}
    assert admin.listed == 0


def test_an_answer_without_an_offset_is_none() -> None:
    """As an end offset it would mean that the changelog has lost everything, and a valid store would be wiped."""
    made, admin = topics(OFFSET_INVALID)
    with pytest.raises(Retryable, match="topic 'log', partition 0 did not answer"):
        made.ends([("log", 0)], committed=False)
    assert admin.listed == 1, "leaders are looked for before it asks again"
