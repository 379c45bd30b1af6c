"""The command `tidemill topology`: shows a program, or what an upgrade does to its state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from ..config.sources import load
from ..errors import ConfigError, TopologyError
from ..kafka.options import admin_options
from ..kafka.topics import Topics
from ..offline.sources import explained
from ..offline.versions import described
from ..plan import description
from ..plan.kept_names import with_kept_names
from ..plan.partition_growth import matches_of
from ..plan.plan import partition, plan
from ..plan.store_changes import StoreChange, VersionFacts, compare, facts_of, verdict
from ..savepoints.savepoint_state import facts_at
from .admin import explain_unreachable, is_program
from .run import GroupedCommand, RunnableProgram, given, settings_options
from .target import find

__all__ = ["topology"]

RENDERERS: Final = {"text": description.as_text, "mermaid": description.as_mermaid, "json": description.as_json}


@click.command(cls=GroupedCommand)
@click.argument("targets", metavar="MODULE:APP | --diff OLD NEW", nargs=-1, required=True)
@click.option("--diff", is_flag=True, help="Say what becomes of the state when NEW replaces OLD.")
@click.option(
    "--stage",
    type=click.Choice(["logical", "partitioned", "physical"]),
    default="partitioned",
    show_default=True,
    help="What was written, which steps run together, or what will run in view of the topics in Kafka.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(RENDERERS)),
    default="text",
    show_default=True,
    help="Form of the output.",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@settings_options("app_id", "broker", "connect_timeout", "state_dir", "snapshots")
def topology(targets: tuple[str, ...], diff: bool, stage: str, form: str, **options: Any) -> int:
    """Show a program: its steps, topics and stores.

    With --diff, say for each store whether it is kept, renamed, new, dropped or incompatible. OLD and NEW are programs,
    files written by --format json, savepoints by name, directories of state, or URLs of snapshots; 'local' is the state
    directory and 'snapshots' the snapshots of the other one's settings, where its savepoints are, too. Exit code 1:
    state is dropped; 2: the start would be refused.
    """
    if len(targets) != (2 if diff else 1):
        raise ConfigError(
            "give two versions with --diff, OLD and NEW" if diff else "give one program; two are compared with --diff"
        )
    if not diff:
        click.echo(RENDERERS[form](picture_of(find(targets[0], RunnableProgram), stage, options)))
        return 0
    old, new = versions(targets, options)
    changes = compare(old, new)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(changes)).decode())
    else:
        for line in lines(changes):
            click.echo(line)
    return verdict(changes)


def versions(targets: tuple[str, ...], options: dict[str, Any]) -> list[VersionFacts]:
    """Return the facts of two versions; state is found by the settings of the other one."""
    programs = {
        target: find(target, RunnableProgram) for target in targets if is_program(target) and "://" not in target
    }
    found: list[VersionFacts] = []
    for target in targets:
        if target in programs:
            found.append(facts_of(programs[target].topology()))
        elif target.endswith(".json"):
            found.append(described(Path(target)))
        else:
            other = next(iter(programs.values()), None)
            if other is None and options["app_id"] is None:
                raise ConfigError(f"{target} is compared with no program: name the application with --app-id")
            arguments: Mapping[str, object] = {} if other is None else other.arguments
            name = options["app_id"] if other is None else other.app_id
            settings = load(name, arguments, options=given(options), config=options["config"])
            with explained():
                found.append(facts_at(None if target == "local" else target, settings))
    return found


def lines(changes: list[StoreChange]) -> list[str]:
    """Return a line for each change, those that cost state last."""
    order = ("kept", "renamed", "new", "dropped", "incompatible")
    rows = sorted(changes, key=lambda change: (order.index(change.status), change.what != "store"))
    names = [f"{row.former} -> {row.name}" if row.former else row.name for row in rows]
    width = max(map(len, names), default=0)
    return [
        f"{row.status:<12}  {row.what:<11}  {name:<{width}}  {row.why}".rstrip()
        for row, name in zip(rows, names, strict=True)
    ] or ["neither has state"]


def picture_of(app: RunnableProgram, stage: str, options: dict[str, Any]) -> description.TopologyDescription:
    """Return a program at a stage of planning; the last stage queries the topics in Kafka."""
    settings = load(app.app_id, app.arguments, options=given(options), config=options["config"])
    written = app.topology()
    if stage == "logical":
        return description.logical(settings.app_id, written)
    cut = partition(written)
    if stage == "partitioned":
        return description.partitioned(settings.app_id, cut)
    topics = Topics(admin_options(settings), settings.connect_timeout / 1000)
    with explain_unreachable(settings):
        counts = topics.partitions()
    missing = {topic for source in written.sources for topic in source.topics} - counts.keys()
    if missing:
        raise TopologyError(f"these input topics do not exist at {settings.broker}: {', '.join(sorted(missing))}")
    cut = with_kept_names(cut, settings.app_id, counts)
    matches = matches_of(cut, settings.app_id, counts)
    return description.physical(plan(cut, settings.app_id, counts, matches, changelogs=settings.changelogs))
