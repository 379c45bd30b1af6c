"""A temporal join and a lookup: add the weather at departure and the name of the airline.

Weather is a versioned table: a flight is joined with the report that was the newest at its scheduled departure, not
with the newest at the time of processing, so a replay gives the same results. Reports may arrive up to an hour after
the flights that they apply to: flights wait for that long, in event time. The table of airlines is small and needed by
all tasks, so it is a global table. The test replays ten days of the flights that left New York in 2013.
"""

import msgspec

import tidemill as tm


class Flight(msgspec.Struct):
    carrier: str
    number: int
    origin: str
    dest: str
    delay: int | None  # minutes; None if the flight was cancelled


class Weather(msgspec.Struct):
    wind: float | None  # miles per hour
    visibility: float  # miles


class Departure(msgspec.Struct):
    flight: str
    airline: str
    delay: int | None
    wind: float | None
    visibility: float | None


def with_weather(flight: Flight, weather: Weather | None) -> Departure:
    wind, visibility = (None, None) if weather is None else (weather.wind, weather.visibility)
    return Departure(f"{flight.carrier}{flight.number}", flight.carrier, flight.delay, wind, visibility)


def with_name(departure: Departure, name: str) -> Departure:
    return msgspec.structs.replace(departure, airline=name)


app = tm.App("departures")

airlines = app.global_table("airlines", key=tm.utf8, value=tm.utf8)
weather = app.table("weather", key=tm.utf8, value=tm.json(Weather), history="2d")
flights = app.stream("flights", key=tm.utf8, value=tm.json(Flight))

departures = (
    flights.with_key(lambda flight: flight.origin, key=tm.utf8)  # weather is keyed by airport
    .join(weather, with_weather, as_of=True, grace="1h", how="left")
    .named("with-weather")
    .join(airlines, with_name, on=lambda departure: departure.airline)
)
departures.to("departures", value=tm.json(Departure))

if __name__ == "__main__":
    app.main()
