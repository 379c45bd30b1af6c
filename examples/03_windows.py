"""Windows by event time: readings of sensors, five minutes at a time.

A reading belongs to the window in which it was *taken* (the timestamp comes from the value), not to the one in which it
arrived. One that arrives out of order updates its window, as long as it comes within the grace: a window closes when a
reading 30 s newer than its end has been seen. What comes later still is dropped and counted (metric
`tidemill_records_dropped_total`).
"""

import msgspec

import tidemill as tm


class Reading(msgspec.Struct):
    sensor: str
    celsius: float
    taken: int
    """Milliseconds since 1970."""


app = tm.App("readings")

readings = app.stream("readings", key=tm.utf8, value=tm.json(Reading), timestamp=lambda r: r.taken)
climate = (
    readings.group_by_key()  # the key is the sensor already: no repartition topic
    .window(tm.tumbling("5m", grace="30s"))
    .aggregate(
        readings=tm.count(),
        coldest=tm.min("celsius"),
        warmest=tm.max("celsius"),
        mean=tm.mean("celsius"),
    )
    .named("climate")
)
climate.to("climate", value=tm.json)

if __name__ == "__main__":
    app.main()
