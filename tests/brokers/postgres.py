"""Run a PostgreSQL server for the tests, from the system's package, in a temporary directory on a reserved port.

PostgreSQL refuses to run as root, so root runs it as `postgres`, the user of Debian's package.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.brokers import ports
from tests.brokers.process import remove, run_at_end, temporary_directory

__all__ = ["Postgres", "missing", "running"]

USER = "postgres"
SETTINGS = (
    "-c fsync=off -c max_connections=50 -c shared_buffers=16MB -c listen_addresses=127.0.0.1 "
    "-c unix_socket_directories="
)
"""Processes are killed, machines are not."""


def programs() -> Path | None:
    """Return the directory with the programs of the newest server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    there = shutil.which("pg_ctl")
    return None if there is None else Path(there).resolve().parent


def missing() -> str | None:
    """Return why no server can run on this machine, or None."""
    if programs() is None:
        return "PostgreSQL is not installed (Debian's package postgresql)"
    if os.getuid() == 0 and USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return f"PostgreSQL does not run as root, and there is no user {USER!r}"
    return None


class Postgres:
    """A running server."""

    def __init__(self, directory: Path, port: int, settings: str = "") -> None:
        self._settings = settings
        self._directory = directory
        self._data = directory / "data"
        self.port = port

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def rows(self, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Return the rows of a query, or an empty list for a statement without rows."""
        with psycopg.connect(self.url, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def create(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self._directory, USER)
            self._directory.chmod(0o755)
        arguments = ("-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        self._run("initdb", "-D", str(self._data), *arguments)
        run_at_end([*_command("pg_ctl"), "-D", str(self._data), "-m", "immediate", "stop"])

    def start(self) -> None:
        log = self._directory / "log"
        options = f"-p {self.port} {SETTINGS} {self._settings}"
        self._run("pg_ctl", "-D", str(self._data), "-l", str(log), "-w", "-t", "60", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "fast" closes all connections, "immediate" is a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    @staticmethod
    def _run(program: str, *arguments: str) -> None:
        result = subprocess.run(
            [*_command(program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
            cwd="/",
        )
        if result.returncode:
            raise RuntimeError(f"{program} failed: {result.stderr}")


def _command(program: str) -> list[str]:
    """Return the command for a program of PostgreSQL, run as a user other than root."""
    directory = programs()
    assert directory is not None
    return [*(["runuser", "-u", USER, "--"] if os.getuid() == 0 else []), str(directory / program)]


@contextmanager
def running(settings: str = "") -> Iterator[Postgres]:
    """Run a server until the end of the block; `settings` are additional options of its command."""
    directory = temporary_directory("postgres")
    server = Postgres(directory, ports.reserve(), settings)
    server.create()
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
        remove(directory)
