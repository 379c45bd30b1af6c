"""The control channel of a running supervisor for other commands on its machine.

The supervisor writes its address to `supervisor.json` in the application's part of the state directory, which it keeps
locked, and serves a Unix socket in a separate directory that only its user can enter (a path under the state directory
may be too long for a socket; so may one under TMPDIR). A request and its response are one line of JSON each.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import shutil
import socket
import socketserver
import tempfile
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal, NamedTuple

import msgspec

from ...state.directory import holder
from ..config.settings import Settings
from ..errors import ConfigError, StateUnusable
from ..plan.description import plural
from ..threads import Thread

__all__ = ["Control", "ControlRequest", "ControlResponse", "PendingRequest", "WorkerStatus", "ask", "line_of"]

LOG: Final = logging.getLogger("tidemill.supervisor")

FILE: Final = "supervisor.json"
PREFIX: Final = "tidemill-"
"""Prefix of the name of the directory with the socket."""
SOCKET: Final = "control"
LONGEST_PATH: Final = 100
"""Maximum bytes of a socket path: the system limit is 107 on Linux, 103 on macOS."""
ANSWER_SECONDS: Final = 10.0
LONGEST: Final = 1 << 20


class WorkerStatus(msgspec.Struct, frozen=True):
    """The status of one worker."""

    number: int
    pid: int
    """0 if there is no process at the moment."""
    state: Literal["starting", "ready", "stopping", "waiting"]
    """`waiting`: it died and will be restarted."""
    restarts: int


class ControlRequest(msgspec.Struct, frozen=True):
    """A request for another number of workers, other bounds, or only the status."""

    workers: int | Literal["auto"] | None = None
    autoscale: tuple[int, int] | Literal["off"] | None = None


class ControlResponse(msgspec.Struct, frozen=True):
    """The status after a request; `refused` is the reason if it was refused."""

    pid: int
    wanted: int
    places: list[WorkerStatus]
    autoscale: tuple[int, int] | None
    tasks: int | None
    processors: int
    refused: str = ""

    @property
    def reached(self) -> bool:
        """Whether there are as many workers as wanted, all of them ready."""
        return len(self.places) == self.wanted and all(place.state == "ready" for place in self.places)


class PendingRequest(NamedTuple):
    """A request that waits for its response."""

    request: ControlRequest
    answer: Future[ControlResponse]


class ControlAddress(msgspec.Struct, frozen=True):
    """The content of the file."""

    pid: int
    host: str
    socket: str


class ControlHandler(socketserver.StreamRequestHandler):
    """Passes one request on, and writes the response."""

    timeout = ANSWER_SECONDS

    def __init__(self, asked: Callable[[PendingRequest], None], *connection: Any) -> None:
        self._asked = asked
        super().__init__(*connection)

    def handle(self) -> None:
        try:
            request = msgspec.json.decode(self.rfile.readline(LONGEST), type=ControlRequest)
        except msgspec.DecodeError:
            return
        answer: Future[ControlResponse] = Future()
        self._asked(PendingRequest(request, answer))
        with suppress(futures.TimeoutError, OSError):
            self.wfile.write(msgspec.json.encode(answer.result(ANSWER_SECONDS)) + b"\n")


class ControlServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A server with one thread per request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str, asked: Callable[[PendingRequest], None]) -> None:
        super().__init__(path, partial(ControlHandler, asked))

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors of connections, such as a client that disconnects."""


class Control:
    """The supervisor's end of the channel: its address file and a queue of requests."""

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        """Start the server and write its address; `wake` is called on each request.

        Raises StateUnusable if another supervisor runs the application in this state directory, or if the directory
        cannot be used.
        """
        self._path = settings.state_dir / settings.app_id / FILE
        self._requests: SimpleQueue[PendingRequest] = SimpleQueue()
        self._wake = wake
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = locked(self._path)
        except OSError as error:
            raise StateUnusable(
                f"the state directory {settings.state_dir} cannot be used: {error.strerror} ({error.filename}); free "
                "disk space and give this user the right to write there, or choose another directory with the setting "
                "state_dir"
            ) from error
        former = read(self._path)
        if former is not None and former.host == platform.node():
            leftover = Path(former.socket).parent
            if leftover.name.startswith(PREFIX):
                shutil.rmtree(leftover, ignore_errors=True)  # left by a killed supervisor
        self._directory = directory_for_socket(self._path.parent)
        self._server: ControlServer | None = None
        path = ""
        if self._directory is None:
            LOG.warning(
                "found no directory for a socket with a path of at most %d characters (TMPDIR, /tmp, the state "
                "directory): `tidemill scale` cannot reach this supervisor",
                LONGEST_PATH,
            )
        else:
            path = str(self._directory / SOCKET)
            self._server = ControlServer(path, self._asked)
            self._thread = Thread("tidemill-control", partial(self._server.serve_forever, 0.1))
            self._thread.start()
        content = msgspec.json.encode(ControlAddress(os.getpid(), platform.node(), path))
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, content + b"\n", 0)

    def requests(self) -> list[PendingRequest]:
        """Return the requests since the last call."""
        found: list[PendingRequest] = []
        with suppress(Empty):
            while True:
                found.append(self._requests.get_nowait())
        return found

    def close(self) -> None:
        """Stop the server and remove the address file."""
        if self._server is not None and self._directory is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            shutil.rmtree(self._directory, ignore_errors=True)
        self._path.unlink(missing_ok=True)
        os.close(self._file)

    def _asked(self, waiting: PendingRequest) -> None:
        self._requests.put(waiting)
        self._wake()


