"""A TCP proxy that injects network faults: it holds data in one direction or both, delays it, and resets connections.

`cut` acts like a network that drops packets: connections stay open, nothing arrives, and `heal` delivers what was held.
`close_connections` resets the connections: what was held is lost. New connections are accepted during a cut and held
like the others. The proxy runs on its own thread; when a method returns, its effect is in force. It does not parse
Kafka's protocol, so a broker behind it must advertise the port of the proxy (see ways.py).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Literal

Direction = Literal["to_broker", "to_client"]

_CHUNK = 65536
_HELD_CHUNKS = 64  # beyond this the sender gets back pressure, as from a congested network


class Proxy:
    """Forwards 127.0.0.1:`port` to `target`."""

    def __init__(self, target: tuple[str, int], port: int) -> None:
        self.port = port
        self.target = target
        self._open: dict[Direction, asyncio.Event] = {}
        self._delay = 0.0
        self._forwarded: dict[Direction, int] = {"to_broker": 0, "to_client": 0}
        self._connections: set[asyncio.Task[None]] = set()
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(started)), name=f"proxy-{port}", daemon=True
        )
        self._thread.start()
        started.result(10)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    @property
    def forwarded(self) -> dict[Direction, int]:
        """The bytes delivered so far in each direction."""
        return dict(self._forwarded)

    def cut(self, direction: Direction | Literal["both"] = "both") -> None:
        """Hold all data in this direction until `heal`."""
        self._set(direction, asyncio.Event.clear)

    def heal(self, direction: Direction | Literal["both"] = "both") -> None:
        """Deliver what was held, and forward normally again."""
        self._set(direction, asyncio.Event.set)

    def delay(self, seconds: float) -> None:
        """Delay each byte by this time, in both directions; 0 ends it."""
        self._delay = seconds

    def close_connections(self) -> None:
        """Reset every open connection; what was held on them is lost."""
        self._call(self._abort_all())

    def close(self) -> None:
        """Stop listening and reset all connections. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(10)

    def _set(self, direction: Direction | Literal["both"], change: Callable[[asyncio.Event], None]) -> None:
        async def apply() -> None:
            for name, event in self._open.items():
                if direction in (name, "both"):
                    change(event)

        self._call(apply())

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _main(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._open = {"to_broker": asyncio.Event(), "to_client": asyncio.Event()}
        for event in self._open.values():
            event.set()
        try:
            server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        except OSError as failure:
            started.set_exception(failure)
            return
        started.set_result(None)
        await self._ended.wait()
        server.close()
        await self._abort_all()

    async def _abort_all(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        def end(task: asyncio.Task[None]) -> None:
            self._connections.discard(task)
            if task.cancelled():  # before it began
                _reset(client_out)

        if self._ended.is_set():
            _reset(client_out)
            return
        forwarding = self._loop.create_task(self._forward(client_in, client_out))
        self._connections.add(forwarding)
        forwarding.add_done_callback(end)

    async def _forward(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        writers = [client_out]
        carriers: list[asyncio.Task[None]] = []
        try:
            broker_in, broker_out = await asyncio.open_connection(*self.target)
            writers.append(broker_out)
            carriers.append(asyncio.create_task(self._carry(client_in, broker_out, "to_broker")))
            carriers.append(asyncio.create_task(self._carry(broker_in, client_out, "to_client")))
            await asyncio.gather(*carriers)
            for writer in writers:
                writer.close()
        except (OSError, asyncio.CancelledError):  # one side is gone, or the connection was reset by a test
            for writer in writers:
                _reset(writer)
        finally:
            for carrier in carriers:
                carrier.cancel()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction) -> None:
        held: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(_HELD_CHUNKS)

        async def receive() -> None:
            chunk: bytes | OSError = b"-"
            while isinstance(chunk, bytes) and chunk:
                try:
                    chunk = await source.read(_CHUNK)
                except OSError as error:
                    chunk = error
                await held.put((self._loop.time() + self._delay, chunk))

        receiving = asyncio.create_task(receive())
        try:
            while True:
                due, chunk = await held.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._open[direction].wait()
                if isinstance(chunk, OSError):
                    raise chunk
                if not chunk:
                    with suppress(OSError):
                        sink.write_eof()
                    return
                self._forwarded[direction] += len(chunk)
                sink.write(chunk)
                await sink.drain()
        finally:
            receiving.cancel()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # so that it is a reset
    writer.transport.abort()
