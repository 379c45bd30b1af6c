"""A port whose connections are all closed when it is closed, at whatever moment.

asyncio's own server forgets a connection that it is accepting at the moment at which it is closed (CPython 3.10 to
3.13, `BaseSelectorEventLoop._accept_connection2`): the socket stays open until it happens to be garbage-collected.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

__all__ = ["Listener", "keep_alive"]

Answer: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BACKLOG: Final = 128
PAUSE_SECONDS: Final = 1.0
"""The wait for a free file descriptor."""


class Listener:
    """An open port. For use on one event loop."""

    def __init__(self, host: str, answer: Answer, most: int) -> None:
        """Listen on a free port of this address. Raises OSError.

        Beyond `most` open connections, others are closed at once.
        """
        self._answer = answer
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._open: dict[socket.socket, asyncio.Task[None]] = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=BACKLOG)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._resume()

    def tell(self, message: bytes) -> None:
        """Send a short message on all open connections, without waiting."""
        for accepted in self._open:
            with contextlib.suppress(OSError):
                accepted.send(message)

    async def close(self) -> None:
        """Close the port and all connections."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        answering = dict(self._open)
        for task in answering.values():
            task.cancel()
        await asyncio.gather(*answering.values(), return_exceptions=True)
        for accepted in answering:
            accepted.close()

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        try:
            accepted, _ = self._socket.accept()
        except OSError as failure:
            if failure.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._loop.remove_reader(self._socket)
                self._loop.call_later(PAUSE_SECONDS, self._resume)
            return  # otherwise, the other side has gone again
        if len(self._open) >= self._most:
            accepted.close()
            return
        accepted.setblocking(False)
        task = self._open[accepted] = self._loop.create_task(self._talk(accepted))
        task.add_done_callback(lambda _task: self._open.pop(accepted, None))

    async def _talk(self, accepted: socket.socket) -> None:
        try:
            keep_alive(accepted)
            reader, writer = await asyncio.open_connection(sock=accepted)
            try:
                await self._answer(reader, writer)
            finally:
                writer.close()
        except (OSError, asyncio.TimeoutError):
            accepted.close()


def keep_alive(connection: socket.socket) -> None:
    """Enable keep-alive, so that no router drops the idle connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