def directory_for_socket(state: Path) -> Path | None:
    """Create a directory that only this user can enter, with a path short enough for a socket.

    Returns None if there is no place for one.
    """
    for parent in (None, "/tmp", state):
        try:
            found = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError:
            continue
        if len(os.fsencode(found / SOCKET)) <= LONGEST_PATH:
            return found
        found.rmdir()
    return None


def locked(path: Path) -> int:
    """Lock a file, creating it if necessary; return the descriptor that holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            other = read(path)
            raise StateUnusable(
                f"another supervisor{'' if other is None else f' (process {other.pid})'} runs the workers of "
                f"{path.parent.name!r} in the state directory {path.parent.parent}: `tidemill scale` changes how many "
                "there are; stop it first, or choose another directory with the setting state_dir"
            ) from None
        with suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        os.close(descriptor)  # its holder removed it between the two


def read(path: Path) -> ControlAddress | None:
    """Return the content of the address file; None if it is missing or invalid."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ControlAddress)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def supervisor_of(settings: Settings) -> ControlAddress | None:
    """Return the address of an application's supervisor, which may have ended by now."""
    path = settings.state_dir / settings.app_id / FILE
    try:
        return read(path)
    except PermissionError as error:
        raise ConfigError(
            f"the workers of {settings.app_id} belong to another user of this machine ({path} cannot be read): run "
            "this command as that user"
        ) from error


def ask(settings: Settings, request: ControlRequest) -> ControlResponse:
    """Send a request to the running supervisor. Raises ConfigError if it cannot be reached."""
    app_id, directory = settings.app_id, settings.state_dir
    found = supervisor_of(settings)
    if found is None:
        raise ConfigError(
            f"no supervisor of {app_id} runs here, by the state directory {directory}: give the directory it was "
            f"started with (--state-dir), or start it with --workers N{alone(settings)}"
        )
    if found.host != platform.node():
        raise ConfigError(
            f"the supervisor of {app_id} runs on another machine, {found.host!r} (process {found.pid}): run this "
            "command there"
        )
    if not found.socket:
        raise ConfigError(
            f"the supervisor of {app_id} (process {found.pid}) found no directory for its socket: start it "
            "with a TMPDIR that is shorter and that it can write to"
        )
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(found.socket)
            connection.sendall(msgspec.json.encode(request) + b"\n")
            line = connection.makefile("rb").readline(LONGEST)
            return msgspec.json.decode(line, type=ControlResponse)
    except PermissionError as error:
        raise ConfigError(
            f"the workers of {app_id} belong to another user of this machine: run this command as that user"
        ) from error
    except (FileNotFoundError, ConnectionError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"the supervisor of {app_id} (process {found.pid}) has ended: there is nothing to scale; restart it"
        ) from error
    except TimeoutError as error:
        raise ConfigError(f"the supervisor of {app_id} (process {found.pid}) does not answer: does it hang?") from error


def alone(settings: Settings) -> str:
    """Return a hint if the application runs as one process without a supervisor, or ""."""
    lock = settings.state_dir / settings.app_id / "worker-0" / "lock"
    with suppress(OSError):
        pid, _ = holder(lock.read_bytes())
        if not pid:
            return ""
        os.kill(pid, 0)
        return f". Process {pid} runs {settings.app_id} alone, without one: more of them cannot be added to it"
    return ""


def line_of(answer: ControlResponse) -> str:
    """Return `3 workers wanted: 2 ready, 1 starting`, and the bounds of autoscaling."""
    counts = {
        state: sum(place.state == state for place in answer.places)
        for state in ("ready", "starting", "waiting", "stopping")
    }
    words = {"waiting": "waiting to be restarted"}
    parts = ", ".join(f"{count} {words.get(state, state)}" for state, count in counts.items() if count)
    scaled = "" if answer.autoscale is None else f"; autoscale {answer.autoscale[0]}:{answer.autoscale[1]}"
    return f"{plural(answer.wanted, 'worker')} wanted: {parts or 'none yet'}{scaled}"
