"""Event-time windows: sensor readings aggregated over five minutes.

A reading belongs to the window in which it was *taken* (its timestamp is a field of the value), not to the one in which
it arrived. An out-of-order reading updates its window until the grace period has passed: a window closes when stream
time reaches its end plus 30 s. Later readings are dropped and counted (metric `tidemill_records_dropped_total`).
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
