"""Tests of fencing: open transactions of dead processes are found and ended, even if coordinators have moved."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tidemill.engine.errors import Retryable
from tidemill.engine.group.fencing import fence_exactly, open_transactions
from tidemill.engine.ids import incarnation, transactional_id
from tidemill.engine.kafka.connections import BrokerConnections
from tidemill.engine.kafka.encoding import Request, RequestWriter, ResponseReader
from tidemill.engine.kafka.protocol import Broker
from tidemill.engine.kafka.security import connection

BROKERS = [Broker("one", 1), Broker("two", 2)]
DEAD = transactional_id("app", incarnation("d" * 32, 1))
NOT_COORDINATOR, LOADING = 16, 14


class Cluster(BrokerConnections):
    """Two brokers, one of which coordinates all transactions; the other responds with an error, or not at all."""

    def __init__(self) -> None:
        super().__init__(connection({"bootstrap.servers": "one:1,two:2"}))
        self.coordinates = BROKERS[0]
        self.open = {DEAD}
        self.down: set[Broker] = set()
        self.loading = False

    async def send(self, broker: Broker, request: Request[Any], seconds: float, lane: str = "") -> Any:
        if broker in self.down:
            raise Retryable("the connection failed")
        r, here = ResponseReader(request.body), broker == self.coordinates
        match request.key:
            case 3:
                up = [one for one in BROKERS if one not in self.down]
                w = RequestWriter().int32(len(up))
                for number, one in enumerate(up):
                    w.int32(number).string(one.host).int32(one.port).string(None)
            case 10:
                found = self.coordinates
                w = RequestWriter().int32(0).int16(0).string(None).int32(0).string(found.host).int32(found.port)
            case 22:
                name = r.compact_string()
                if here:
                    self.open.discard(name or "")
                w = RequestWriter().int32(0).int16(0 if here else NOT_COORDINATOR).int64(7).int16(2)
            case 65:
                names = [r.compact_string() or "" for _ in r.compact_count()]
                w = RequestWriter().int32(0).varint(len(names) + 1)
                for name in names:
                    state = "Ongoing" if name in self.open else "Empty"
                    w.int16(0 if here else NOT_COORDINATOR).compact_string(name).compact_string(state if here else "")
                    w.int32(60_000).int64(0).int64(7).int16(1).varint(1).tags()
            case _:
                names = sorted(self.open) if here else []
                w = (
                    RequestWriter()
                    .int32(0)
                    .int16(LOADING if here and self.loading else 0)
                    .varint(1)
                    .varint(len(names) + 1)
                )
                for name in names:
                    w.compact_string(name).int64(7).compact_string("Ongoing").tags()
        return request.read(ResponseReader(w.tags().done()))

    def looked(self) -> list[str]:
        return [one.transactional for one in asyncio.run(open_transactions(self, "app"))]


@pytest.mark.parametrize("gone", [False, True], ids=["moved", "gone"])
def test_an_open_transaction_is_found_though_its_coordinator_has_moved(gone: bool) -> None:
    cluster = Cluster()
    assert cluster.looked() == [DEAD]  # from now on its coordinator may be cached
    cluster.coordinates = BROKERS[1]
    if gone:
        cluster.down = {BROKERS[0]}
    assert cluster.looked() == [DEAD]
    found = asyncio.run(open_transactions(cluster, "app"))
    asyncio.run(fence_exactly(cluster, found, 60_000))
    assert cluster.looked() == []


def test_a_coordinator_that_is_still_loading_is_asked_again() -> None:
    cluster = Cluster()
    cluster.loading = True
    with pytest.raises(Retryable, match="COORDINATOR_LOAD_IN_PROGRESS"):
        cluster.looked()
