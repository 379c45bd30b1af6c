"""Who is taken for dead, and who never is. No Kafka: real sockets on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from tests.brokers import ports
from tests.brokers.proxy import Proxy
from tidemill.engine.group import liveness
from tidemill.engine.group.liveness import Peers
from tidemill.engine.group.metadata.member_info import MOST, Seat, neighbours

ME, OTHER = "a" * 32, "b" * 32


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "RETRY_SECONDS", (0.01, 0.02, 0.05))
    monkeypatch.setattr(liveness, "HELLO_SECONDS", 0.3)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


async def watching(address: str, process: str = f"{OTHER}.1") -> tuple[Peers, asyncio.Event]:
    wake = asyncio.Event()
    watcher = Peers(ME, wake, asyncio.ensure_future)
    watcher.watch([Seat("other", process, peer=address)])
    return watcher, wake


async def silent(watcher: Peers, seconds: float = 0.7) -> None:
    """Nobody is taken for dead for a while."""
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(watcher.noticed.wait(), seconds)
    assert watcher.take() == []


def test_a_process_that_dies_is_noticed() -> None:
    async def test() -> None:
        other = Peers(OTHER, asyncio.Event(), asyncio.ensure_future)
        await other.listen("127.0.0.1")
        watcher, wake = await watching(other.address)
        await silent(watcher, 0.3)
        await other.close()
        await asyncio.wait_for(watcher.noticed.wait(), 1)
        assert [seat.member for seat in watcher.take()] == ["other"]
        assert not watcher.noticed.is_set()
        assert wake.is_set()
        await watcher.close()

    run(test())


def test_a_process_of_a_later_epoch_is_the_same_process() -> None:
    async def test() -> None:
        other = Peers(f"{OTHER}.1", asyncio.Event(), asyncio.ensure_future)
        await other.listen("127.0.0.1")
        watcher, _ = await watching(other.address, f"{OTHER}.7")
        await silent(watcher, 0.3)
        await other.close()
        await asyncio.wait_for(watcher.noticed.wait(), 1)
        await watcher.close()

    run(test())


def test_a_member_that_says_goodbye_is_not_dead() -> None:
    async def test() -> None:
        other = Peers(OTHER, asyncio.Event(), asyncio.ensure_future)
        await other.listen("127.0.0.1")
        watcher, wake = await watching(other.address)
        await asyncio.sleep(0.2)
        other.farewell()
        await other.close()
        await asyncio.wait_for(wake.wait(), 1)
        await silent(watcher)
        await watcher.close()

    run(test())


def test_an_address_that_never_answered_proves_nothing() -> None:
    """It may be the wrong one: told from behind a router, or by a container."""

    async def test() -> None:
        watcher, _ = await watching("127.0.0.1:1")
        await silent(watcher)
        await watcher.close()

    run(test())


class Stranger:
    """A server that the test controls in every detail."""

    def __init__(self, hello: bytes) -> None:
        self.hello = hello
        self.writers: list[asyncio.StreamWriter] = []
        self.answering = True
        self.arrivals = 0

    async def start(self) -> str:
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrivals += 1
        self.writers.append(writer)
        if self.answering:
            writer.write(self.hello)

    def drop(self) -> None:
        """Closes the connections; the port stays open."""
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def close(self) -> None:
        self.drop()
        self.server.close()


def with_stranger(test: Callable[[Stranger, Peers, asyncio.Event], Awaitable[None]]) -> None:
    async def whole() -> None:
        stranger = Stranger(b"tidemill " + OTHER.encode() + b"\n")
        watcher, wake = await watching(await stranger.start())
        while not stranger.arrivals:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await test(stranger, watcher, wake)
        await watcher.close()
        await stranger.close()

    run(whole())


def test_connections_that_break_again_and_again_prove_nothing() -> None:
    async def test(stranger: Stranger, watcher: Peers, wake: asyncio.Event) -> None:
        for _ in range(5):
            stranger.drop()
            await silent(watcher, 0.15)
        assert wake.is_set(), "but a heartbeat should ask what is going on"
        assert stranger.arrivals > 3

    with_stranger(test)


def test_a_slow_connection_proves_nothing() -> None:
    """Each byte takes longer than an answer may, and the connection is reset again and again."""

    async def test() -> None:
        other = Peers(OTHER, asyncio.Event(), asyncio.ensure_future)
        await other.listen("127.0.0.1")
        proxy = Proxy(("127.0.0.1", int(other.address.rpartition(":")[2])), ports.reserve())
        try:
            watcher, _ = await watching(proxy.address)
            await silent(watcher, 0.3)
            proxy.delay(0.5)
            for _ in range(4):
                proxy.close_connections()
                await silent(watcher, 0.4)
            await watcher.close()
        finally:
            proxy.close()
            ports.release(proxy.port)
            await other.close()

    run(test())


def test_silence_after_a_broken_connection_proves_nothing() -> None:
    """As with a stopped process: its kernel accepts, nobody answers."""

    async def test(stranger: Stranger, watcher: Peers, _: asyncio.Event) -> None:
        stranger.answering = False
        stranger.drop()
        await silent(watcher, 1.2)

    with_stranger(test)


def test_nonsense_proves_nothing() -> None:
    async def test(stranger: Stranger, watcher: Peers, _: asyncio.Event) -> None:
        stranger.hello = b"HTTP/1.1 400 Bad Request\r\n"
        stranger.drop()
        await silent(watcher)

    with_stranger(test)


def test_another_process_on_the_same_port_means_that_the_first_has_died() -> None:
    async def test(stranger: Stranger, watcher: Peers, _: asyncio.Event) -> None:
        stranger.hello = b"tidemill " + b"c" * 32 + b"\n"
        stranger.drop()
        await asyncio.wait_for(watcher.noticed.wait(), 1)
        assert [seat.member for seat in watcher.take()] == ["other"]

    with_stranger(test)


def test_members_that_are_gone_from_the_group_are_not_watched_any_more() -> None:
    async def test(stranger: Stranger, watcher: Peers, _: asyncio.Event) -> None:
        watcher.watch([])
        await stranger.close()
        await silent(watcher)

    with_stranger(test)


def test_a_dead_member_is_told_once() -> None:
    async def test(stranger: Stranger, watcher: Peers, _: asyncio.Event) -> None:
        await stranger.close()
        await asyncio.wait_for(watcher.noticed.wait(), 1)
        assert len(watcher.take()) == 1
        watcher.watch([Seat("other", f"{OTHER}.1", peer="127.0.0.1:1")])
        await silent(watcher)

    with_stranger(test)


def test_everybody_watches_the_next_few_in_a_large_group() -> None:
    seats = [Seat(f"m{n:03}", f"p{n}", peer=f"h:{n}") for n in range(40)]
    watchers = {seat.member: [s.member for s in neighbours(seats, seat.member)] for seat in seats}
    assert watchers["m038"][:3] == ["m039", "m000", "m001"]
    assert all(len(watched) == MOST and member not in watched for member, watched in watchers.items())
    assert [seat.member for seat in neighbours(seats[:3], "m001")] == ["m002", "m000"]
    assert all(sum(seat.member in watched for watched in watchers.values()) == MOST for seat in seats)


def test_connections_of_others_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "MOST_ACCEPTED", 2)

    async def test() -> None:
        other = Peers(OTHER, asyncio.Event(), asyncio.ensure_future)
        await other.listen("127.0.0.1")
        host, _, port = other.address.rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        for reader, writer in held:
            writer.write(b"tidemill\n")
            assert await reader.readline()
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b"", "closed without a word"
        writer.close()
        watcher, _ = await watching(other.address)
        await silent(watcher)
        for _, writer in held:
            writer.close()
        await watcher.close()
        await other.close()

    run(test())
