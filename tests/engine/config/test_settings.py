"""Tests of settings: declarations are consistent, and contradictory settings are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from tests.support.untyped import untyped
from tidemill.engine.config.arguments import Arguments
from tidemill.engine.config.librdkafka import REFUSED
from tidemill.engine.config.settings import DEFAULTS, SETTINGS, Settings
from tidemill.engine.config.worker_bounds import WorkerBounds
from tidemill.engine.errors import ConfigError


def test_the_arguments_of_app_are_the_settings() -> None:
    """And each accepts the type that the engine uses, besides the forms that are easier to write."""
    taken, used = get_type_hints(Arguments), get_type_hints(Settings)
    assert set(taken) == set(DEFAULTS) == set(SETTINGS) - {"app_id"}
    for name, type_used in used.items():
        forms = set(get_args(type_used) or (type_used,)) - {WorkerBounds}
        if name not in ("app_id", "librdkafka"):
            assert forms <= set(get_args(taken[name]) or (taken[name],)), name


@pytest.mark.parametrize("name", DEFAULTS)
def test_each_default_is_a_value_that_may_be_given(name: str) -> None:
    setting = SETTINGS[name]
    assert setting.kind.parse(DEFAULTS[name], name) == DEFAULTS[name]
    if name != "librdkafka":
        shown = setting.kind.from_text(setting.kind.show(DEFAULTS[name]))
        assert setting.kind.parse(shown, name) == DEFAULTS[name], "what the reference page shows can be given"


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_has_a_description(name: str) -> None:
    meaning = SETTINGS[name].meaning
    assert meaning[0].isupper()
    assert meaning.endswith(".")
    assert "  " not in meaning


def test_the_defaults_are_safe() -> None:
    settings = Settings(app_id="views")
    assert settings.guarantee == "exactly_once"
    assert settings.commit_interval == 100
    assert settings.session_timeout == 45_000
    assert settings.web_host == "127.0.0.1"
    assert settings.transaction_timeout > settings.rebalance_timeout + settings.commit_hold


def test_settings_are_frozen_and_hide_passwords() -> None:
    settings = Settings(app_id="views", librdkafka={"sasl.password": "secret"})
    assert "secret" not in repr(settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        untyped(settings).app_id = "other"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"session_timeout": 6_000, "heartbeat_interval": 3_000},
            "heartbeat_interval (3s) must be at most a third of session_timeout (6s)",
        ),
        ({"transaction_timeout": 30_500}, "rebalance_timeout and commit_hold together (30s500ms)"),
        ({"commit_interval": 30_001}, "commit_interval (30s1ms) must be at most half of transaction_timeout (1m)"),
        ({"durability": "snapshot"}, "no snapshot store is configured: set snapshots to a URL"),
        (
            {"durability": "snapshot", "snapshots": "file:///s", "snapshot_interval": 600_000},
            "must be at most half of the transaction's timeout (15m): set snapshot_interval to '7m30s' or less, or",
        ),
        ({"near_leaders": True}, "the rack of this process is not known: set rack as well"),
        ({"librdkafka": {"group.id": "x"}}, "librdkafka option 'group.id' cannot be set: the group is named after"),
    ],
)
def test_contradictory_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(app_id="views", **values)
    assert message in str(caught.value)


def test_settings_just_within_the_rules() -> None:
    Settings(
        app_id="views",
        session_timeout=9_000,
        heartbeat_interval=3_000,
        rebalance_timeout=30_000,
        commit_hold=500,
        transaction_timeout=30_501,
        commit_interval=15_250,
    )


def test_a_transaction_lasts_from_one_snapshot_to_the_next() -> None:
    stored = {"app_id": "views", "snapshots": "file:///s", "durability": "snapshot"}
    of_five_minutes = Settings(**stored)  # pyright: ignore[reportArgumentType]
    assert of_five_minutes.interval == of_five_minutes.snapshot_interval == 300_000
    assert of_five_minutes.transaction_limit == 900_000
    assert Settings(**stored, snapshot_interval=10_000).transaction_limit == 60_000  # pyright: ignore[reportArgumentType]
    long = Settings(**stored, snapshot_interval=600_000, transaction_timeout=1_800_000)  # pyright: ignore[reportArgumentType]
    assert long.transaction_limit == 1_800_000
    Settings(**stored, snapshot_interval=3_600_000, guarantee="at_least_once")  # pyright: ignore[reportArgumentType]
    plain = Settings(app_id="views", snapshots="file:///s")
    assert (plain.interval, plain.transaction_limit) == (100, 60_000)


@pytest.mark.parametrize(("session", "heartbeat"), [(45_000, 3_000), (9_000, 3_000), (6_000, 2_000), (1_000, 333)])
def test_the_heartbeat_follows_the_session_timeout(session: int, heartbeat: int) -> None:
    assert Settings(app_id="views", session_timeout=session).heartbeat == heartbeat
    assert Settings(app_id="views", session_timeout=session, heartbeat_interval=200).heartbeat == 200


def test_all_contradictions_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(app_id="views", session_timeout=1_000, heartbeat_interval=500, transaction_timeout=1_000)
    assert len(str(caught.value).split("\n")) == 2


@pytest.mark.parametrize("option", ["enable.auto.commit", "transactional.id", "isolation.level", "acks", "retries"])
def test_options_that_would_break_a_guarantee_are_refused(option: str) -> None:
    assert option in REFUSED
    with pytest.raises(ConfigError, match="cannot be set"):
        Settings(app_id="views", librdkafka={option: "1"})


def test_each_worker_has_a_directory_and_an_instance_id_of_its_own() -> None:
    alone = Settings(app_id="views", state_dir=Path("s"), instance_id="host")
    assert (alone.worker_dir, alone.member_instance_id) == (Path("s/views/worker-0"), "host")
    third = Settings(app_id="views", state_dir=Path("s"), instance_id="host", workers=4, worker=2)
    assert (third.worker_dir, third.member_instance_id) == (Path("s/views/worker-2"), "host-2")
    assert Settings(app_id="views", workers=4).member_instance_id is None
    scaled = Settings(app_id="views", instance_id="host", autoscale=WorkerBounds(1, 4))
    assert scaled.member_instance_id == "host-0", "it may not stay alone"
