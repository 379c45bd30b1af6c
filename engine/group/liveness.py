"""The liveness monitor: detects the death of other processes by idle TCP connections.

The kernel closes a process's connections when it dies. A closed connection alone proves nothing, so the monitor
reconnects. The process is dead only if the address that answered as this process before now *refuses* the connection,
or answers as another process. A process that is slow, silent, unreachable or cut off is never declared dead; there, the
session timeout decides. The session decides what to do about a dead member.

    CONNECTING --hello--> WATCHING --closed--> CONNECTING again --refused--> dead
        ^---anything else, without a limit of time---|
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from .background import Spawn
from .listener import Listener, keep_alive
from .metadata.member_info import MOST, MemberInfo

__all__ = ["LivenessMonitor", "process_base"]

log = logging.getLogger(__name__)

GREETING = b"tidemill"
FAREWELL = b"bye\n"
HELLO_SECONDS = 5.0
CONNECT_SECONDS = 5.0
RETRY_SECONDS = (0.05, 0.2, 1.0, 5.0, 15.0)
MOST_ACCEPTED = 8 * MOST
"""The maximum number of incoming connections: those of all members that watch this one, also while their plans
differ."""


def process_base(process: str) -> str:
    """Return a process id without its epoch: the same for the whole life of the process."""
    return process.partition(".")[0]


class LivenessMonitor:
    """Watches other members and is watched by some. For use on one event loop."""

    def __init__(self, process: str, wake: asyncio.Event, spawn: Spawn) -> None:
        """Set `wake` when a watched process ends; `spawn` runs coroutines concurrently."""
        self._process = process_base(process)
        self._wake = wake
        self._spawn = spawn
        self._listener: Listener | None = None
        self._watchers: dict[str, asyncio.Task[object]] = {}
        self._dead: list[MemberInfo] = []
        self.noticed = asyncio.Event()
        """Set when a watched process has died."""
        self.address = ""
        """The address at which this process can be watched, once `listen` has been called."""

    async def listen(self, host: str) -> None:
        """Open a port for other members, on the address by which this machine reaches the brokers."""
        if self._listener is not None:
            return
        try:
            self._listener = Listener(host, self._answer, MOST_ACCEPTED)
        except OSError as failure:
            log.warning("other members cannot watch this process, since no port could be opened: %s", failure)
            return
        port = self._listener.port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def watch(self, members: Iterable[MemberInfo]) -> None:
        """Watch these members from now on, and no others."""
        wanted = {info.member: info for info in members}
        for member in [m for m in self._watchers if m not in wanted]:
            self._watchers.pop(member).cancel()
        for member, info in wanted.items():
            if member not in self._watchers:
                self._watchers[member] = self._spawn(self._watch(info))

    def take(self) -> list[MemberInfo]:
        """Return the members found dead since the last call."""
        dead, self._dead = self._dead, []
        self.noticed.clear()
        return dead

    def announce_leave(self) -> None:
        """Tell the members that watch this one that it has left the group and need not be removed."""
        if self._listener is not None:
            self._listener.tell(FAREWELL)

    async def close(self) -> None:
        """Stop watching, and close the port."""
        watching = list(self._watchers.values())
        self._watchers.clear()
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()
            self._listener = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send this process's id, and keep the connection open until the other side closes it.

        Connections use up file descriptors, which the process needs for its state. Beyond `MOST_ACCEPTED` they are
        closed without a message, which proves nothing to the member at the other end.
        """
        with contextlib.suppress(OSError, asyncio.TimeoutError, ValueError):
            line = await asyncio.wait_for(reader.readline(), HELLO_SECONDS)
            if line.startswith(GREETING):
                writer.write(GREETING + b" " + self._process.encode() + b"\n")
                await writer.drain()
                while await reader.read(1024):
                    pass

    async def _watch(self, info: MemberInfo) -> None:
        """Watch a member until its process is known to be dead."""
        host, _, port = info.peer.rpartition(":")
        host = host.strip("[]")
        loop = asyncio.get_running_loop()
        met = False
        failures = 0
        while self._watchers.get(info.member) is asyncio.current_task():  # a cancellation may get lost in a timeout
            began = loop.time()
            verdict = await self._visit(host, int(port), process_base(info.process))
            if verdict in ("closed", "left"):
                self._wake.set()  # the next heartbeat shows what happened to the group
            if verdict == "left":
                return
            if verdict == "closed":
                met, failures = True, 0
                if loop.time() - began < 1:
                    await asyncio.sleep(RETRY_SECONDS[0])
                continue
            if met and verdict in ("refused", "another"):
                log.warning("the process of member %s at %s has died", info.member, info.peer)
                self._dead.append(info)
                self.noticed.set()
                return
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1

    async def _visit(self, host: str, port: int, process: str) -> str:
        """Connect, and stay until the connection ends; return how it ended.

        "closed": it was the right process, and the connection has ended · "left": the process announced that it leaves
        the group · "refused" · "another": another process answered · "unclear": anything else.
        """
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_SECONDS)
        except ConnectionRefusedError:
            return "refused"
        except (OSError, asyncio.TimeoutError):
            return "unclear"
        greeted = False
        try:
            keep_alive(writer.get_extra_info("socket"))
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
