"""Flights per airport and hour with their delays, and running totals per airline, from a stream of departures.

    python app.py --broker localhost:9092

Four decisions make the results the same in every run, whatever is killed on the way:

- The key of the topic is a flight's number and airport ("UA1545 EWR"). So all its departures come to one partition, in
  order, and one remembered number a key, the newest departure, is enough to know a message that was sent twice.
- A cancelled flight has no departure and so no delay: it counts as a flight, but neither as departed nor in any figure
  about delays. `tm.count("delay")`, `sum`, `max` and `mean` pass over None, as in SQL.
- Delays are whole minutes. Sums and counts of whole numbers do not depend on the order of arrival; the mean is their
  quotient.
- Grouping by airport goes through a repartition topic, where the six partitions of flights meet. Each is in order of
  departure, and Tidemill keeps those of one process side by side; yet partitions on different processes, or messages
  that travel a little longer, come when they come. In live traffic that is a matter of seconds. Here a year is replayed
  in less than a minute, so a tenth of a second is most of a day. The grace says how far apart is still in time; with
  more than a year nothing can be late, and no result depends on the pace.
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


class Once(tm.Processor[str, Flight, Flight]):
    """Lets each departure pass once; what was sent twice goes to the side."""

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
flights = departures.process(Once).named("once")
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
