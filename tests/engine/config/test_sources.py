"""Tests of the sources of settings: precedence, and error messages for each source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidemill.engine.config.settings import SETTINGS, Settings
from tidemill.engine.config.sources import load, read_client_options
from tidemill.engine.errors import ConfigError


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(
    arguments: dict[str, Any] | None = None,
    toml: str | None = None,
    environ: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
) -> Settings:
    if toml is not None:
        Path("tidemill.toml").write_text(toml)
    return load("views", arguments or {}, options=options, environ=environ or {})


def refused(**sources: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(**sources)
    return str(caught.value)


SOURCES: dict[str, dict[str, Any]] = {
    "App": {"arguments": {"commit_interval": "1s"}},
    "file": {"toml": "commit_interval = '2s'"},
    "environment": {"environ": {"TIDEMILL_COMMIT_INTERVAL": "3s"}},
    "options": {"options": {"commit_interval": "4s"}},
}


def test_a_later_source_wins() -> None:
    assert loaded().commit_interval == 100
    together: dict[str, Any] = {}
    for number, source in enumerate(SOURCES.values(), start=1):
        assert loaded(**source).commit_interval == number * 1000
        Path("tidemill.toml").unlink(missing_ok=True)
        together |= source
        assert loaded(**together).commit_interval == number * 1000


def test_a_wrong_value_is_reported_even_where_a_stronger_source_overrides_it() -> None:
    message = refused(arguments={"commit_interval": "1 s"}, options={"commit_interval": "4s"})
    assert message == "App(commit_interval=...): '1 s' is not a duration; write '1s'"


def test_all_errors_are_reported_at_once_with_their_source() -> None:
    message = refused(
        arguments={"comit_interval": "1s", "broker": "localhost"},
        toml="[state]\nmemry = '1GiB'\n",
        environ={"TIDEMILL_WORKERS": "many", "TIDEMILL_GARANTEE": "exactly_once"},
        options={"session_timeout": "6 seconds", "guarantee": "exactly-once"},
    )
    assert message.split("\n") == [
        "App(comit_interval=...): there is no such setting; did you mean 'commit_interval'?",
        "tidemill.toml: state.memry: there is no such setting; did you mean 'memory' in [state]?",
        "TIDEMILL_GARANTEE: there is no such setting; did you mean TIDEMILL_GUARANTEE?",
        "App(broker=...): 'localhost' is not host:port; write 'localhost:9092'",
        "TIDEMILL_WORKERS: 'many' is not a number of processes; write a whole number or 'auto'",
        "--session-timeout: '6 seconds' is not a duration; write '6s'",
        "--guarantee: 'exactly-once' is not one of exactly_once, at_least_once; did you mean 'exactly_once'?",
    ]


def test_tables_in_the_file_are_prefixes() -> None:
    settings = loaded(
        toml="""
            broker = "a:1, b:2"
            commit_interval = 250
            [state]
            dir = "~/there"
            memory = "1GiB"
            [web]
            port = 8080
            host = "::1"
            [log]
            format = "json"
            [librdkafka]
            "linger.ms" = 20
            "socket.keepalive.enable" = true
        """
    )
    assert settings.broker == "a:1,b:2"
    assert settings.commit_interval == 250
    assert settings.state_dir == Path.home() / "there"
    assert settings.state_memory == 1 << 30
    assert (settings.web, settings.web_host, settings.log_format) == (8080, "::1", "json")
    assert settings.librdkafka == {"linger.ms": "20", "socket.keepalive.enable": "true"}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[sate]\ndir = 'x'", "sate.dir: there is no such setting; did you mean 'state_dir' outside of any table?"),
        ("[web]\nprot = 1", "web.prot: there is no such setting"),
        ("[state]\ndir = 'x'\n[a.b]\nc = 1", "a.b: there is no such setting"),
        ("state_dir = 'x'\n[state]\ndir = 'y'", "state.dir: given before as state_dir; keep one of the two"),
        ("workers = '2'", "workers: '2' is not a number of processes"),
        ("workers = 2.5", "workers: 2.5 is not a whole number"),
        ("broker = 9092", "broker: 9092 is not text such as 'localhost:9092'"),
        ("idle = 2024-01-01", "idle: datetime.date(2024, 1, 1) is not a duration"),
        ("librdkafka = 3", "librdkafka: 3 is not a table of names and values"),
        ("[librdkafka]\n'a.b' = [1]", "librdkafka: 'a.b': [1] is not a name and its value"),
        ("[librdkafka]\na.b = 1", "is not a name and its value"),
        ("broker = ", "tidemill.toml: cannot be read: "),
    ],
)
def test_what_is_wrong_in_a_file(toml: str, message: str) -> None:
    found = refused(toml=toml)
    assert found.startswith("tidemill.toml: ")
    assert message in found


def test_the_file_that_is_asked_for() -> None:
    Path("tidemill.toml").write_text("nonsense = 1")
    Path("other.toml").write_text("workers = 3")
    assert load("views", {}, config="other.toml", environ={}).workers == 3
    assert load("views", {}, environ={"TIDEMILL_CONFIG": "other.toml"}).workers == 3
    with pytest.raises(ConfigError, match=r"none\.toml: there is no such file"):
        load("views", {}, config="none.toml", environ={})
    Path("dir.toml").mkdir()
    with pytest.raises(ConfigError, match=r"dir\.toml: cannot be read: "):
        load("views", {}, config="dir.toml", environ={})
    Path("latin.toml").write_bytes(b"broker = '\xe9'")
    with pytest.raises(ConfigError, match=r"latin\.toml: cannot be read: "):
        load("views", {}, config="latin.toml", environ={})


def test_numbers_as_text_where_there_is_only_text() -> None:
    assert loaded(environ={"TIDEMILL_WORKERS": "3", "TIDEMILL_REPLICATION_FACTOR": "-1"}).workers == 3
    assert loaded(options={"web": "0"}).web == 0
    assert loaded(arguments={"web": 80}, options={"web": "off"}).web is None
    assert "App(workers=...): '3' is not a number of processes" in refused(arguments={"workers": "3"})
    assert "App(workers=...): True is not a whole number" in refused(arguments={"workers": True})
    assert "TIDEMILL_COMMIT_INTERVAL: '100' is not a duration; it has no unit" in refused(
        environ={"TIDEMILL_COMMIT_INTERVAL": "100"}
    )
    assert loaded(environ={"TIDEMILL_WORKERS": "auto"}).workers == "auto"
    assert loaded(environ={"TIDEMILL_AUTOSCALE": "2:6"}).autoscale == (2, 6)
    assert loaded(toml="autoscale = '2:6'", environ={"TIDEMILL_AUTOSCALE": "off"}).autoscale is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("workers", "0", "--workers: 0 is out of range: it must be at least 1 and at most 1024"),
        (
            "autoscale",
            "4",
            "--autoscale: '4' is not a minimum and a maximum number of processes; write for example '1:4'",
        ),
        (
            "autoscale",
            "4:1",
            "--autoscale: '4:1' is out of range: at least 1, at most 1024, and the lower number first",
        ),
        ("autoscale", "0:3", "--autoscale: '0:3' is out of range"),
        ("web", "70000", "--web: 70000 is out of range: it must be at least 0 and at most 65535"),
        ("replication_factor", "0", "--replication-factor: 0 is out of range"),
        ("commit_interval", "0s", "--commit-interval: '0s' must be at least '1ms'"),
        ("state_memory", "1MiB", "--state-memory: '1MiB' is less than the minimum, '8MiB'"),
        ("state_memory", "64M", "--state-memory: '64M' is not a size; write '64MiB'"),
        ("app_id", "my views", "--app-id: 'my views' is not usable as a name"),
        ("app_id", "..", "--app-id: '..' is not usable as a name"),
        ("broker", "PLAINTEXT://kafka:9092", "write 'kafka:9092'"),
        ("broker", "kafka:9092,", "--broker: '' is not host:port"),
        ("broker", "http://kafka", "write 'kafka:9092'"),
        ("web_host", "localhost:80", "--web-host: 'localhost:80' is not a host"),
        ("state_dir", "", "--state-dir: '' is not a path"),
        ("log_level", "verbose", "--log-level: 'verbose' is not one of debug, info, warning, error"),
    ],
)
def test_wrong_values(name: str, value: str, message: str) -> None:
    assert message in refused(options={name: value})


@pytest.mark.parametrize("broker", ["localhost:9092", "a:1,b:2", "[::1]:9092", "10.0.0.1:9092", "kafka_1.x-y:9092"])
def test_right_brokers(broker: str) -> None:
    assert loaded(options={"broker": broker}).broker == broker


def test_variables_that_are_no_settings() -> None:
    """Variables of Tidemill itself, and those that Kubernetes and Docker set for a service named tidemill."""
    loaded(
        environ={
            "TIDEMILL_FAILPOINT": "",
            "TIDEMILL_TEST_BROKERS": "x:1",
            "TIDEMILL_SERVICE_HOST": "10.0.0.1",
            "TIDEMILL_SERVICE_PORT": "8080",
            "TIDEMILL_SERVICE_PORT_HTTP": "8080",
            "TIDEMILL_PORT": "tcp://10.0.0.1:8080",
            "TIDEMILL_PORT_8080_TCP_ADDR": "10.0.0.1",
            "TIDEMILL_WEB_SERVICE_HOST": "10.0.0.1",
            "TIDEMILL_WEB_PORT": "tcp://10.0.0.1:80",
            "OTHER": "x",
        }
    )
    assert refused(environ={"TIDEMILL_PORT": "8080"}).startswith("TIDEMILL_PORT: there is no such setting")
    assert refused(environ={"TIDEMILL_LIBRDKAFKA": "x"}).startswith("TIDEMILL_LIBRDKAFKA: there is no such setting")


def test_options_of_the_client_are_merged() -> None:
    settings = loaded(
        arguments={"librdkafka": {"linger.ms": 1, "batch.size": 2, "log_level": 3, "retry.backoff.ms": 4}},
        toml="[librdkafka]\n'batch.size' = 20\n'log_level' = 30\n'retry.backoff.ms' = 40",
        environ={"TIDEMILL_LIBRDKAFKA_SASL_PASSWORD": "a,b=c", "TIDEMILL_LIBRDKAFKA_RETRY_BACKOFF_MS": "400"},
        options={"librdkafka": {"retry.backoff.ms": "4000"}},
    )
    assert settings.librdkafka == {
        "linger.ms": "1",
        "batch.size": "20",
        "log_level": "30",
        "sasl.password": "a,b=c",
        "retry.backoff.ms": "4000",
    }


def test_client_options_of_the_command_line() -> None:
    assert read_client_options(["a.b=1", "sasl.password=x=y", "c="]) == {"a.b": "1", "sasl.password": "x=y", "c": ""}
    for wrong in ("linger.ms", "=5", " =5"):
        with pytest.raises(ConfigError, match=r"write for example -X linger\.ms=5"):
            read_client_options([wrong])


def test_the_application_id() -> None:
    assert loaded().app_id == "views"
    assert loaded(environ={"TIDEMILL_APP_ID": "other"}).app_id == "other"
    with pytest.raises(ConfigError, match=r"App\(\.\.\.\): 'my views' is not usable as a name"):
        load("my views", {}, environ={})


def test_every_setting_can_be_given_in_every_source() -> None:
    values: dict[str, Any] = {
        **dict.fromkeys(SETTINGS, "2m"),
        "app_id": "a",
        "broker": "a:1",
        "guarantee": "at_least_once",
        "batch": "true",
        "workers": "2",
        "autoscale": "1:4",
        "worker": "3",
        "state_dir": "s",
        "state_memory": "1GiB",
        "cache_bytes": "1GiB",
        "durability": "snapshot",
        "snapshots": "file:///s",
        "snapshot_bandwidth": "1MiB",
        "snapshots_keep": "3",
        "max_batch": "5",
        "max_buffer_bytes": "1GiB",
        "instance_id": "i",
        "heartbeat_interval": "1s",
        "rebalance_timeout": "5s",
        "replication_factor": "3",
        "web": "1",
        "web_host": "h",
        "log_format": "text",
        "log_level": "error",
        "commit_hold": "1s",
        "commit_interval": "1s",
        "standbys": "1",
        "misplaced_keys": "warn",
        "near_leaders": "true",
        "acceptable_lag": "5",
        "warming_bytes": "1GiB",
        "least_gain": "0.1",
    }
    del values["librdkafka"]
    by_options = loaded(options=values)
    by_environment = loaded(environ={f"TIDEMILL_{name.upper()}": value for name, value in values.items()})
    typed = {name: int(value) if value.isdecimal() else value for name, value in values.items()}
    typed |= {"batch": True, "near_leaders": True, "least_gain": 0.1}
    in_toml = {name: "true" if value is True else repr(value) for name, value in typed.items()}
    by_file = loaded(toml="\n".join(f"{SETTINGS[name].in_file} = {value}" for name, value in in_toml.items()))
    Path("tidemill.toml").unlink()
    arguments = {name: value for name, value in typed.items() if name != "app_id"}
    by_arguments = load("a", arguments, environ={})
    assert by_options == by_environment == by_file == by_arguments
