"""`tidemill savepoint restore` and `fork`: start an application from a savepoint.

Both write the state to the internal topics of an application that does not run, and commit its positions
(engine/savepoints/refill.py). They differ in the application, and in what it may have before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ...operators.graph.topology import Topology
from ..clock import SYSTEM
from ..config.settings import Settings
from ..config.sources import load
from ..errors import ConfigError, Fatal
from ..group.inspect import GroupInspector
from ..kafka.options import admin_options, producer_options
from ..kafka.producer import PlainProducer
from ..kafka.topics import Topics
from ..plan.description import plural
from ..plan.partition_growth import matches_of
from ..plan.plan import Plan, partition, plan
from ..plan.shadow_topics import refuse_effects, shadow_topic
from ..restore.start_role import make_shadow_topics
from ..savepoints.refill import Refill
from ..savepoints.translation import internal_topics, kept_as_in, partition_counts, problems, remarks
from ..snapshots.savepoint import Savepoint
from ..snapshots.storage import Storage
from ..tasks.roles import ACTIVE, Role, role_of
from ..tasks.topic_ids import unfinished_in
from ..topics.changes import outputs_of
from ..topics.startup import make_internal_topics
from .admin import KAFKA, explain_unreachable, groups_of, refuse_running
from .progress import ProgressLine
from .run import GroupedCommand, RunnableProgram, given, settings_options
from .savepoint import (
    APP,
    JSON,
    found_savepoint,
    in_words,
    print_json,
    storage_of,
    translate_storage_errors,
    when,
)
from .target import find

__all__ = ["fork", "restore"]

NAME = click.argument("name", metavar="NAME")
GONE_MS = 60_000
PAUSE_MS = 200
DRY_RUN = click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and do nothing.")


@dataclass(frozen=True)
class Start:
    """An application that starts from a savepoint."""

    storage: Storage
    savepoint: Savepoint
    settings: Settings
    """Of the application that starts."""
    topology: Topology
    groups: GroupInspector
    topics: Topics
    follow: bool = False
    """Whether the application begins as the shadow of the one of the savepoint."""


@click.command(cls=GroupedCommand)
@APP
@NAME
@DRY_RUN
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
@settings_options(*KAFKA, "snapshots", "replication_factor")
def restore(app: str, name: str, dry_run: bool, yes: bool, as_json: bool, **options: Any) -> None:
    """Set an application that is stopped back to a savepoint.

    APP is MODULE:APP. The committed offsets and the state become those of the savepoint. The changelogs and repartition
    topics are deleted and created again; state on the disks of machines is not used any more. What the application has
    written to its output topics since stays there, and is written again. If the command is interrupted, call it again:
    the application does not start before it is done.
    """
    start = opened(app, name, options, None)
    with explain_unreachable(start.settings), translate_storage_errors():
        refuse_running(start.settings.app_id, start.groups)
        done(start, planned(start), ask=not (yes or as_json), dry_run=dry_run, as_json=as_json)


@click.command(cls=GroupedCommand)
@APP
@NAME
@click.option("--as", "new_app", required=True, metavar="NEW_APP", help="The id of the new application.")
@click.option("--follow", is_flag=True, help="Have it write to shadow topics.")
@DRY_RUN
@JSON
@settings_options(*KAFKA, "snapshots", "replication_factor")
def fork(app: str, name: str, new_app: str, follow: bool, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Give a new application the state and the positions of a savepoint.

    APP is MODULE:APP; the application of the savepoint may run meanwhile. NEW_APP gets internal topics of its own. Run
    the program with that id then: `tidemill run APP --app-id NEW_APP`. It writes to the output topics that the program
    names, so give it others unless both are to write there. With --follow it writes to shadow topics instead,
    NEW_APP-TOPIC-shadow, which `tidemill compare` compares with what the application of the savepoint writes.
    """
    start = replace(opened(app, name, options, new_app), follow=follow)
    if start.settings.app_id == start.savepoint.application:
        raise ConfigError(
            f"--as {new_app}: this is the application of the savepoint. Choose another id, or set it back with "
            f"`tidemill savepoint restore {app} {name}`"
        )
    with explain_unreachable(start.settings), translate_storage_errors():
        refuse_known(start)
        if follow:
            refuse_following(start)
        done(start, planned(start), ask=False, dry_run=dry_run, as_json=as_json)


def opened(app: str, name: str, options: Mapping[str, Any], new_app: str | None) -> Start:
    """Return what a start needs.

    The savepoint is one of `app`, and the settings are those of the application that starts.
    """
    program = find(app, RunnableProgram)
    settings = load(program.app_id, program.arguments, options=given(options), config=options["config"])
    storage = storage_of(settings)
    found = found_savepoint(storage, settings.app_id, name)
    if new_app is not None:
        given_options = {**given(options), "app_id": new_app}
        settings = load(program.app_id, program.arguments, options=given_options, config=options["config"])
    topics = Topics(admin_options(settings), settings.connect_timeout / 1000)
    return Start(storage, found, settings, program.topology(), groups_of(settings), topics)


