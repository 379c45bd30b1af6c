"""Tests of durations: valid forms, invalid ones with advice, and round trips."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.operators.errors import ConfigError, TopologyError
from tidemill.operators.time.durations import LONGEST, UNITS, format_duration, parse_duration, rough_duration

RIGHT = {
    "0": 0,
    "0s": 0,
    "500ms": 500,
    "10s": 10_000,
    "1m": 60_000,
    "1h30m": 5_400_000,
    "2d": 172_800_000,
    "1w": 604_800_000,
    "1w2d3h4m5s6ms": 604_800_000 + 2 * 86_400_000 + 3 * 3_600_000 + 4 * 60_000 + 5_006,
    "1.5s": 1_500,
    "0.001s": 1,
    "1m0.5s": 60_500,
}

WRONG = {
    "": "such as '500ms'",
    "100": "'100ms', '100s' or '100m'",
    " 1m": "write '1m'",
    "1 minute": "write '1m'",
    "1M": "write '1m'",
    "90 secs": "write '1m30s'",
    "10 Seconds": "write '10s'",
    "1h, 5 min": "write '1h5m'",
    "1h and 5 min": "write '1h5m'",
    "PT1M": "write '1m'",
    "30m1h": "write '1h30m'",
    "1.5h1m": "write '1h31m'",
    "1m1m": "write '2m'",
    "0.5ms": "write '1ms'",
    "1.0005s": "write '1s'",
    "-1s": "such as '500ms'",
    "1mo": "such as '500ms'",
    "1e3s": "such as '500ms'",
    "abc": "such as '500ms'",
    "\u0661s": "such as '500ms'",
}


@pytest.mark.parametrize(("text", "ms"), RIGHT.items())
def test_valid_forms(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize(("text", "advice"), WRONG.items())
def test_invalid_forms_are_refused_with_the_nearest_valid_one(text: str, advice: str) -> None:
    with pytest.raises(TopologyError) as caught:
        parse_duration(text, "grace")
    assert str(caught.value).startswith(f"grace: {text!r} is not a duration; ")
    assert advice in str(caught.value)


def test_other_types() -> None:
    assert parse_duration(250) == 250
    assert parse_duration(timedelta(minutes=1, milliseconds=1)) == 60_001
    for value, part in {
        True: "is not a duration",
        1.5: "such as '1s500ms'",
        float("nan"): "such as '10s'",
        timedelta(microseconds=1): "whole number of milliseconds",
        None: "'10s', an int (milliseconds) or a timedelta",
    }.items():
        with pytest.raises(ConfigError, match="idle: ") as caught:
            parse_duration(value, "idle", error=ConfigError)
        assert part in str(caught.value)


def test_bounds() -> None:
    assert parse_duration(0) == 0
    with pytest.raises(TopologyError, match="must not be negative"):
        parse_duration(-1)
    with pytest.raises(TopologyError, match="must not be negative"):
        parse_duration(timedelta(seconds=-1))
    assert parse_duration("1s", at_least=1000) == 1000
    with pytest.raises(TopologyError, match="must be at least '1s'"):
        parse_duration("999ms", at_least=1000)
    assert parse_duration(LONGEST) == LONGEST
    with pytest.raises(TopologyError, match="longer than '100000d'"):
        parse_duration(LONGEST + 1)


@given(st.integers(0, LONGEST))
def test_what_is_shown_is_read_back(ms: int) -> None:
    assert parse_duration(format_duration(ms)) == ms


@given(st.dictionaries(st.sampled_from(sorted(UNITS)), st.integers(0, 1000), min_size=1))
def test_units_from_large_to_small_add_up(parts: dict[str, int]) -> None:
    text = "".join(f"{parts[unit]}{unit}" for unit in UNITS if unit in parts)
    assert parse_duration(text) == sum(UNITS[unit] * count for unit, count in parts.items())


@given(st.text(max_size=12) | st.from_regex(r"[0-9.]{1,4} ?[a-zA-Z]{0,7}", fullmatch=True))
def test_no_text_leads_to_another_error(text: str) -> None:
    with suppress(TopologyError):
        ms = parse_duration(text)
        assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (999, "999ms"),
        (1_001, "1s1ms"),
        (61_001, "1m2s"),
        (12_345_678, "3h26m"),
        (3_599_999, "1h"),
        (333_333_333_333, "3858d1h"),
    ],
)
def test_roughly(ms: int, text: str) -> None:
    assert rough_duration(ms) == text
