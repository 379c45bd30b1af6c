"""How a running supervisor is reached by another command on its machine, and how it is asked for something.

The supervisor says who it is in `supervisor.json` in the application's part of the state directory, which it keeps
locked, and answers on a Unix socket in a directory of its own that only its user can enter (a path under the state
directory may be too long for a socket; so may one under TMPDIR). One request, one answer, both a line of JSON.
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
from ..plan.describe import counted
from ..threads import Thread

__all__ = ["Answer", "Control", "Place", "Request", "Waiting", "ask", "line_of"]

LOG: Final = logging.getLogger("tidemill.supervisor")

FILE: Final = "supervisor.json"
PREFIX: Final = "tidemill-"
"""Of the directory with the socket."""
SOCKET: Final = "control"
LONGEST_PATH: Final = 100
"""Bytes of a socket's path: the system takes 107 on Linux, 103 on macOS."""
ANSWER_SECONDS: Final = 10.0
LONGEST: Final = 1 << 20


class Place(msgspec.Struct, frozen=True):
    """One worker."""

    number: int
    pid: int
    """0 when there is no process at the moment."""
    state: Literal["starting", "ready", "stopping", "waiting"]
    """`waiting`: it died and will be started again."""
    restarts: int


class Request(msgspec.Struct, frozen=True):
    """What is asked for: another number of workers, other bounds, or nothing but an answer."""

    workers: int | Literal["auto"] | None = None
    autoscale: tuple[int, int] | Literal["off"] | None = None


class Answer(msgspec.Struct, frozen=True):
    """How things stand after a request; `refused` says why it was not done."""

    pid: int
    wanted: int
    places: list[Place]
    autoscale: tuple[int, int] | None
    tasks: int | None
    processors: int
    refused: str = ""

    @property
    def settled(self) -> bool:
        """Whether there are as many workers as wanted, all at work."""
        return len(self.places) == self.wanted and all(place.state == "ready" for place in self.places)


class Waiting(NamedTuple):
    """A request that waits for its answer."""

    request: Request
    answer: Future[Answer]


class Whereabouts(msgspec.Struct, frozen=True):
    """What the file says."""

    pid: int
    host: str
    socket: str


class Handler(socketserver.StreamRequestHandler):
    """Hands one request on, and writes the answer."""

    timeout = ANSWER_SECONDS

    def __init__(self, asked: Callable[[Waiting], None], *connection: Any) -> None:
        self._asked = asked
        super().__init__(*connection)

    def handle(self) -> None:
        try:
            request = msgspec.json.decode(self.rfile.readline(LONGEST), type=Request)
        except msgspec.DecodeError:
            return
        answer: Future[Answer] = Future()
        self._asked(Waiting(request, answer))
        with suppress(futures.TimeoutError, OSError):
            self.wfile.write(msgspec.json.encode(answer.result(ANSWER_SECONDS)) + b"\n")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread a request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str, asked: Callable[[Waiting], None]) -> None:
        super().__init__(path, partial(Handler, asked))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no concern of ours."""


class Control:
    """The supervisor's end: it is there to be found, and has what is asked of it in a queue."""

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        """`wake` ends the supervisor's wait when something is asked. Raises StateUnusable when another supervisor has
        the application in this state directory, or when the directory cannot be used."""
        self._path = settings.state_dir / settings.app_id / FILE
        self._requests: SimpleQueue[Waiting] = SimpleQueue()
        self._wake = wake
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = locked(self._path)
        except OSError as error:
            raise StateUnusable(
                f"the state directory {settings.state_dir} cannot be used: {error.strerror} ({error.filename}); make "
                "room and give this user the right to write there, or name another directory with the setting state_dir"
            ) from error
        former = read(self._path)
        if former is not None and former.host == platform.node():
            leftover = Path(former.socket).parent
            if leftover.name.startswith(PREFIX):
                shutil.rmtree(leftover, ignore_errors=True)  # of a supervisor that was killed
        self._directory = directory_for_socket(self._path.parent)
        self._server: Server | None = None
        path = ""
        if self._directory is None:
            LOG.warning(
                "found no directory for a socket with a path of at most %d characters (TMPDIR, /tmp, the state "
                "directory): `tidemill scale` cannot reach this supervisor",
                LONGEST_PATH,
            )
        else:
            path = str(self._directory / SOCKET)
            self._server = Server(path, self._asked)
            self._thread = Thread("tidemill-control", partial(self._server.serve_forever, 0.1))
            self._thread.start()
        content = msgspec.json.encode(Whereabouts(os.getpid(), platform.node(), path))
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, content + b"\n", 0)

    def requests(self) -> list[Waiting]:
        """What was asked since the last call."""
        found: list[Waiting] = []
        with suppress(Empty):
            while True:
                found.append(self._requests.get_nowait())
        return found

    def close(self) -> None:
        """Can no longer be found."""
        if self._server is not None and self._directory is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            shutil.rmtree(self._directory, ignore_errors=True)
        self._path.unlink(missing_ok=True)
        os.close(self._file)

    def _asked(self, waiting: Waiting) -> None:
        self._requests.put(waiting)
        self._wake()


