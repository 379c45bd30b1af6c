"""One owner's connection to Redis.

Imported only where Redis is a target, because it needs the extra `redis`.

A write is one script, which Redis runs as a whole or not at all. It compares the epoch, and the position from which the
write goes on: a script whose answer was lost may wait in the server, and run after its owner has connected again and
written more. It then finds another position and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, TypeVar

from ...operators.errors import ConfigError
from ...operators.graph.target import RecordsRefused, TargetFenced, TargetSession, TargetTask, TargetUnavailable
from ...operators.record import Record
from ..failpoints import hit
from .error_lines import error_line
from .redis import Redis
from .row_names import bytes_of, row_name

__all__ = ["RedisSession", "opened"]

_client: Final[Any] = import_module("redis")
_errors: Final[Any] = import_module("redis.exceptions")
_retry: Final[Any] = import_module("redis.retry")
_backoff: Final[Any] = import_module("redis.backoff")
T = TypeVar("T")

DEFAULTS: Final = {"socket_connect_timeout": 10, "socket_timeout": 30}
"""Seconds, which the URL may override: a server that does not answer is noticed within these times."""
WRITE: Final = """
if redis.call('hget', KEYS[1], 'epoch') ~= ARGV[1] then return 'fenced' end
if (redis.call('hget', KEYS[1], 'position') or '') ~= ARGV[2] then return 'moved' end
for i = 2, #KEYS do
  local value = ARGV[i + 3]
  if value == '' then redis.call('unlink', KEYS[i])
  elseif ARGV[4] == '' then redis.call('set', KEYS[i], string.sub(value, 2))
  else redis.call('set', KEYS[i], string.sub(value, 2), 'px', ARGV[4]) end
end
redis.call('hset', KEYS[1], 'position', ARGV[3])
return 'written'
"""
"""Arguments: the epoch, the position from which and to which the write goes, ms until rows expire, a value per key.

