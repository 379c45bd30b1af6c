"""Tests of the checks of Kafka client options: known options pass, unknown ones are named."""

from __future__ import annotations

import pytest

from tidemill.engine.config.librdkafka import REFUSED
from tidemill.engine.errors import ConfigError
from tidemill.engine.kafka.option_checks import NAMES, check_own_options

LIVES_ELSEWHERE = {"log_cb", "opaque"}
"""Given to the client by other ways than by value."""


def known(name: str) -> bool:
    """Return whether the client has an option: invalid values and unknown options have different errors."""
    try:
        check_own_options({name: "\x01"})
    except ConfigError as error:
        return "has no option" not in str(error)
    return True


def test_right_options_pass_for_both_kinds_of_client() -> None:
    check_own_options({})
    check_own_options({"linger.ms": "5", "fetch.min.bytes": "1", "compression.type": "zstd", "client.rack": "a"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queued.min.mesages": "5"}, "has no option 'queued.min.mesages'; did you mean 'queued.min.messages'?"),
        ({"linger.ms": "5", "zzz": "5"}, "librdkafka has no option 'zzz'"),
        ({"fetch.min.bytes": "soon"}, 'Invalid value for configuration property "fetch.min.bytes"'),
        ({"security.protocol": "tls"}, 'Invalid value "tls" for configuration property "security.protocol"'),
        ({"security.protocol": "ssl", "ssl.ca.location": "/no/such/file"}, "ssl.ca.location failed"),
    ],
)
def test_wrong_ones_are_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_own_options(options)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", sorted({*NAMES, *REFUSED} - LIVES_ELSEWHERE))
def test_the_options_in_messages_exist(name: str) -> None:
    assert known(name)


def test_nothing_is_refused_and_suggested() -> None:
    assert not set(NAMES) & set(REFUSED)
