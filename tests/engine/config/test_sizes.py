"""Tests of sizes: valid forms, invalid ones with advice, and round trips."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.config.sizes import format_size, parse_size
from tidemill.engine.errors import ConfigError

RIGHT = {"0B": 0, "512B": 512, "64MiB": 64 << 20, "1GiB": 1 << 30, "1.5KiB": 1536, "64MB": 64_000_000, "2kB": 2_000}
WRONG = {
    "64M": "write '64MiB'",
    "64 mib": "write '64MiB'",
    "64mb": "write '64MiB'",
    "2 gigs": "such as '64MiB'",
    "100": "'100B' or '100MiB'",
    "": "such as '64MiB'",
    "-1B": "such as '64MiB'",
    "1.3B": "whole number of bytes",
}


@pytest.mark.parametrize(("text", "size"), RIGHT.items())
def test_valid_forms(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "advice"), WRONG.items())
def test_invalid_forms_are_refused_with_the_nearest_valid_one(text: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_size(text, "cache_bytes")
    assert str(caught.value).startswith(f"cache_bytes: {text!r} is not a ")
    assert advice in str(caught.value)


def test_other_types_and_bounds() -> None:
    assert parse_size(5) == 5
    for value in (True, 1.5, None):
        with pytest.raises(ConfigError, match="is not a size"):
            parse_size(value)
    with pytest.raises(ConfigError, match="less than the minimum, '1KiB'"):
        parse_size("1023B", at_least=1024)
    with pytest.raises(ConfigError, match="less than the minimum"):
        parse_size(-1)


@given(st.integers(0, 1 << 60))
def test_what_is_shown_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=10))
def test_no_text_leads_to_another_error(text: str) -> None:
    with suppress(ConfigError):
        parse_size(text)