A value has a character before it, so that the empty text is that of a row that is deleted.
"""
SETTINGS: Final = ("appendonly", "appendfsync", "maxmemory-policy")
POSITION: Final = """
local found = redis.call('hmget', KEYS[1], 'epoch', 'position')
if found[1] == ARGV[1] then redis.call('hset', KEYS[1], 'epoch', ARGV[1]) end
return found
"""
"""Returns the epoch and the position; its owner writes, too, so that waiting for the disk includes earlier writes."""
WAIT_MS: Final = 30_000


def opened(target: Redis, task: TargetTask, epoch: str) -> RedisSession:
    """Check the server, and make `epoch` the one that may write."""
    session = RedisSession(target, task, epoch)
    try:
        session.claim()
    except BaseException:
        session.close()
        raise
    return session


class RedisSession(TargetSession):
    """The session of one epoch. It connects when it needs to."""

    def __init__(self, target: Redis, task: TargetTask, epoch: str) -> None:
        self._target = target
        self._task = task
        self._epoch = epoch
        self._place = f"tidemill:positions:{task}"
        self._prefix = target.prefix.encode()
        self._from = ""
        """The position in the target, as text."""
        self._wait = False
        """Whether each write waits until the server has it on disk."""
        never = _retry.Retry(_backoff.NoBackoff(), 0)  # a repeated script is refused, since its position is another
        self._server: Any = self._asked(lambda: _client.Redis.from_url(target.url, retry=never, **DEFAULTS))

    def claim(self) -> None:
        """Check how the server keeps its data, and set the epoch.

        Raises ConfigError if it may lose what it has.
        """
        self._wait = self._checked()
        self._asked(lambda: self._server.hset(self._place, "epoch", self._epoch))

    def position(self) -> int | None:
        epoch, found = self._run(POSITION, [self._place], [self._epoch])
        if epoch != self._epoch.encode():
            raise self._fenced()
        self._from = "" if found is None else found.decode()
        return None if found is None else int(found)

    def write(self, records: Sequence[Record[Any, Any]], position: int) -> None:
        rows: dict[bytes, bytes] = {}
        wrong: dict[int, Exception] = {}
        for index, record in enumerate(records):
            try:
                name = self._prefix + row_name(record.key)
                rows[name] = b"" if record.value is None else b"=" + bytes_of(record.value)
            except Exception as error:
                wrong[index] = error
        if wrong:
            raise RecordsRefused(wrong)
        expire = "" if self._target.expire is None else str(self._target.expire)
        keys, values = [self._place, *rows], [self._epoch, self._from, str(position), expire, *rows.values()]
        outcome = self._run(WRITE, keys, values)
        if outcome == b"fenced":
            raise self._fenced()
        if outcome == b"moved":
            raise TargetUnavailable(f"the position of {self._task} is not {self._from or 'unset'} any more")
        self._from = str(position)
        hit("during-target-write")

    def close(self) -> None:
        self._server.close()

    def _checked(self) -> bool:
        """Return whether writes must wait until they are on disk.

        Raises ConfigError if the server does not fit.
        """
        if self._asked(lambda: self._server.info("cluster")).get("cluster_enabled"):
            raise ConfigError(f"{self._where}: the server is one of a cluster, where a script cannot change all rows")
        if not self._target.durable:
            return False
        found = self._asked(self._settings)
        accept = "or accept with durable=False that it may lose rows"
        if not found:
            raise ConfigError(
                f"{self._where}: the server does not tell how it keeps its data (CONFIG GET): allow it, {accept}"
            )
        if str(found["maxmemory-policy"]).startswith("allkeys"):
            raise ConfigError(
                f"{self._where}: the server drops keys when its memory is full: set maxmemory-policy noeviction or one "
                f"of volatile, {accept}"
            )
        if found["appendonly"] != "yes":
            raise ConfigError(f"{self._where}: the server has its data in memory only: set appendonly yes, {accept}")
        if found["appendfsync"] == "always":
            return False
        server = self._asked(lambda: self._server.info("server"))
        version = tuple(int(part) for part in str(server["redis_version"]).split(".")[:2])
        if version < (7, 2):
            raise ConfigError(
                f"{self._where}: the server has the last second of writes in memory only: set appendfsync always, use "
                f"Redis 7.2 or later, {accept}"
            )
        return True

    def _run(self, script: str, keys: Sequence[Any], values: Sequence[Any]) -> Any:
        """Return what a script returns, when its writes are on disk if they must be."""

        def request() -> list[Any]:
            with self._server.pipeline(transaction=False) as commands:  # on one connection, whose writes it waits for
                commands.eval(script, len(keys), *keys, *values)
                if self._wait:
                    commands.execute_command("WAITAOF", 1, 0, WAIT_MS)
                return commands.execute()

        found, *saved = self._asked(request)
        if saved and saved[0][0] < 1:
            raise TargetUnavailable(f"the server did not have the write on disk after {WAIT_MS // 1000} s")
        return found

    def _settings(self) -> dict[str, str]:
        """Return how the server keeps its data; nothing if it does not tell, as some hosted ones."""
        try:
            return {name: self._server.config_get(name)[name] for name in SETTINGS}
        except _errors.ResponseError as error:
            if isinstance(error, _errors.NoPermissionError) or "unknown command" in str(error).lower():
                return {}
            raise

    def _asked(self, request: Callable[[], T]) -> T:
        """Return the answer to a request.

        Raises TargetUnavailable, and ConfigError if access is denied.
        """
        try:
            return request()
        except (_errors.AuthenticationError, _errors.NoPermissionError, ValueError) as error:
            raise ConfigError(f"{self._where}: {error_line(error)}") from error
        except (_errors.RedisError, OSError) as error:
            raise TargetUnavailable(error_line(error)) from error

    def _fenced(self) -> TargetFenced:
        return TargetFenced(f"another owner has opened {self._task} in {self._place} since")

    @property
    def _where(self) -> str:
        return f"step {self._task.sink!r}, tm.redis(prefix={self._target.prefix!r})"
