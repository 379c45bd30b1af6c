"""Groups that are not of Tidemill's processes are said to be so, as a mistake in the id that was given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType

from tidemill.engine.errors import ConfigError
from tidemill.engine.group.inspect import Groups
from tidemill.engine.kafka.describe_groups import RawGroup, RawMember
from tidemill.engine.kafka.encoding import Writer

PLAIN = Writer().int16(0).int32(1).string("orders").bytes(b"").done()
"""The subscription of a plain consumer."""


def groups(monkeypatch: pytest.MonkeyPatch, raw: RawGroup, *listed: Any) -> Groups:
    async def ask(_self: Groups, _group: str) -> RawGroup:
        return raw

    monkeypatch.setattr(Groups, "_ask", ask)
    monkeypatch.setattr(Groups, "_listed", lambda _self: list(listed))
    options = {"bootstrap.servers": "127.0.0.1:1"}
    return Groups(options, options)


def listed(kind: ConsumerGroupType, state: ConsumerGroupState) -> Any:
    return SimpleNamespace(group_id="orders", type=kind, state=state)


def test_plain_consumers_are_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = RawGroup(0, "Stable", "consumer", (RawMember("m", None, "10.0.0.7", PLAIN, b""),))
    with pytest.raises(ConfigError, match=r"'orders' is in use by consumers of another kind.*10\.0\.0\.7"):
        groups(monkeypatch, raw).view("orders")


def test_so_are_those_of_the_newer_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = RawGroup(0, "Dead", "", ())
    newer = listed(ConsumerGroupType.CONSUMER, ConsumerGroupState.STABLE)
    with pytest.raises(ConfigError, match=r"another kind.*newer group protocol"):
        groups(monkeypatch, dead, newer).view("orders")
    gone = listed(ConsumerGroupType.CONSUMER, ConsumerGroupState.EMPTY)
    assert groups(monkeypatch, dead, gone).view("orders").members == ()
    assert groups(monkeypatch, dead).view("orders").state == "Dead"


def test_so_are_groups_of_other_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no consumer group but one of type 'connect'"):
        groups(monkeypatch, RawGroup(0, "Stable", "connect", ())).view("orders")
