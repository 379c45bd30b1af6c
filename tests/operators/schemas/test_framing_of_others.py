"""Records of other registries are refused with the name of their format."""

from __future__ import annotations

import pytest

from tidemill.operators.schemas.framing import CONFLUENT


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (bytes(8) + b"\x03\x0a", "Apicurio"),
        (b"\x03\x00" + bytes(16) + b"\x0a", "AWS Glue"),
        (b"\x03\x05" + bytes(16) + b"\x0a", "AWS Glue"),
    ],
)
def test_a_format_is_named(data: bytes, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        CONFLUENT.prefix_id(data, "value")


@pytest.mark.parametrize("data", [b"", b"\x03\x07" + bytes(16), b'{"a": 1}'])
def test_others_are_not(data: bytes) -> None:
    with pytest.raises(ValueError, match="another serializer"):
        CONFLUENT.prefix_id(data, "value")
