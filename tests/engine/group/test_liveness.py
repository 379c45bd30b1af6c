"""Tests of the liveness monitor: which members are considered dead. No Kafka: real sockets on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from tests.brokers import ports
from tests.brokers.proxy import Proxy
from tidemill.engine.group import liveness
from tidemill.engine.group.liveness import LivenessMonitor
from tidemill.engine.group.metadata.member_info import MOST, MemberInfo, neighbours

ME, OTHER = "a" * 32, "b" * 32


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "RETRY_SECONDS", (0.01, 0.02, 0.05))
    monkeypatch.setattr(liveness, "HELLO_SECONDS", 0.3)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


async def watching(address: str, process: str = f"{OTHER}.1") -> tuple[LivenessMonitor, asyncio.Event]:
    wake = asyncio.Event()
    watcher = LivenessMonitor(ME, wake, asyncio.ensure_future)
    watcher.watch([MemberInfo("other", process, peer=address)])
    return watcher, wake


async def silent(watcher: LivenessMonitor, seconds: float = 0.7) -> None:
    """Check that no member is considered dead for a while."""
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(watcher.noticed.wait(), seconds)
    assert watcher.take() == []


def test_a_process_that_dies_is_detected() -> None:
    async def test() -> None:
        other = LivenessMonitor(OTHER, asyncio.Event(), asyncio.ensure_future)
        await other.listen("127.0.0.1")
        watcher, wake = await watching(other.address)
        await silent(watcher, 0.3)
        await other.close()
        await asyncio.wait_for(watcher.noticed.wait(), 1)
        assert [info.member for info in watcher.take()] == ["other"]
        assert not watcher.noticed.is_set()
        assert wake.is_set()
        await watcher.close()

    run(test())


def test_a_process_of_a_later_epoch_is_the_same_process() -> None:
    async def test() -> None:
        other = LivenessMonitor(f"{OTHER}.1", asyncio.Event(), asyncio.ensure_future)
        await other.listen("127.0.0.1")
        watcher, _ = await watching(other.address, f"{OTHER}.7")
        await silent(watcher, 0.3)
        await other.close()
        await asyncio.wait_for(watcher.noticed.wait(), 1)
        await watcher.close()

    run(test())


@pytest.mark.slow
def test_a_member_that_announces_its_leave_is_not_dead() -> None:
    async def test() -> None:
        other = LivenessMonitor(OTHER, asyncio.Event(), asyncio.ensure_future)
        await other.listen("127.0.0.1")
        watcher, wake = await watching(other.address)
        await asyncio.sleep(0.2)
        other.announce_leave()
        await other.close()
        await asyncio.wait_for(wake.wait(), 1)
        await silent(watcher)
        await watcher.close()

    run(test())


@pytest.mark.slow
def test_an_address_that_never_answered_proves_nothing() -> None:
    """It may be wrong: an address behind a router, or inside a container."""

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


def with_stranger(test: Callable[[Stranger, LivenessMonitor, asyncio.Event], Awaitable[None]]) -> None:
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


@pytest.mark.slow
def test_connections_that_break_again_and_again_prove_nothing() -> None:
    async def test(stranger: Stranger, watcher: LivenessMonitor, wake: asyncio.Event) -> None:
        for _ in range(5):
            stranger.drop()
            await silent(watcher, 0.15)
        assert wake.is_set(), "but a heartbeat should ask what is going on"
        assert stranger.arrivals > 3

    with_stranger(test)


@pytest.mark.slow
def test_a_slow_connection_proves_nothing() -> None:
    """Each byte takes longer than the response timeout, and the connection is reset repeatedly."""

    async def test() -> None:
        other = LivenessMonitor(OTHER, asyncio.Event(), asyncio.ensure_future)
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


@pytest.mark.slow
def test_silence_after_a_broken_connection_proves_nothing() -> None:
    """As with a paused process: its kernel accepts connections, but there is no response."""

    async def test(stranger: Stranger, watcher: LivenessMonitor, _: asyncio.Event) -> None:
        stranger.answering = False
        stranger.drop()
        await silent(watcher, 1.2)

    with_stranger(test)


@pytest.mark.slow
def test_nonsense_proves_nothing() -> None:
    async def test(stranger: Stranger, watcher: LivenessMonitor, _: asyncio.Event) -> None:
        stranger.hello = b"HTTP/1.1 400 Bad Request\r\n"
        stranger.drop()
        await silent(watcher)

    with_stranger(test)


def test_another_process_on_the_same_port_means_that_the_first_has_died() -> None:
    async def test(stranger: Stranger, watcher: LivenessMonitor, _: asyncio.Event) -> None:
        stranger.hello = b"tidemill " + b"c" * 32 + b"\n"
        stranger.drop()
        await asyncio.wait_for(watcher.noticed.wait(), 1)
        assert [info.member for info in watcher.take()] == ["other"]

    with_stranger(test)


@pytest.mark.slow
def test_members_that_have_left_the_group_are_no_longer_monitored() -> None:
    async def test(stranger: Stranger, watcher: LivenessMonitor, _: asyncio.Event) -> None:
        watcher.watch([])
        await stranger.close()
        await silent(watcher)

    with_stranger(test)


@pytest.mark.slow
def test_a_dead_member_is_reported_once() -> None:
    async def test(stranger: Stranger, watcher: LivenessMonitor, _: asyncio.Event) -> None:
        await stranger.close()
        await asyncio.wait_for(watcher.noticed.wait(), 1)
        assert len(watcher.take()) == 1
        watcher.watch([MemberInfo("other", f"{OTHER}.1", peer="127.0.0.1:1")])
        await silent(watcher)

    with_stranger(test)


def test_each_member_monitors_the_next_few_in_a_large_group() -> None:
    seats = [MemberInfo(f"m{n:03}", f"p{n}", peer=f"h:{n}") for n in range(40)]
    watchers = {info.member: [s.member for s in neighbours(seats, info.member)] for info in seats}
    assert watchers["m038"][:3] == ["m039", "m000", "m001"]
    assert all(len(watched) == MOST and member not in watched for member, watched in watchers.items())
    assert [info.member for info in neighbours(seats[:3], "m001")] == ["m002", "m000"]
    assert all(sum(info.member in watched for watched in watchers.values()) == MOST for info in seats)


@pytest.mark.slow
def test_the_number_of_incoming_connections_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "MOST_ACCEPTED", 2)

    async def test() -> None:
        other = LivenessMonitor(OTHER, asyncio.Event(), asyncio.ensure_future)
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
