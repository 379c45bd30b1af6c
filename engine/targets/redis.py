"""Redis as a target: the rows of a table, each a key of the server."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar

from ...operators.errors import TopologyError
from ...operators.graph.target import Target, TargetInput, TargetSession, TargetTask
from ...operators.time.durations import Duration, parse_duration

__all__ = ["Redis", "redis"]


@dataclass(frozen=True)
class Redis(Target):
    """Keys of a Redis server. `redis` makes it."""

    kind: ClassVar[str] = "redis"

    url: str
    prefix: str
    expire: int | None
    """Milliseconds."""
    durable: bool

    def __repr__(self) -> str:
        return f"redis(prefix={self.prefix!r})"  # a URL may have a password

    def accept(self, given: TargetInput) -> Redis:
        if not given.table:
            raise TopologyError(
                f"tm.redis(prefix={self.prefix!r}) keeps the rows of a table, and this is a stream: use .to_table(), "
                "or an aggregate"
            )
        return self

    def open(self, task: TargetTask, epoch: str) -> TargetSession:
        module = import_module(f"{__package__}.redis_session")
        session: TargetSession = module.opened(self, task, epoch)
        return session


def redis(url: str, prefix: str, *, expire: Duration | None = None, durable: bool = True) -> Target:
    """Return keys of Redis as the target of a table's sink: each row is a key, exactly once.

    The key is the prefix and the key of the row, with `:start:end` for a window. Texts and bytes are as they are,
    everything else is JSON. A row that is deleted has no key. The position is a key of its own, changed by the same
    script.

    Args:
        url: The server and the database, as for redis-py: redis://, rediss:// or unix://.
        prefix: What the names of the keys begin with, such as "totals:".
        expire: How long a row stays after its last change, by the clock of the server. Without it, until it is deleted.
        durable: Whether to refuse a server that does not have each write on disk before it answers. Otherwise a crash
            of its machine may lose rows, which are not written again.

    Raises:
        TopologyError: An argument is wrong, or redis-py is not installed.

    Example:
        >>> cache = tm.redis("redis://localhost:6379/0", prefix="customers:")
        >>> customers.sink(cache).named("customers-in-redis")
    """
    if find_spec("redis") is None:
        raise TopologyError("tm.redis needs redis-py, which is not installed: pip install 'tidemill[redis]'")
    for text, what in ((url, "url"), (prefix, "prefix")):
        if not isinstance(text, str) or not text:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f"tm.redis({what}=) takes a text, not {text!r}")
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise TopologyError("tm.redis(url=) takes a URL that begins with redis://, rediss:// or unix://")
    after = None if expire is None else parse_duration(expire, "tm.redis(expire=)", at_least=1)
    return Redis(url, prefix, after, durable)
