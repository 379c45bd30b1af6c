"""`tidemill savepoint`: makes, lists, shows and deletes savepoints.

create           asks the processes of a running application    engine/savepoints/creation.py
list, show       read the snapshot store                        engine/snapshots/pins.py
delete           removes the manifest; retention does the rest
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import orjson

from ..clock import SYSTEM
from ..config.settings import Settings
from ..errors import ConfigError, Fatal
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.options import admin_options, restore_options
from ..kafka.topics import Topics
from ..plan.description import plural
from ..savepoints.creation import SavepointCreation
from ..snapshots.pins import names_of, savepoint_of
from ..snapshots.savepoint import Savepoint, folder_of, is_name, path_of
from ..snapshots.service import storage_at
from ..snapshots.storage import Missing, Storage, StorageError
from .admin import KAFKA, columns, explain_unreachable, groups_of, print_table, settings_of, timeout_option
from .progress import ProgressLine
from .run import GroupedCommand, settings_options

__all__ = ["savepoint"]

APP = click.argument("app", metavar="APP")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group()
def savepoint() -> None:
    """Make, show and delete savepoints of an application.

    A savepoint is a named consistent copy of an application's state and positions, in the snapshot store.
    """


@savepoint.command(cls=GroupedCommand)
@APP
@click.argument("name", metavar="[NAME]", required=False)
@timeout_option(600.0, "How long to try.")
@JSON
@settings_options(*KAFKA, "snapshots")
def create(app: str, name: str | None, timeout: float, as_json: bool, **options: Any) -> None:
    """Make a savepoint of a running application, which goes on meanwhile.

    APP is MODULE:APP, or an application id. All tasks are held at a commit for a moment, and their state is uploaded
    after that. Without NAME the savepoint is named by the time.
    """
    settings, _ = settings_of(app, options)
    storage = storage_of(settings)
    wanted = checked_name(name or datetime.fromtimestamp(SYSTEM.now() / 1000, timezone.utc).strftime("%Y%m%d-%H%M%S"))
    with (
        explain_unreachable(settings),
        translate_storage_errors(),
        tempfile.TemporaryDirectory() as scratch,
        ProgressLine() as progress,
    ):
        topics = Topics(admin_options(settings), settings.connect_timeout / 1000)
        made = SavepointCreation(
            storage,
            settings.app_id,
            wanted,
            groups_of(settings),
            topics,
            ChangelogReader(restore_options(settings, 1), SYSTEM),
            Path(scratch) / "work",
            SYSTEM,
            progress.say,
        ).run(int(timeout * 1000))
    if as_json:
        print_json(summary(made))
    else:
        click.echo(f"savepoint {made.name} of {made.application}: {in_words(made)}")


@savepoint.command("list", cls=GroupedCommand)
@APP
@JSON
@settings_options("snapshots")
def list_command(app: str, as_json: bool, **options: Any) -> None:
    """List the savepoints of an application, the oldest first.

    APP is MODULE:APP, or an application id.
    """
    settings, _ = settings_of(app, options)
    storage = storage_of(settings)
    with translate_storage_errors():
        found = [savepoint_of(storage, settings.app_id, name) for name in names_of(storage, settings.app_id)]
    found.sort(key=lambda one: one.created)
    if as_json:
        print_json([summary(one) for one in found])
    elif not found:
        click.echo(f"{settings.app_id} has no savepoints in {storage.url}")
    else:
        table = columns("name", "created", "tasks", "bytes", "in flight", "topology")
        for one in found:
            numbers = (str(len(one.tasks)), f"{one.size:,}", f"{flying(one):,}")
            table.add_row(one.name, when(one.created), *numbers, one.topology)
        print_table(table)


@savepoint.command(cls=GroupedCommand)
@APP
@click.argument("name", metavar="NAME")
@JSON
@settings_options("snapshots")
def show(app: str, name: str, as_json: bool, **options: Any) -> None:
    """Show a savepoint: its tasks, stores and positions.

    APP is MODULE:APP, or an application id.
    """
    settings, _ = settings_of(app, options)
    one = found_savepoint(storage_of(settings), settings.app_id, name)
    if as_json:
        print_json(whole(one))
        return
    click.echo(f"savepoint {one.name} of {one.application}, {when(one.created)}: {in_words(one)}")
    click.echo(f"made by Tidemill {one.version}, {one.guarantee}, topology {one.topology}")
    table = columns("sub-topology", "reads", "tasks", "stores")
    for part in one.subtopologies:
        table.add_row(str(part.id), " ".join(part.inputs), str(part.partitions), " ".join(sorted(part.stores)) or "-")
    print_table(table)
    table = columns("topic", "partition", "offset", "in flight")
    waiting = {(flight.topic, flight.partition): flight.records for flight in one.in_flight}
    for position in one.inputs:
        count = waiting.get((position.topic, position.partition))
        cells = (str(position.partition), f"{position.offset:,}", "" if count is None else f"{count:,}")
        table.add_row(position.topic, *cells)
    print_table(table)


@savepoint.command(cls=GroupedCommand)
@APP
@click.argument("name", metavar="NAME")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
@settings_options("snapshots")
def delete(app: str, name: str, dry_run: bool, yes: bool, as_json: bool, **options: Any) -> None:
    """Delete a savepoint. APP is MODULE:APP, or an application id.

    The processes of the application delete the snapshots that only it has named, an hour later at the earliest.
    """
    settings, _ = settings_of(app, options)
    storage = storage_of(settings)
    one = found_savepoint(storage, settings.app_id, name)
    if not as_json:
        click.echo(f"delete savepoint {one.name} of {one.application}, {when(one.created)}: {in_words(one)}")
    if not dry_run:
        if not yes and not as_json:
            click.confirm("Delete it?", abort=True)
        folder = folder_of(settings.app_id)
        with translate_storage_errors():  # the manifest first: what is left of its files is of no savepoint then
            storage.delete([path_of(settings.app_id, name), *(f"{folder}/{file.path}" for file in one.files)])
    if as_json:
        print_json({"name": one.name, "deleted": not dry_run})


@contextmanager
def translate_storage_errors() -> Generator[None, None, None]:
    """Raise errors of the snapshot store as errors of the engine."""
    try:
        yield
    except StorageError as error:
        raise Fatal(str(error)) from error


def storage_of(settings: Settings) -> Storage:
    """Return the snapshot store of an application. Raises ConfigError if none is configured."""
    if settings.snapshots is None:
        raise ConfigError(
            f"savepoints are kept in the snapshot store, and {settings.app_id} has none: give the application the "
            "setting snapshots, such as snapshots='s3://bucket/prefix', or name the store with --snapshots"
        )
    with translate_storage_errors():
        return storage_at(settings.snapshots)


def checked_name(name: str) -> str:
    """Return the name of a savepoint. Raises ConfigError."""
    if not is_name(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a savepoint: it has up to 100 letters, digits, dots, hyphens and "
            "underscores, begins with a letter or digit, and does not end with .json"
        )
    return name


def found_savepoint(storage: Storage, application: str, name: str) -> Savepoint:
    """Return a savepoint. Raises ConfigError if there is none of this name."""
    checked_name(name)
    with translate_storage_errors():
        try:
            return savepoint_of(storage, application, name)
        except Missing:
            known = names_of(storage, application)
    there = f"it has {', '.join(known)}" if known else "it has none"
    raise ConfigError(f"{application} has no savepoint {name!r} in {storage.url}: {there}")


def flying(one: Savepoint) -> int:
    """Return the number of records in flight."""
    return sum(flight.records for flight in one.in_flight)


def in_words(one: Savepoint) -> str:
    """Return the size of a savepoint in words."""
    return f"{plural(len(one.tasks), 'task')}, {one.size:,} bytes, {plural(flying(one), 'record')} in flight"


def when(ms: int) -> str:
    """Return a time as text, in UTC."""
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def summary(one: Savepoint) -> dict[str, Any]:
    """Return what a list shows of a savepoint, as JSON-compatible data."""
    return {
        "name": one.name,
        "app": one.application,
        "created": one.created,
        "tasks": len(one.tasks),
        "bytes": one.size,
        "in_flight": flying(one),
        "topology": one.topology,
        "guarantee": one.guarantee,
        "version": one.version,
    }


def whole(one: Savepoint) -> dict[str, Any]:
    """Return a savepoint as JSON-compatible data."""
    return {
        **summary(one),
        "subtopologies": [
            {"id": part.id, "inputs": part.inputs, "partitions": part.partitions, "stores": sorted(part.stores)}
            for part in one.subtopologies
        ],
        "inputs": [{"topic": it.topic, "partition": it.partition, "offset": it.offset} for it in one.inputs],
        "in_flight_by_partition": [
            {"topic": it.topic, "partition": it.partition, "records": it.records} for it in one.in_flight
        ],
        "snapshots": {task.task: task.snapshot for task in one.tasks if task.snapshot},
    }


def print_json(content: Any) -> None:
    """Print data as JSON."""
    click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
