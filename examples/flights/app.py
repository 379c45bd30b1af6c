"""Departures and delays per airport and hour, and running totals per airline.

    python app.py --broker localhost:9092

Four design decisions make the results the same in every run, even when processes are killed:

- The key of the topic is the flight number and airport ("UA1545 EWR"). All departures of a flight are therefore in one
  partition, in order, and one number per key, the time of the newest departure, is enough to detect duplicates.
- A cancelled flight has no departure and therefore no delay: it counts as a flight, but not as departed, and is
  excluded from delay figures. `tm.count("delay")`, `sum`, `max` and `mean` ignore None, as in SQL.
- Delays are whole minutes. Sums and counts of integers do not depend on the order of arrival; the mean is their
  quotient.
- Grouping by airport uses a repartition topic, which receives records from the six partitions of flights. Each
  partition is in order of departure, and Tidemill keeps the partitions of one process aligned in event time, but
  records from different processes, or delayed ones, arrive out of order. With live traffic they are seconds apart. Here
  a year is replayed in less than a minute, so 0.1 s is most of a day. The grace period says how far apart they may be;
  with more than a year, no record is late, and no result depends on the speed of the replay.
"""

from __future__ import annotations

from collections.abc import Iterator

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


class Deduplicate(tm.Processor[str, Flight, Flight]):
    """Emit each departure once, and duplicates to the side output `repeats`."""

    newest = tm.ValueState(int, default=-1)

    def process(self, flight: Flight, ctx: tm.Context[str]) -> Iterator[Flight | tm.Side[Flight]]:
        if ctx.timestamp <= self.newest.get():
            yield tm.side("repeats", flight)
        else:
            self.newest.set(ctx.timestamp)
            yield flight


def delays() -> dict[str, tm.Aggregator]:
    return {
        "flights": tm.count(),
        "departed": tm.count("delay"),
        "minutes": tm.sum("delay"),
        "worst": tm.max("delay"),
        "mean": tm.mean("delay"),
    }


app = tm.App("tidemill-demo")

departures = app.stream("tidemill-demo-flights", key=tm.utf8, value=tm.json(Flight))
flights = departures.process(Deduplicate).named("deduplicate")
flights.side("repeats").to("tidemill-demo-repeats", key=tm.utf8, value=tm.json)

hours = (
    flights.group_by(lambda flight: flight.origin)
    .window(tm.tumbling("1h", grace="400d"))
    .aggregate(**delays())
    .named("airport-hours")
)
hours.to("tidemill-demo-airport-hours", value=tm.json)

airlines = flights.group_by(lambda flight: flight.carrier).aggregate(**delays()).named("airlines")
airlines.to("tidemill-demo-airlines", key=tm.utf8, value=tm.json)

if __name__ == "__main__":
    app.main()
