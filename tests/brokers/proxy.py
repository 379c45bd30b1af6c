"""A TCP proxy for bad days on the network: it can hold what flows in one direction or both, delay it, and break
connections.

`cut` is a network that swallows packets: connections stay open, nothing arrives, and `heal` delivers what was held.
`close_connections` is a network that resets: what was held is lost. New connections are accepted during a cut and
held like the others. It runs on a thread of its own; when a method returns, its effect is in force. It knows nothing
of Kafka's protocol: for a broker to stay behind it, the broker must advertise the proxy's port
(see ways.py).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Literal

Direction = Literal["to_broker", "to_client"]

_CHUNK = 65536
_HELD_CHUNKS = 64  # then the sender feels back pressure, as it would from a full network


class Proxy:
    """Forwards 127.0.0.1:`port` to `target`."""

    def __init__(self, target: tuple[str, int], port: int) -> None:
        self.port = port
        self.target = target
        self._open: dict[Direction, asyncio.Event] = {}
        self._delay = 0.0
        self._forwarded: dict[Direction, int] = {"to_broker": 0, "to_client": 0}
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{port}", daemon=True)
        self._thread.start()
        try:
            self._server = self._call(self._listen())
        except BaseException:
            self._end()
            raise

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def forwarded(self) -> dict[Direction, int]:
        """Bytes delivered so far in each direction."""
        return dict(self._forwarded)

    def cut(self, direction: Direction | Literal["both"] = "both") -> None:
        """Deliver nothing more in this direction until `heal`."""
        self._set(direction, asyncio.Event.clear)

    def heal(self, direction: Direction | Literal["both"] = "both") -> None:
        """Deliver what was held, and go on."""
        self._set(direction, asyncio.Event.set)

    def delay(self, seconds: float) -> None:
        """Deliver each byte this much later, in each direction; 0 ends it."""
        self._delay = seconds

    def close_connections(self) -> None:
        """Reset every open connection; what was held on them is lost."""
        self._call(self._abort_all())

    def close(self) -> None:
        """Stop listening and reset everything. May be called twice."""
        if not self._loop.is_closed():
            self._call(self._close())
            self._end()

    def _set(self, direction: Direction | Literal["both"], change: Callable[[asyncio.Event], None]) -> None:
        async def apply() -> None:
            for name, event in self._open.items():
                if direction in (name, "both"):
                    change(event)

        self._call(apply())

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        self._open = {"to_broker": asyncio.Event(), "to_client": asyncio.Event()}
        for event in self._open.values():
            event.set()
        return await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _close(self) -> None:
        self._server.close()
        await self._abort_all()

    async def _abort_all(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
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
        except (OSError, asyncio.CancelledError):  # one side is gone, or the connection is reset on purpose
            for writer in writers:
                _reset(writer)
        finally:
            for carrier in carriers:
                carrier.cancel()
            self._connections.discard(task)

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
