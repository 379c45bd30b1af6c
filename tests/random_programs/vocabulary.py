"""The functions and processors of random programs. Import all of them to run a printed program.

Values are what JSON can say. Most functions take any of them, fail for a few (13 anywhere in it), and many change the
value that they are given, also before they fail. With `COPYING` set those get copies, so nothing they do can be seen.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import tidemill as tm

COPYING = False


def changing(function: Any) -> Any:
    """Marks a function that changes its arguments."""

    def given(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return copy.deepcopy(arguments) if COPYING else arguments

    @wraps(function)
    def called(*arguments: Any) -> Any:
        return function(*given(arguments))

    @wraps(function)
    async def awaited(*arguments: Any) -> Any:
        return await function(*given(arguments))

    return awaited if inspect.iscoroutinefunction(function) else called


def number(value: Any) -> int:
    """A whole number for any value; fails where there is a 13 in it."""
    if isinstance(value, dict):
        value = value.get("x")
    if isinstance(value, (list, tuple)):
        return sum(map(number, value))
    if isinstance(value, str):
        return len(value)
    if value is None or isinstance(value, dict):
        return 0
    if value == 13:
        raise ValueError("13")
    return int(value)


def ruin(value: Any) -> None:
    """Change a value in place."""
    if isinstance(value, dict):
        for subtopology in list(value.values()):
            ruin(subtopology)
        value["x"] = -1
        value["items"] = "ruined"
    elif isinstance(value, list):
        for subtopology in value:
            ruin(subtopology)
        value.append(-1)


# values to values


def odd(value: Any) -> bool:
    return number(value) % 2 == 1


def small(value: Any) -> bool:
    return value is None or number(value) < 9


def good(value: Any) -> bool:
    number(value)
    return True


def ruining(value: Any) -> Any:
    """A filter that changes the values that it passes, also if other steps get copies of them."""
    result = number(value) % 3 > 0
    ruin(value)
    return result


def row(value: Any) -> Any:
    n = number(value)
    return {"x": n, "items": n % 3, "get": None if n % 2 else n, "keys": [n], "y": str(n)}


@changing
def grown(value: Any) -> Any:
    """The value itself, changed; fails after that."""
    n = number(value)
    if isinstance(value, dict):
        value["x"] = n + 1
    if isinstance(value, list):
        value.append(n)
    if n == 6:
        raise ValueError("6")
    return value


def plain(value: Any) -> int:
    return number(value) % 20


def several(value: Any) -> list[Any]:
    return [value, number(value)][: number(value) % 3]


def text(value: Any) -> str | None:
    """A key."""
    n = number(value)
    return None if n == 5 else "kl m"[n % 4]


def mixed(value: Any) -> Any:
    """A key, among them such as equal one another in Python."""
    return [1, 1.0, True, -0.0, 0, "1", None, [1, "a"]][number(value) % 8]


def scalar(value: Any) -> Any:
    """The same without a list, which is no key in memory: where a row with one is dropped depends on batches, in joins
    by foreign key."""
    return [1, 1.0, True, -0.0, 0, "1", None, "a"][number(value) % 8]


@changing
def total(values: list[Any]) -> list[Any]:
    """Fails for a batch with a 13."""
    found = [[len(values) > 0, number(value)] for value in values]
    for value in values:
        ruin(value)
    return found


@changing
async def called(value: Any) -> Any:
    n = number(value)
    await asyncio.sleep(0)
    return [n, value]


# records


def later(record: Any) -> Any:
    return tm.Record(record.key, record.value, record.timestamp + number(record.value), record.headers)


def earlier(record: Any) -> Any:
    return tm.Record(record.key, record.value, max(record.timestamp - number(record.value) % 30, 0))


def moment(record: Any) -> int | None:
    """An event time near that of the record, None for a few."""
    n = number(record.value)
    return None if n == 9 else record.timestamp + n % 30 - 10


def unwindowed(record: Any) -> Any:
    return tm.Record(record.key.key, [record.key.start, record.key.end, record.value], record.timestamp)


# folds


def added(a: Any, b: Any) -> Any:
    """A sum that is None, which deletes, for multiples of seven."""
    found = number(a) + number(b)
    return None if found % 7 == 0 else found


def taken(a: Any, b: Any) -> Any:
    return number(a) - number(b)


def summed(a: int, b: Any) -> int:
    return a + number(b)


def unsummed(a: int, b: Any) -> int:
    return a - number(b)


@changing
def appended(so_far: list[Any], value: Any) -> list[Any]:
    """Changes the accumulator and the value, then may fail."""
    so_far.append(number(value))
    ruin(value)
    if so_far[-1] == 4:
        raise ValueError("4")
    return so_far[-4:]


def merged(a: list[Any], b: list[Any]) -> list[Any]:
    return [*a, *b][-4:]


@changing
def ruined(value: Any) -> int:
    n = number(value)
    ruin(value)
    return n


def columns(names: str) -> dict[str, Any]:
    """Columns on fields with awkward names."""
    known: dict[str, Callable[[], Any]] = {
        "n": tm.count,
        "items": lambda: tm.count("items"),
        "get": lambda: tm.count("get"),
        "values": lambda: tm.sum("x"),
        "least": lambda: tm.min("x"),
        "most": lambda: tm.max("items"),
        "first": lambda: tm.first("keys"),
        "last": lambda: tm.last("keys"),
        "all": lambda: tm.collect("items"),
        "top": lambda: tm.top(2, by="x"),
        "mean": lambda: tm.mean("x"),
        "function": lambda: tm.sum(number),
        "ruined": lambda: tm.sum(ruined),
        "grown": lambda: tm.last(grown),
        "whole": tm.first,
    }
    return {name: known[name]() for name in names.split()}


def collected(so_far: list[Any], value: Any) -> list[Any]:
    number(value)
    return [*so_far, value]


def joined(a: list[Any], b: list[Any]) -> list[Any]:
    return [*a, *b]


# joins


@changing
def paired(left: Any, right: Any) -> Any:
    """Both; fails if one of them has a 13, and for a lone 8. What it is given is changed."""
    found = [number(left), number(right), left is None, right is None]
    if found[2] != found[3] and found[0] + found[1] == 8:
        raise ValueError("a lone 8")
    ruin(left)
    ruin(right)
    return found


def both(left: Any, right: Any) -> Any:
    return [left, right]


def bucket(value: int) -> str:
    """A key that twins have in common."""
    return f"g{value // 2 % 3}"


def twin(value: int) -> int:
    return value // 2


# processors


class Reckoning(tm.Processor[Any, Any, Any]):
    """At the end of each 20 ms: the values that came in them, and those that are remembered by either kind of state."""

    came = tm.MapState(int, int)
    times = tm.MapState(int, int, ttl=12)
    last = tm.WindowState(int, retention=12)

    def process(self, value: int, ctx: Any) -> None:
        self.came[value] = self.times[value] = ctx.timestamp
        self.last.put(value, ctx.timestamp)
        start = ctx.timestamp // 20 * 20
        ctx.timer(str(start), at=start + 20)

    def on_timer(self, name: str, ctx: Any) -> Iterator[Any]:
        start, end = int(name), int(name) + 20
        came = sorted(value for value, time in self.came.items() if start <= time < end)
        alive = sorted(value for value, time in self.times.items() if start <= time < end)
        for value in came:
            del self.came[value]
        yield [start, came, alive, sorted(value for _, value in self.last.fetch(start, end - 1))]


class Keeping(tm.Processor[Any, Any, Any]):
    """All kinds of state; fails after it has written to all of them."""

    total = tm.ValueState(int, default=0)
    seen = tm.MapState(object, int)
    recent = tm.ListState(object)

    def process(self, value: Any, ctx: Any) -> Iterator[Any]:
        if value is None:
            self.total.clear()
            self.seen.clear()
            return
        key = [1, 1.0, True, "a"][len(self.seen) % 4]
        self.seen[key] = self.seen.get(key, 0) + 1
        self.recent.append(value)
        if len(self.recent) > 3:
            yield tm.side("old", self.recent.popleft())
        n = number(value)
        self.total.set(self.total.get() + n)
        if n == 6:
            raise ValueError("6")
        yield [self.total.get(), repr(dict(self.seen)), list(self.recent), ctx.offset]


class Forgetting(tm.Processor[Any, Any, Any]):
    """State that lives for a time."""

    total = tm.ValueState(int, default=0, ttl=10)
    seen = tm.MapState(int, int, ttl=12)
    recent = tm.ListState(int, ttl=7)

    def process(self, value: Any, ctx: Any) -> Iterator[Any]:
        n = number(value)
        yield [self.total.get(), dict(self.seen), list(self.recent)]
        self.total.set(self.total.get() + n)
        self.seen[n % 4] = n
        self.recent.append(n)


class Timing(tm.Processor[Any, Any, Any]):
    """Timers by both clocks; some fail, some set others."""

    last = tm.ValueState(int, default=0)

    def process(self, value: Any, ctx: Any) -> Iterator[Any]:
        n = number(value)
        self.last.set(self.last.get() + n)
        if n == 3:
            ctx.cancel("t0")
        ctx.timer(f"t{n % 3}", after=n % 30)
        ctx.timer("wall", after=20 + n % 5, clock="wall")
        yield [n, ctx.stream_time]

    def on_timer(self, name: str, ctx: Any) -> Iterator[Any]:
        yield [name, ctx.timestamp, self.last.get()]
        if ctx.timestamp % 5 == 0:
            ctx.timer("more", after=7)
        self.last.set(0)
        if ctx.timestamp % 7 == 0:
            raise ValueError("7")


class Recurring(tm.Processor[Any, Any, Any]):
    """Recurring methods, for all keys."""

    sums = tm.ValueState(int, default=0)

    def process(self, value: Any, ctx: Any) -> None:
        self.sums.set(self.sums.get() + number(value))

    @tm.every(5)
    def show(self, ctx: Any) -> Iterator[Any]:
        for key, found in list(self.sums.scan()):
            yield tm.Record(key, [found, ctx.stream_time], ctx.timestamp)
            ctx.use(key)
            self.sums.set(found + 1)

    @tm.every(50, clock="wall")
    def forget(self, ctx: Any) -> Iterator[Any]:
        for key, found in list(self.sums.scan()):
            ctx.use(key)
            self.sums.clear()
            yield tm.Record(key, found, ctx.timestamp)
