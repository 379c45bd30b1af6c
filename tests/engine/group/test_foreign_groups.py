"""Tests of groups with members other than Tidemill processes: reported as an error in the application id."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType

from tidemill.engine.errors import ConfigError, Retryable
from tidemill.engine.group.inspect import GroupInspector
from tidemill.engine.kafka.connections import BrokerConnections
from tidemill.engine.kafka.describe_groups import DescribedGroup, DescribedMember
from tidemill.engine.kafka.encoding import RequestWriter

PLAIN = RequestWriter().int16(0).int32(1).string("orders").bytes(b"").done()
"""The subscription of a plain consumer."""


def groups(monkeypatch: pytest.MonkeyPatch, raw: DescribedGroup, *listed: Any) -> GroupInspector:
    async def ask(_self: GroupInspector, _group: str) -> DescribedGroup:
        return raw

    monkeypatch.setattr(GroupInspector, "_ask", ask)
    monkeypatch.setattr(GroupInspector, "_listed", lambda _self: list(listed))
    options = {"bootstrap.servers": "127.0.0.1:1"}
    return GroupInspector(options, options)


def listed(kind: ConsumerGroupType, state: ConsumerGroupState) -> Any:
    return SimpleNamespace(group_id="orders", type=kind, state=state)


def test_plain_consumers_are_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = DescribedGroup(0, "Stable", "consumer", (DescribedMember("m", None, "10.0.0.7", PLAIN, b""),))
    with pytest.raises(ConfigError, match=r"'orders' is in use by other consumers.*10\.0\.0\.7"):
        groups(monkeypatch, raw).view("orders")


def test_so_are_those_of_the_newer_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = DescribedGroup(0, "Dead", "", ())
    newer = listed(ConsumerGroupType.CONSUMER, ConsumerGroupState.STABLE)
    with pytest.raises(ConfigError, match=r"other consumers.*newer group protocol"):
        groups(monkeypatch, dead, newer).view("orders")
    gone = listed(ConsumerGroupType.CONSUMER, ConsumerGroupState.EMPTY)
    assert groups(monkeypatch, dead, gone).view("orders").members == ()
    assert groups(monkeypatch, dead).view("orders").state == "Dead"


def test_so_are_groups_of_other_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="not a consumer group, it has the type 'connect'"):
        groups(monkeypatch, DescribedGroup(0, "Stable", "connect", ())).view("orders")


def test_a_coordinator_that_loads_or_has_moved_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loading, moved = DescribedGroup(14, "", "", ()), DescribedGroup(16, "", "", ())
    answers = iter((loading, moved, Retryable("connection lost"), DescribedGroup(0, "Empty", "consumer", ())))

    async def send(*_args: Any) -> Any:
        answer = next(answers)
        if isinstance(answer, Retryable):
            raise answer
        return answer

    async def nothing(*_args: Any) -> None:
        return None

    monkeypatch.setattr(BrokerConnections, "brokers", nothing)
    monkeypatch.setattr(BrokerConnections, "coordinator", nothing)
    monkeypatch.setattr(BrokerConnections, "send", send)
    options = {"bootstrap.servers": "127.0.0.1:1"}
    assert GroupInspector(options, options).view("orders").state == "Empty"
