"""Serve the group protocol of the in-memory Kafka as bytes: decodes the requests of `engine/kafka/protocol.py`.

A request and its response have separate delays, and either may be lost; the group decides when a JoinGroup or a
SyncGroup is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from tidemill.engine.errors import Retryable
from tidemill.engine.kafka.connections import BrokerConnections
from tidemill.engine.kafka.encoding import Request, RequestWriter, ResponseReader
from tidemill.engine.kafka.protocol import Broker as Address

from .broker import Broker
from .log import Refused, Transactional
from .world import Owner, World

__all__ = ["SimulatedWire"]

R = TypeVar("R")
ONE = Address("broker", 9092)
HEARTBEAT = 12
Answer = Callable[[bytes], None]


class SimulatedWire(BrokerConnections):
    """The connections of a process."""

    def __init__(self, world: World, broker: Broker, owner: Owner) -> None:
        self._world = world
        self._broker = broker
        self._owner = owner

    async def send(self, broker: Address, request: Request[R], seconds: float, lane: str = "") -> R:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        world, cluster, name = self._world, self._broker, self._owner.name
        chance = world.random.random()
        lost = chance < cluster.network.lose_request
        late = not lost and chance < cluster.network.lose_request + cluster.network.late_request

        def broken() -> None:
            if not future.done():
                future.set_exception(Retryable("the connection failed"))

        def answer(data: bytes) -> None:
            if not cluster.reachable(name):
                cluster.dropped.append(broken)
                return
            if chance > 1 - cluster.network.lose_answer:
                world.later(cluster.delay(), broken)
                return
            world.later(cluster.delay(), lambda: None if future.done() else future.set_result(data))

        def arrive() -> None:
            if not cluster.reachable(name):
                cluster.dropped.append(broken)
                return
            world.note(name, NAMES[request.key])
            serve(cluster, request, answer)

        def arrive_late() -> None:
            if cluster.network.late_request:  # after the end of all faults no request is in flight any more
                arrive()

        if lost or cluster.network.down:
            world.later(cluster.delay(), broken)
        elif late:
            world.later(cluster.delay(), broken)
            world.later(world.random.randint(1, cluster.network.longest), arrive_late)
        else:
            world.later(cluster.delay(), arrive)
        try:
            return request.read(ResponseReader(await asyncio.wait_for(future, seconds)))
        except asyncio.TimeoutError as failure:
            raise Retryable(f"no response within {seconds:g} s") from failure

    async def send_any(self, request: Request[R], seconds: float, lane: str = "") -> R:
        return await self.send(ONE, request, seconds, lane)

    async def brokers(self) -> list[Address]:
        return [ONE]

    async def coordinator(self, key: str, *, transaction: bool = False) -> Address:
        return ONE

    async def local_host(self, broker: Address, lane: str) -> str:
        return "127.0.0.1"

    def forget(self, key: str, *, transaction: bool = False) -> None:
        pass

    async def close(self) -> None:
        pass


def serve(cluster: Broker, request: Request[Any], answer: Answer) -> None:
    """Handle one request."""
    if cluster.network.away and request.key in AWAY:
        answer(AWAY[request.key](RequestWriter().int32(0), cluster.network.away))
    else:
        SERVICES[request.key](cluster, ResponseReader(request.body), answer)


def join(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    r.string()
    session, rebalance, member, instance = r.int32(), r.int32(), r.string() or "", r.string()
    r.string()
    r.int32()
    r.string()

    def reply(code: int, generation: int, leader: str, me: str, members: list[tuple[str, bytes]]) -> None:
        w = RequestWriter().int32(0).int16(code).int32(generation).string("tidemill").string(leader).string(me)
        w.int32(len(members))
        for name, described in members:
            w.string(name).string(None).bytes(described)
        answer(w.done())

    cluster.group.join(member, instance, session, rebalance, r.bytes(), reply)


def sync(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    r.string()
    generation, member, instance = r.int32(), r.string() or "", r.string()
    assignments = {r.string() or "": r.bytes() for _ in r.count()}

    def reply(code: int, assignment: bytes) -> None:
        answer(RequestWriter().int32(0).int16(code).bytes(assignment).done())

    cluster.group.sync(generation, member, instance, assignments, reply)


def heartbeat(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    r.string()
    answer(RequestWriter().int32(0).int16(cluster.group.heartbeat(r.int32(), r.string() or "", r.string())).done())


def leave(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    r.string()
    w = RequestWriter().int32(0).int16(0)
    names: list[str] = []
    for _ in r.count():
        names.append(r.string() or "")
        r.string()
    w.int32(len(names))
    for name in names:
        w.string(name).string(None).int16(cluster.group.leave(name))
    answer(w.done())


def describe_group(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    r.int32()
    name, group = r.string() or "", cluster.group
    stable = group.state == "stable"
    w = RequestWriter().int32(0).int32(1).int16(0).string(name).string("Stable" if stable else "Rebalancing")
    w.string("consumer").string("tidemill").int32(len(group.members))
    for member in group.members.values():
        w.string(member.id).string(member.instance).string("client").string("host")
        w.bytes(member.described if stable else b"").bytes(member.assignment if stable else b"")
    answer(w.int32(0).done())


def commit_offsets(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    r.string()
    generation, member, instance = r.int32(), r.string() or "", r.string()
    offsets: dict[tuple[str, int], tuple[int, str]] = {}
    for _ in r.count():
        topic = r.string() or ""
        for _ in r.count():
            number, offset, _epoch = r.int32(), r.int64(), r.int32()
            offsets[topic, number] = (offset, r.string() or "")
    code = cluster.group.commit(generation, member, instance, offsets)
    w = RequestWriter().int32(0).int32(len(offsets))
    for topic, number in offsets:
        w.string(topic).int32(1).int32(number).int16(code)
    answer(w.done())


def fetch_offsets(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    r.compact_string()
    keys: list[tuple[str, int]] = []
    for _ in r.compact_count():
        topic = r.compact_string() or ""
        keys.extend((topic, r.int32()) for _ in r.compact_count())
        r.tags()
    found = cluster.group.fetch(keys, stable=bool(r.int8()))
    w = RequestWriter().int32(0).varint(len(found) + 1)
    for (topic, number), (offset, text, code) in found.items():
        w.compact_string(topic).varint(2)
        w.int32(number).int64(offset).int32(-1).compact_string(text).int16(code).tags().tags()
    answer(w.int16(0).tags().done())


def init_producer_id(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    name, _timeout, producer, epoch = r.compact_string() or "", r.int32(), r.int64(), r.int16()
    code, found = 0, (-1, -1)
    try:
        found = cluster.transactions.init(name, None if producer < 0 else (producer, epoch))
    except Refused as refused:
        code = refused.code
    cluster._world.note("init", name, code)
    answer(RequestWriter().int32(0).int16(code).int64(found[0]).int16(found[1]).tags().done())


def list_transactions(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    names = sorted(transaction.name for transaction in cluster.transactions.open())
    w = RequestWriter().int32(0).int16(0).varint(1).varint(len(names) + 1)
    for name in names:
        w.compact_string(name).int64(cluster.transactions.known[name].producer)
        w.compact_string(state_of(cluster.transactions.known[name])).tags()
    answer(w.tags().done())


def describe_transactions(cluster: Broker, r: ResponseReader, answer: Answer) -> None:
    names = [r.compact_string() or "" for _ in r.compact_count()]
    w = RequestWriter().int32(0).varint(len(names) + 1)
    for name in names:
        one = cluster.transactions.known[name]
        w.int16(0).compact_string(name).compact_string(state_of(one)).int32(60_000).int64(0)
        w.int64(one.producer).int16(one.epoch).varint(1).tags()
    answer(w.tags().done())


def state_of(one: Transactional) -> str:
    if one.transaction is None:
        return "Empty"
    return {"": "Ongoing", "commit": "PrepareCommit", "abort": "PrepareAbort"}[one.transaction.decided]


SERVICES: dict[int, Callable[[Broker, ResponseReader, Answer], None]] = {
    8: commit_offsets,
    9: fetch_offsets,
    11: join,
    HEARTBEAT: heartbeat,
    13: leave,
    14: sync,
    15: describe_group,
    22: init_producer_id,
    65: describe_transactions,
    66: list_transactions,
}
AWAY: dict[int, Callable[[RequestWriter, int], bytes]] = {
    9: lambda w, code: w.varint(1).int16(code).tags().done(),
    11: lambda w, code: w.int16(code).int32(-1).string("").string("").string("").int32(0).done(),
    HEARTBEAT: lambda w, code: w.int16(code).done(),
    13: lambda w, code: w.int16(code).int32(0).done(),
    14: lambda w, code: w.int16(code).bytes(b"").done(),
    15: lambda w, code: w.int32(1).int16(code).string("").string("").string("").string("").int32(0).int32(0).done(),
    22: lambda w, code: w.int16(code).int64(-1).int16(-1).tags().done(),
}
"""Error responses of a broker that is not, or not yet, the coordinator. It accepts offset commits slightly later."""
NAMES = {key: service.__name__ for key, service in SERVICES.items()}