def refuse_known(start: Start) -> None:
    """Raise ConfigError if the new application has run, or has topics that no fork has left."""
    app_id, groups = start.settings.app_id, start.groups
    hint = f"choose another id, or remove it with `tidemill reset {app_id}`"
    if groups.view(app_id).members:
        raise ConfigError(f"{app_id} is running already: {hint} when it is stopped")
    committed = groups.committed(app_id)
    if any(not unfinished_in(metadata) for _, metadata in committed.values()):
        raise ConfigError(f"{app_id} has committed offsets: it has run before, or was forked. {hint.capitalize()}")
    mine = {app_id + topic.removeprefix(start.savepoint.application) for topic in internal_topics(start.savepoint)}
    existing = sorted(mine & start.topics.partitions().keys())
    if existing and not committed:
        raise ConfigError(f"there is a topic {existing[0]} already, which {app_id} would need for itself: {hint}")


def refuse_following(start: Start) -> None:
    """Raise ConfigError or TopologyError if the application cannot be a shadow."""
    one, app_id = start.savepoint, start.settings.app_id
    refuse_effects(app_id, start.topology)
    if not one.outputs:
        raise ConfigError(
            f"savepoint {one.name} does not say where output topics ended, so there is nothing to compare with: "
            f"{one.application} writes to no topic that its program names, or the savepoint was made by an earlier "
            "version or by `tidemill state load`. Make another one while it runs"
        )


def planned(start: Start) -> Plan:
    """Return the plan of the application.

    Raises ConfigError if it cannot start from the savepoint.
    """
    one, app_id = start.savepoint, start.settings.app_id
    counts = partition_counts(one, start.topics.partitions(), app_id)
    cut = kept_as_in(one, partition(start.topology), app_id)
    missing = {topic for source in start.topology.sources for topic in source.topics} - counts.keys()
    if missing:
        raise ConfigError(f"these input topics do not exist at {start.settings.broker}: {', '.join(sorted(missing))}")
    made = plan(cut, app_id, counts, matches_of(cut, app_id, counts), changelogs=start.settings.changelogs)
    ids = start.topics.ids(sorted(set(made.topics) - {topic.name for topic in made.internal}))
    external = [(it.topic, it.partition) for it in one.inputs if it.topic in ids]
    begins, ends = start.topics.begins(external), start.topics.ends(external, committed=False)
    if found := problems(one, made, ids, begins, ends):
        raise ConfigError(
            f"{app_id} cannot start from savepoint {one.name}:\n" + "\n".join(f"- {problem}" for problem in found)
        )
    return made


def done(start: Start, made: Plan, *, ask: bool, dry_run: bool, as_json: bool) -> None:
    """Say what is done, ask, and do it."""
    one, app_id = start.savepoint, start.settings.app_id
    notes = remarks(one, made, outputs_of(start.topology))
    if not as_json:
        click.echo(f"savepoint {one.name} of {one.application}, {when(one.created)}: {in_words(one)}")
        existing = start.topics.partitions()
        for topic in sorted(made.internal, key=lambda topic: topic.name):
            click.echo(f"{'delete and create' if topic.name in existing else 'create'} the topic {topic.name}")
        for topic in sorted(outputs_of(start.topology)) if start.follow else ():
            click.echo(f"create the topic {shadow_topic(app_id, topic)}, which {app_id} writes in place of {topic}")
        click.echo(f"commit {plural(len(one.inputs), 'offset')} of the group {app_id!r}")
        for note in notes:
            click.echo(f"note: {note}")
    written = 0
    if not dry_run:
        if ask:
            click.confirm("Do all this?", abort=True)
        written = refilled(start, made)
    if as_json:
        print_json({"app": app_id, "savepoint": one.name, "done": not dry_run, "records": written, "notes": notes})
    elif not dry_run:
        click.echo(f"{app_id} has the state of savepoint {one.name}: {plural(written, 'record')} written; start it now")
        if start.follow:
            click.echo(f"it follows {one.application}, and writes to shadow topics only")


def refilled(start: Start, made: Plan) -> int:
    """Write the state and the positions; return the number of records."""
    producer = PlainProducer(producer_options(start.settings))
    if start.follow:
        remake_shadow_topics(start)
    try:
        with tempfile.TemporaryDirectory() as scratch, ProgressLine() as progress:
            return Refill(
                start.storage,
                start.savepoint,
                made,
                start.groups,
                start.topics,
                lambda: make_internal_topics(start.topics, made, start.settings),
                producer,
                Path(scratch) / "work",
                SYSTEM,
                progress.say,
                role_of_start(start),
            ).run()
    finally:
        producer.close()


def role_of_start(start: Start) -> Role:
    """Return the role of the application from now on.

    An application that is set back stays a shadow if it is one.
    """
    if start.follow:
        return Role(start.savepoint.application, start.savepoint.name)
    if start.settings.app_id != start.savepoint.application:
        return ACTIVE
    role = role_of(metadata for _, metadata in start.groups.committed(start.settings.app_id).values())
    return role.undone() if role.standing else role if role.shadow else ACTIVE


def remake_shadow_topics(start: Start) -> None:
    """Create the shadow topics, in place of those that an interrupted fork has left."""
    mine = {shadow_topic(start.settings.app_id, topic) for topic in outputs_of(start.topology)}
    left = mine & start.topics.partitions().keys()
    if left:
        start.topics.delete(left)
    deadline = SYSTEM.monotonic() + GONE_MS
    while left & start.topics.partitions().keys():
        if SYSTEM.monotonic() > deadline:
            raise Fatal(f"the topics {', '.join(sorted(left))} were deleted, but the brokers still have them")
        SYSTEM.sleep(PAUSE_MS)
    make_shadow_topics(start.topology, start.settings, start.topics)
