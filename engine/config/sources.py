"""The sources of settings, and which one wins.

Weakest first: arguments of `App(...)`, tidemill.toml, TIDEMILL_* variables, command-line options. Every value of every
source is read and checked, including those that a stronger source overrides, and all errors are reported at once, each
with its source and the correct form. Options of librdkafka are merged one by one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec

from ...operators.suggest import did_you_mean, nearest
from ..errors import ConfigError
from .settings import SETTINGS, Settings

__all__ = ["CONFIG_VARIABLE", "FILE_NAME", "check_arguments", "load", "read_client_options"]

FILE_NAME: Final = "tidemill.toml"
PREFIX: Final = "TIDEMILL_"
CONFIG_VARIABLE: Final = "TIDEMILL_CONFIG"
CLIENT_PREFIX: Final = "TIDEMILL_LIBRDKAFKA_"

OTHER_VARIABLES: Final = re.compile(r"TIDEMILL_(CONFIG|FAILPOINT|SUPERVISOR|TEST_.*)")
"""Variables that are not settings."""

SERVICE_NAMES: Final = re.compile(r".*_SERVICE_(HOST|PORT(_.*)?)|.*_PORT_[0-9]+_(TCP|UDP|SCTP)(_.*)?")
SERVICE_VALUES: Final = re.compile(r"(tcp|udp|sctp)://.*")
"""Values that Kubernetes and Docker put into the environment for a service named tidemill-something."""


class Given(NamedTuple):
    """A value for a setting, not yet parsed, and the name of its source for messages."""

    name: str
    value: object
    what: str


def load(
    app_id: str,
    arguments: Mapping[str, object],
    *,
    options: Mapping[str, object] | None = None,
    config: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings of an application.

    `arguments` are those of `App(...)`, `options` those of the command line by setting name, `config` the file named
    there. Without it, the file is TIDEMILL_CONFIG's, or tidemill.toml in the working directory if it exists. Raises
    ConfigError that lists all errors.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    given = [
        *from_arguments({"app_id": app_id, **arguments}, problems),
        *from_file(config or environ.get(CONFIG_VARIABLE), problems),
        *from_environment(environ, problems),
        *from_options(options or {}),
    ]
    values: dict[str, Any] = {}
    for name, value, what in given:
        try:
            parsed = SETTINGS[name].kind.parse(value, what)
        except ConfigError as error:
            problems.append(str(error))
            continue
        values[name] = {**values.get(name, {}), **parsed} if name == "librdkafka" else parsed
    if problems:
        raise ConfigError("\n".join(problems))
    return Settings(**values)


def check_arguments(arguments: Mapping[str, object]) -> None:
    """Raise ConfigError if an argument of an application is not a setting."""
    problems: list[str] = []
    for _ in from_arguments(arguments, problems):
        pass
    if problems:
        raise ConfigError("\n".join(problems))


def from_arguments(arguments: Mapping[str, object], problems: list[str]) -> Iterator[Given]:
    """Yield the keyword arguments of `App(...)`."""
    for name, value in arguments.items():
        what = "App(...)" if name == "app_id" else f"App({name}=...)"
        if name in SETTINGS:
            yield Given(name, value, what)
        else:
            problems.append(f"{what}: there is no such setting{did_you_mean(name, SETTINGS, listing=False)}")


def from_file(asked: str | Path | None, problems: list[str]) -> Iterator[Given]:
    """Yield the settings of a TOML file, by name or in tables: `[log] level` is `log_level`."""
    path = Path(asked or FILE_NAME)
    try:
        content = msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        if asked:
            problems.append(f"{path}: there is no such file")
        return
    except (OSError, ValueError) as error:  # ValueError: not TOML, or not UTF-8
        problems.append(f"{path}: cannot be read: {error}")
        return
    seen: dict[str, str] = {}
    for place, value in places(content):
        name = setting_at(place)
        what = f"{path}: {place}"
        if name is None:
            problems.append(f"{what}: there is no such setting{suggestion(place)}")
        elif name in seen:
            problems.append(f"{what}: given before as {seen[name]}; keep one of the two")
        else:
            seen[name] = place
            yield Given(name, value, what)


def places(content: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield each value of a file with its place: a name, or table.name."""
    for key, value in content.items():
        if isinstance(value, dict) and key != "librdkafka":
            for inner, item in cast("dict[str, Any]", value).items():
                yield f"{key}.{inner}", item
        else:
            yield key, cast("object", value)


def setting_at(place: str) -> str | None:
    """Return the setting at a place in the file, None if there is none."""
    for setting in SETTINGS.values():
        if place == setting.in_file:
            return setting.name
    name = place.replace(".", "_")
    return name if name in SETTINGS and place.count(".") <= 1 else None


def suggestion(place: str) -> str:
    """Return the correct place near a wrong one, in the form that a file has it."""
    name = nearest(place, SETTINGS)
    if name is None:
        return ""
    table, dot, _ = place.partition(".")
    if dot and name.startswith(f"{table}_"):
        return f"; did you mean {name.removeprefix(f'{table}_')!r} in [{table}]?"
    return f"; did you mean {name!r}{' outside of any table' if dot else ''}?"


def from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[Given]:
    """Yield TIDEMILL_* variables.

    TIDEMILL_LIBRDKAFKA_SASL_PASSWORD is the option sasl.password of librdkafka.
    """
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or OTHER_VARIABLES.fullmatch(variable):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(CLIENT_PREFIX):
            option = variable.removeprefix(CLIENT_PREFIX).lower().replace("_", ".")
            yield Given("librdkafka", {option: text}, variable)
        elif name in SETTINGS and name != "librdkafka":
            yield Given(name, SETTINGS[name].kind.from_text(text), variable)
        elif not (SERVICE_NAMES.fullmatch(variable) or SERVICE_VALUES.fullmatch(text)):
            problems.append(f"{variable}: there is no such setting{variable_suggestion(name)}")


def variable_suggestion(name: str) -> str:
    """Return the correct variable near a wrong one."""
    found = nearest(name, SETTINGS)
    return "" if found is None else f"; did you mean {SETTINGS[found].variable}?"


def from_options(options: Mapping[str, object]) -> Iterator[Given]:
    """Yield command-line options by setting name; text is parsed."""
    for name, value in options.items():
        setting = SETTINGS[name]
        what = "-X" if name == "librdkafka" else setting.option
        yield Given(name, setting.kind.from_text(value) if isinstance(value, str) else value, what)


def read_client_options(pairs: Iterable[str]) -> dict[str, str]:
    """Return the options of several `-X name=value`."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"-X: {pair!r} is not name=value; write for example -X linger.ms=5")
        found[name.strip()] = value
    return found
