"""The commands that read the state of an application without a process of it.

state dump     a store as JSON lines, CSV or Parquet      needs the program, which has the serdes
state get      the rows of one key
state load     makes a savepoint from rows                engine/cli/state_load.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ...state.topic_partition import TopicPartition
from ..config.sources import load as load_settings
from ..errors import ConfigError
from ..offline.entries import DumpedRow, StateSource, batches, lookup
from ..offline.entries import dump as dumped
from ..offline.parts import DeclaredStore, declared_store
from ..offline.sources import explained
from ..offline.writers import FORMATS, Format, format_of, writing
from ..savepoints.savepoint_state import state_at
from .admin import KAFKA, explain_unreachable, groups_of
from .run import GroupedCommand, RunnableProgram, given, settings_options
from .state_load import load
from .target import find

__all__ = ["state"]

F = TypeVar("F", bound=Callable[..., Any])

APP = click.argument("target", metavar="MODULE:APP")
STORE = click.argument("store", metavar="STORE")


def reading_options(function: F) -> F:
    """Add the options of commands that read a store."""
    function = click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write to a file, which is complete when it is there.",
    )(function)
    function = click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        help="Form of the output.  [default: that of FILE's name, or jsonl]",
    )(function)
    return click.option(
        "--from",
        "place",
        metavar="SAVEPOINT|DIR|URL|snapshots",
        help="Read a savepoint, a directory, or the snapshots at a URL; 'snapshots' are those of the setting.  "
        "[default: the state directory]",
    )(function)


@click.group()
def state() -> None:
    """Read the state of a program without running it, or make a savepoint with other state."""


@state.command(cls=GroupedCommand)
@APP
@STORE
@reading_options
@settings_options("app_id", "state_dir", *KAFKA, "snapshots")
def dump(target: str, store: str, place: str | None, form: Format | None, output: Path | None, **options: Any) -> None:
    """Write all rows of a store: key, window, value, event time, task."""
    source, declared = store_of(target, store, place, options)
    with explained():
        write(dumped(source, declared), declared.name, form, output)


state.add_command(load)


@state.command(cls=GroupedCommand)
@APP
@STORE
@click.argument("key", metavar="KEY")
@reading_options
@settings_options("app_id", "state_dir", *KAFKA, "snapshots")
def get(
    target: str, store: str, key: str, place: str | None, form: Format | None, output: Path | None, **options: Any
) -> None:
    """Write the rows of a key.

    For a windowed store, these are the rows of all its windows. KEY is text, or JSON for other keys.
    """
    source, declared = store_of(target, store, place, options)
    with explained():
        rows = list(lookup(source, declared, key))
        if not rows:
            raise ConfigError(f"the store {store!r} has no key {key!r} in {source.where}")
        write(rows, declared.name, form, output)


def store_of(target: str, store: str, place: str | None, options: dict[str, Any]) -> tuple[StateSource, DeclaredStore]:
    """Return the state of a program, and the declaration of one of its stores."""
    app = find(target, RunnableProgram)
    settings = load_settings(app.app_id, app.arguments, options=given(options), config=options["config"])
    declared = declared_store(app.topology(), store)

    def committed() -> Mapping[TopicPartition, tuple[int, str]]:
        with explain_unreachable(settings):
            return groups_of(settings).committed(settings.app_id)

    with explained():
        return state_at(place, settings, committed), declared


def write(rows: Iterable[DumpedRow], store: str, form: Format | None, output: Path | None) -> None:
    """Write rows; a file is followed by a line on standard error with their number."""
    count = 0
    with writing(format_of(output, form), output) as writer:
        for batch in batches(rows):
            writer.write(batch)
            count += len(batch)
            if output is not None:
                click.echo(f"{count:,} rows, as far as task {batch[-1].task}", err=True)
    if output is not None:
        click.echo(f"{count:,} rows of {store} in {output}", err=True)
