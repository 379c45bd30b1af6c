"""The semantic types of Debezium and Kafka Connect, as values of Python.

Debezium's documentation lists them under "Data type mappings" of each connector. A column `timestamp` without time zone
becomes a datetime without one, since the number that Debezium writes is not a point in time.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import re
import uuid
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

__all__ = [
    "DATES",
    "DECIMALS",
    "DURATIONS",
    "ENUM_SET",
    "INTERVAL",
    "JSON",
    "TEXT_TIMES",
    "TEXT_TIMESTAMPS",
    "TIMES",
    "TIMESTAMPS",
    "UUID",
    "VARIABLE",
    "base64_decimal",
    "binary",
    "date_of",
    "duration_of",
    "full_meaning",
    "interval_of",
    "parsed",
    "time_of",
    "timestamp_of",
    "uuid_of",
    "variable_decimal",
]

DEBEZIUM, CONNECT = "io.debezium.time.", "org.apache.kafka.connect.data."
MILLI, MICRO, NANO = 1_000, 1, -1_000
"""Microseconds in a unit; a negative number is units in a microsecond."""

TIMESTAMPS: Final[dict[str, tuple[int, bool]]] = {
    f"{DEBEZIUM}Timestamp": (MILLI, False),
    f"{DEBEZIUM}MicroTimestamp": (MICRO, False),
    f"{DEBEZIUM}NanoTimestamp": (NANO, False),
    f"{CONNECT}Timestamp": (MILLI, False),
    "avro.timestamp-millis": (MILLI, True),
    "avro.timestamp-micros": (MICRO, True),
    "avro.timestamp-nanos": (NANO, True),
    "avro.local-timestamp-millis": (MILLI, False),
    "avro.local-timestamp-micros": (MICRO, False),
}
"""The unit, and whether it is a point in time."""
TIMES: Final[dict[str, int]] = {
    f"{DEBEZIUM}Time": MILLI,
    f"{DEBEZIUM}MicroTime": MICRO,
    f"{DEBEZIUM}NanoTime": NANO,
    f"{CONNECT}Time": MILLI,
    "avro.time-millis": MILLI,
    "avro.time-micros": MICRO,
}
DATES: Final = frozenset({f"{DEBEZIUM}Date", f"{CONNECT}Date", "avro.date"})
DURATIONS: Final[dict[str, int]] = {f"{DEBEZIUM}MicroDuration": MICRO, f"{DEBEZIUM}NanoDuration": NANO}
INTERVAL: Final = f"{DEBEZIUM}Interval"
TEXT_TIMESTAMPS: Final = frozenset({f"{DEBEZIUM}ZonedTimestamp", f"{DEBEZIUM}IsoTimestamp"})
TEXT_TIMES: Final = frozenset({f"{DEBEZIUM}ZonedTime", f"{DEBEZIUM}IsoTime"})
TEXT_DATES: Final = frozenset({f"{DEBEZIUM}IsoDate"})
DECIMALS: Final = frozenset({f"{CONNECT}Decimal", "avro.decimal"})
VARIABLE: Final = "io.debezium.data.VariableScaleDecimal"
UUID: Final = frozenset({"io.debezium.data.Uuid", "avro.uuid"})
JSON: Final = "io.debezium.data.Json"
ENUM_SET: Final = "io.debezium.data.EnumSet"

ALL: Final = (
    *(*TIMESTAMPS, *TIMES, *DATES, *DURATIONS, INTERVAL, *TEXT_TIMESTAMPS, *TEXT_TIMES, *TEXT_DATES, *DECIMALS),
    *(VARIABLE, *UUID, JSON, ENUM_SET),
)
EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001
UTC_EPOCH: Final = EPOCH.replace(tzinfo=dt.timezone.utc)
DAY: Final = 86_400_000_000
PERIOD = re.compile(
    r"(?P<sign>-?)P(?:(?P<years>-?\d+)Y)?(?:(?P<months>-?\d+)M)?(?:(?P<weeks>-?\d+)W)?(?:(?P<days>-?\d+)D)?"
    r"(?:T(?:(?P<hours>-?\d+)H)?(?:(?P<minutes>-?\d+)M)?(?:(?P<seconds>-?\d+(?:\.\d+)?)S)?)?"
)


def full_meaning(name: str) -> str | None:
    """Return the name of a semantic type, given with or without its package; None for another."""
    return next((each for each in ALL if name in (each, each.rpartition(".")[2])), None)


def micros(value: int, unit: int) -> int:
    return value * unit if unit > 0 else value // -unit


def timestamp_of(unit: int, *, aware: bool) -> Callable[[Any], dt.datetime]:
    """Return the function from a number to a datetime, in UTC or without a time zone."""
    epoch = UTC_EPOCH if aware else EPOCH

    def convert(value: Any) -> dt.datetime:
        if not isinstance(value, int):
            return parsed(dt.datetime)(value)
        try:
            return epoch + dt.timedelta(microseconds=micros(value, unit))
        except OverflowError:
            raise ValueError(
                f"the time {value} is out of the range of datetime, as PostgreSQL's infinity is: declare the field as "
                "int, to get the number"
            ) from None

    return convert


def time_of(unit: int) -> Callable[[Any], dt.time]:
    """Return the function from a number to a time of day."""

    def convert(value: Any) -> dt.time:
        if not isinstance(value, int):
            return parsed(dt.time)(value)
        passed = micros(value, unit)
        if not 0 <= passed < DAY:
            raise ValueError(
                f"{dt.timedelta(microseconds=passed)} is no time of day, as TIME of MySQL need not be one: declare the "
                "field as datetime.timedelta"
            )
        return (EPOCH + dt.timedelta(microseconds=passed)).time()

    return convert


def date_of(value: Any) -> dt.date:
    """Return the date of a number of days since 1970, or of a text."""
    if not isinstance(value, int):
        return parsed(dt.date)(value)
    try:
        return EPOCH.date() + dt.timedelta(days=value)
    except OverflowError:
        raise ValueError(f"the day {value} is out of the range of date: declare the field as int") from None


def duration_of(unit: int) -> Callable[[Any], dt.timedelta]:
    """Return the function from a number to a duration."""

    def convert(value: Any) -> dt.timedelta:
        return dt.timedelta(microseconds=micros(value, unit)) if isinstance(value, int) else interval_of(value)

    return convert


def interval_of(value: str) -> dt.timedelta:
    """Return the duration of a text such as P0Y0M3DT4H5M6.7S.

    Raises ValueError if it has years or months.
    """
    found = PERIOD.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no interval: it should be as P0Y0M3DT4H5M6.7S")
    parts = {name: part for name, part in found.groupdict().items() if part and name != "sign"}
    if int(parts.pop("years", 0)) or int(parts.pop("months", 0)):
        raise ValueError(f"the interval {value} has months, whose length differs: declare the field as str")
    seconds = decimal.Decimal(parts.pop("seconds", "0"))
    whole = dt.timedelta(**{name: int(part) for name, part in parts.items()}) + dt.timedelta(
        microseconds=int(seconds * 1_000_000)
    )
    return -whole if found["sign"] else whole


def parsed(kind: Any) -> Callable[[Any], Any]:
    """Return the function from a text to a date, a time or a datetime."""
    return lambda value: msgspec.convert(value, kind)


def binary(value: Any) -> bytes:
    """Return bytes, which JSON has as base64."""
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def base64_decimal(scale: int) -> Callable[[Any], decimal.Decimal]:
    """Return the function to a decimal from its digits as the bytes of an int, or from a number."""

    def convert(value: Any) -> decimal.Decimal:
        if isinstance(value, (int, float, decimal.Decimal)):
            return decimal.Decimal(str(value))
        try:
            digits = int.from_bytes(binary(value), "big", signed=True)
        except ValueError:
            raise ValueError(f"{value!r} is no decimal as bytes in base64") from None
        sign, parts, _ = decimal.Decimal(digits).as_tuple()
        return decimal.Decimal((sign, parts, -scale))

    return convert


def variable_decimal(value: Any) -> decimal.Decimal:
    """Return the decimal of a struct with scale and value."""
    if isinstance(value, dict):
        of = cast("dict[str, Any]", value)
        return base64_decimal(of["scale"])(of["value"])
    return decimal.Decimal(str(value))


def uuid_of(value: Any) -> uuid.UUID:
    """Return the UUID of a text."""
    return uuid.UUID(value)
