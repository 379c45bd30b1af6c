"""Flights into Iceberg, Delta and Parquet: each appended, and totals kept by airline.

LAKE=/tmp/lake python app.py --broker localhost:9092
"""

from __future__ import annotations

import os

import msgspec

import tidemill as tm


class Flight(msgspec.Struct):
    carrier: str
    number: int
    tail: str | None
    origin: str
    dest: str
    delay: int | None
    """Minutes between scheduled and actual departure, negative when early; None when the flight was cancelled."""


LAKE = os.environ.get("LAKE", "/tmp/tidemill-lake")
CATALOG = {"name": "lake", "type": "sql", "uri": f"sqlite:///{LAKE}/catalog.db", "warehouse": f"file://{LAKE}/tables"}

app = tm.App("tidemill-demo-lake")

flights = app.stream("tidemill-demo-flights", key=tm.utf8, value=tm.json(Flight))
flights.sink(
    tm.iceberg(
        "lake.flights", catalog=CATALOG, partition_by=["origin", "month(scheduled)"], timestamp="scheduled", roll="3s"
    )
).named("flights-in-lake")
flights.sink(tm.delta(f"file://{LAKE}/delta/flights", partition_by=["origin"], timestamp="scheduled", roll="3s")).named(
    "flights-in-delta"
)
flights.sink(
    tm.parquet(f"file://{LAKE}/parquet/flights", partition_by=["origin"], timestamp="scheduled", roll="3s")
).named("flights-in-parquet")

airlines = (
    flights.group_by(lambda flight: flight.carrier, key=tm.utf8)
    .aggregate(flights=tm.count(), departed=tm.count("delay"), minutes=tm.sum("delay"))
    .named("airlines")
)
airlines.sink(
    tm.iceberg(
        "lake.airlines",
        catalog=CATALOG,
        key={"carrier": "string"},
        columns={"flights": "int64", "departed": "int64", "minutes": "int64"},
        roll="3s",
    )
).named("airlines-in-lake")
airlines.sink(
    tm.delta(
        f"file://{LAKE}/delta/airlines",
        key={"carrier": "string"},
        columns={"flights": "int64", "departed": "int64", "minutes": "int64"},
        roll="3s",
    )
).named("airlines-in-delta")

if __name__ == "__main__":
    app.main()