def directory_for_socket(state: Path) -> Path | None:
    """A new directory that only this user can enter, with a path short enough for a socket in it; None if there is no
    place for one."""
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
    """The descriptor that holds the lock of the file, which is made if it is not there."""
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
                "there are; stop it first, or name another directory with the setting state_dir"
            ) from None
        with suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        os.close(descriptor)  # its holder removed it between the two


def read(path: Path) -> Whereabouts | None:
    """What the file says, None if it says nothing legible."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Whereabouts)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def supervisor_of(settings: Settings) -> Whereabouts | None:
    """Where the supervisor of an application says it is, in this state directory; it may be gone by now."""
    path = settings.state_dir / settings.app_id / FILE
    try:
        return read(path)
    except PermissionError as error:
        raise ConfigError(
            f"the workers of {settings.app_id} belong to another user of this machine ({path} cannot be read): run "
            "this command as that user"
        ) from error


def ask(settings: Settings, request: Request) -> Answer:
    """Asks the running supervisor. Raises ConfigError that says why it cannot be reached."""
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
            return msgspec.json.decode(line, type=Answer)
    except PermissionError as error:
        raise ConfigError(
            f"the workers of {app_id} belong to another user of this machine: run this command as that user"
        ) from error
    except (FileNotFoundError, ConnectionError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"the supervisor of {app_id} (process {found.pid}) has ended: there is nothing to scale; start it anew"
        ) from error
    except TimeoutError as error:
        raise ConfigError(f"the supervisor of {app_id} (process {found.pid}) does not answer: does it hang?") from error


def alone(settings: Settings) -> str:
    """What is said of a process that runs without a supervisor."""
    lock = settings.state_dir / settings.app_id / "worker-0" / "lock"
    with suppress(OSError):
        pid, _ = holder(lock.read_bytes())
        if not pid:
            return ""
        os.kill(pid, 0)
        return f". Process {pid} runs {settings.app_id} alone, without one: more of them cannot be added to it"
    return ""


def line_of(answer: Answer) -> str:
    """`3 workers wanted: 2 ready, 1 starting`, and what decides on their number."""
    counts = {
        state: sum(place.state == state for place in answer.places)
        for state in ("ready", "starting", "waiting", "stopping")
    }
    words = {"waiting": "waiting to be started again"}
    parts = ", ".join(f"{count} {words.get(state, state)}" for state, count in counts.items() if count)
    scaled = "" if answer.autoscale is None else f"; autoscale {answer.autoscale[0]}:{answer.autoscale[1]}"
    return f"{counted(answer.wanted, 'worker')} wanted: {parts or 'none yet'}{scaled}"
