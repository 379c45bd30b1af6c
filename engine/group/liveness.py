"""Notices within moments that another member's process has died, by an idle TCP connection to it.

The kernel closes a process's connections when it dies. A closed connection alone proves nothing, so the watcher
connects again: only if the address that answered as that process before now *refuses*, or answers as another process,
is it dead. Slow, silent, unreachable or cut off is never taken for dead; there the session time-out decides. What to do
about a dead member is for the session; this file only says who it was.

    CONNECTING --hello--> WATCHING --closed--> CONNECTING again --refused--> dead
        ^---anything else, for as long as it takes---|
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable

from .background import Spawn
from .metadata.member_info import MOST, Seat

__all__ = ["Peers", "process_base"]

log = logging.getLogger(__name__)

GREETING = b"tidemill"
FAREWELL = b"bye\n"
HELLO_SECONDS = 5.0
CONNECT_SECONDS = 5.0
RETRY_SECONDS = (0.05, 0.2, 1.0, 5.0, 15.0)
MOST_ACCEPTED = 8 * MOST
"""So many connections of others a member keeps: those of its watchers, also while their plans differ, and no more."""


def process_base(process: str) -> str:
    """A process id without the number of its epoch: the same for the whole life of the process."""
    return process.partition(".")[0]


class Peers:
    """Watches other members and lets them watch this process. For use on one event loop."""

    def __init__(self, process: str, wake: asyncio.Event, spawn: Spawn) -> None:
        """`wake` is set when something happened to somebody; `spawn` runs coroutines beside others."""
        self._process = process_base(process)
        self._wake = wake
        self._spawn = spawn
        self._server: asyncio.Server | None = None
        self._accepted: set[asyncio.StreamWriter] = set()
        self._watchers: dict[str, asyncio.Task[object]] = {}
        self._dead: list[Seat] = []
        self.noticed = asyncio.Event()
        """Set when somebody died."""
        self.address = ""
        """Where this process can be watched, once `listen` has been called."""

    async def listen(self, host: str) -> None:
        """Opens a port for others on the address by which this machine reaches the brokers."""
        if self._server is not None:
            return
        try:
            self._server = await asyncio.start_server(self._answer, host, 0, backlog=128)
        except OSError as failure:
            log.warning("other members cannot watch this process, since no port could be opened: %s", failure)
            return
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def watch(self, seats: Iterable[Seat]) -> None:
        """From now on watches these members, and no others."""
        wanted = {seat.member: seat for seat in seats}
        for member in [m for m in self._watchers if m not in wanted]:
            self._watchers.pop(member).cancel()
        for member, seat in wanted.items():
            if member not in self._watchers:
                self._watchers[member] = self._spawn(self._watch(seat))

    def take(self) -> list[Seat]:
        """The members whose process has died since the last call."""
        dead, self._dead = self._dead, []
        self.noticed.clear()
        return dead

    def farewell(self) -> None:
        """Tells those who watch this process that it has left the group and need not be taken out of it."""
        for writer in self._accepted:
            writer.write(FAREWELL)

    async def close(self) -> None:
        """Stops watching and being watched."""
        watching = list(self._watchers.values())
        self._watchers.clear()
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            for writer in list(self._accepted):
                writer.close()
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Says who this is, and keeps the connection for as long as the other side does.

        Connections cost files, which the process needs for its state: beyond `MOST_ACCEPTED` they are closed without a
        word, which proves nothing to a member that watches.
        """
        if len(self._accepted) >= MOST_ACCEPTED:
            writer.close()
            return
        self._accepted.add(writer)
        keep_alive(writer)
        try:
            line = await asyncio.wait_for(reader.readline(), HELLO_SECONDS)
            if line.startswith(GREETING):
                writer.write(GREETING + b" " + self._process.encode() + b"\n")
                await writer.drain()
                while await reader.read(1024):
                    pass
        except (OSError, asyncio.TimeoutError, ValueError):
            pass
        finally:
            self._accepted.discard(writer)
            writer.close()

    async def _watch(self, seat: Seat) -> None:
        """Ends when the member is known to be dead."""
        host, _, port = seat.peer.rpartition(":")
        host = host.strip("[]")
        loop = asyncio.get_running_loop()
        met = False
        failures = 0
        while self._watchers.get(seat.member) is asyncio.current_task():  # a cancellation may get lost in a time-out
            began = loop.time()
            verdict = await self._visit(host, int(port), process_base(seat.process))
            if verdict in ("closed", "left"):
                self._wake.set()  # whatever happened there, a heartbeat now tells us of it
            if verdict == "left":
                return
            if verdict == "closed":
                met, failures = True, 0
                if loop.time() - began < 1:
                    await asyncio.sleep(RETRY_SECONDS[0])
                continue
            if met and verdict in ("refused", "another"):
                log.warning("the process of member %s at %s has died", seat.member, seat.peer)
                self._dead.append(seat)
                self.noticed.set()
                return
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1

    async def _visit(self, host: str, port: int, process: str) -> str:
        """Connects, and stays until the connection ends.

        "closed": it was the right process and the connection has ended · "left": it said that it leaves the group ·
        "refused" · "another": some other process answered · "unclear": anything else.
        """
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_SECONDS)
        except ConnectionRefusedError:
            return "refused"
        except (OSError, asyncio.TimeoutError):
            return "unclear"
        greeted = False
        try:
            keep_alive(writer)
            writer.write(GREETING + b"\n")
            await writer.drain()
            line = await asyncio.wait_for(reader.readline(), HELLO_SECONDS)
            words = line.split()
            if len(words) != 2 or words[0] != GREETING:
                return "unclear"
            if words[1] != process.encode():
                return "another"
            greeted = True
            while heard := await reader.read(1024):
                if heard.endswith(FAREWELL):
                    return "left"
            return "closed"
        except asyncio.TimeoutError:
            return "unclear"
        except (OSError, ValueError):
            return "closed" if greeted else "unclear"
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Keeps an idle connection from being forgotten on the way."""
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
