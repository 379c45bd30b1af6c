"""`tidemill reshard`: gives the state of an application another number of partitions.

the application or a savepoint ──▶ a savepoint of it ──▶ one with the new number ──▶ the internal topics
  engine/resharding/stopped.py      engine/resharding/moving.py       engine/savepoints/refill.py

With --online, these are the topics of another application, the successor. It follows the first one as a shadow, and
takes its place by a cut-over (engine/cutover/).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from ..clock import SYSTEM
from ..config.settings import Settings
from ..config.sources import load
from ..cutover.handover import Pair, role_in_group, stage_of
from ..cutover.switch import Cutover, Switched
from ..errors import ConfigError, Fatal
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.options import admin_options, restore_options
from ..kafka.partitioners import PARTITIONERS
from ..kafka.topics import Topics
from ..offline.sources import explained
from ..plan.description import plural
from ..plan.shadow_topics import refuse_effects
from ..resharding.preparation import (
    ReshardRequest,
    ReshardWork,
    as_stopped,
    outlined,
    planned,
    prepared,
    refuse,
    with_the_number,
)
from ..resharding.running import moved_while_running, refused_while_running
from ..snapshots.service import storage_at
from ..tasks.topic_ids import unfinished_in
from .admin import KAFKA, columns, explain_unreachable, groups_of, print_table, refuse_running, timeout_option
from .cutover import show as show_switch
from .cutover import show_stage, transaction_of
from .progress import ProgressLine
from .run import GroupedCommand, RunnableProgram, given, settings_options
from .savepoint import APP, JSON, checked_name, found_savepoint, in_words, print_json, storage_of
from .savepoint_start import DRY_RUN, Start, refilled, refuse_following, refuse_known
from .savepoint_start import planned as planned_start
from .target import find

__all__ = ["reshard"]

WAIT_MS = 500


@click.command(cls=GroupedCommand)
@APP
@click.option(
    "--partitions",
    type=click.IntRange(1),
    required=True,
    metavar="N",
    help="The new number of partitions of its state.",
)
@click.option("--online", is_flag=True, help="Do it while the application runs, by a successor with another id.")
@click.option(
    "--successor", metavar="NEW_APP", help="With --online: the id of the successor.  [default: APP-N, such as views-16]"
)
@click.option("--from", "base", metavar="SAVEPOINT", help="Take a savepoint.  [default: the application as it stopped]")
@click.option(
    "--as",
    "name",
    metavar="NAME",
    help="The name of the savepoint with the new number.  [default: the time, or the id of the successor]",
)
@click.option(
    "--partitioner",
    type=click.Choice(list(PARTITIONERS), case_sensitive=False),
    help="How producers choose the partition of a key in the input topics.  [default: as the keys lie]",
)
@timeout_option(3600.0, "With --online: how long to wait for the successor, and to try the switch.")
@DRY_RUN
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
@settings_options("app_id", *KAFKA, "snapshots", "replication_factor")
def reshard(
    app: str,
    partitions: int,
    online: bool,
    successor: str | None,
    base: str | None,
    name: str | None,
    partitioner: str | None,
    timeout: float,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Give the state of an application another number of partitions.

    APP is MODULE:APP, of an application that is stopped. Repartition topics and changelogs are deleted and created
    again with N partitions, and the state, timers, windows and records in flight of each key go to the task where the
    key lies then. Input topics keep their partitions: add some before, if steps with state read them directly. All
    entries are compared before and after, and a savepoint of the state as it was is kept. If the command is
    interrupted, call it again: until it is done, the application has its old state, or does not start.

    With --online the application runs meanwhile, and N is a multiple of the old number. A successor gets the state, and
    waits for its instances, which you start when the command says so. It catches up, and takes the place of the
    application, with each input in the output of exactly one of them.
    """
    program = find(app, RunnableProgram)
    settings = load(program.app_id, program.arguments, options=given(options), config=options["config"])
    if not settings.changelogs:
        raise ConfigError(
            f'{settings.app_id} has durability "snapshot": it has no changelogs, by which the state could be given to '
            "it. To process the inputs again with another number, use `tidemill reset`"
        )
    if successor is not None and not online:
        raise ConfigError("--successor is for --online: an application that is stopped keeps its id")
    next_id = successor or f"{settings.app_id}-{partitions}"
    storage = storage_of(settings)
    time = datetime.fromtimestamp(SYSTEM.now() / 1000, timezone.utc).strftime("%Y%m%d-%H%M%S")
    wanted = checked_name(name or (next_id if online else time))
    topics = Topics(admin_options(settings), settings.connect_timeout / 1000)
    named = {one.lower(): one for one in PARTITIONERS}
    ways = [named[partitioner.lower()]] if partitioner else list(PARTITIONERS)
    progress = ProgressLine()
    with explain_unreachable(settings), explained(), tempfile.TemporaryDirectory() as scratch:
        request = ReshardRequest(
            settings.app_id,
            settings.guarantee,
            program.topology(),
            storage,
            groups_of(settings),
            topics,
            lambda: ChangelogReader(restore_options(settings, 1), SYSTEM),
            partitions,
            ways,
            Path(scratch),
            progress.say,
        )
        asked = Asked(
            request, settings, wanted, base, progress, dry_run=dry_run, ask=not (yes or as_json), json=as_json
        )
        if online:
            new = load(
                program.app_id,
                program.arguments,
                options={**given(options), "app_id": next_id},
                config=options["config"],
            )
            while_running(asked, new, int(timeout * 1000))
        else:
            while_stopped(asked)


@dataclass(frozen=True)
class Asked:
    """A call of the command."""

    request: ReshardRequest
    settings: Settings
    name: str
    """Of the savepoint with the new number."""
    base: str | None
    progress: ProgressLine
    dry_run: bool
    ask: bool
    json: bool


def while_stopped(asked: Asked) -> None:
    """Give an application that is stopped the new number of partitions."""
    request, name = asked.request, asked.name
    refuse_running(request.app_id, request.groups)
    with asked.progress:
        found = interrupted(asked)
        if found is None:
            storage = request.storage
            if asked.base is not None:
                one = found_savepoint(storage, request.app_id, asked.base)
                planned(request, one)  # what can be refused without the state
            else:
                if asked.dry_run:
                    storage = storage_at((request.scratch / "dry-run").as_uri())
                one = as_stopped(request, f"{name}-before", storage)
            found = prepared(request, one, storage)
    if not asked.json:
        say(request, found)
    if asked.dry_run:
        ended(asked, found, 0, done=False)
        return
    if asked.ask:
        click.confirm("Do all this?", abort=True)
    with asked.progress:
        found = found.moved(name)
    assert found.made is not None
    start = Start(request.storage, found.made, asked.settings, request.topology, request.groups, request.topics)
    ended(asked, found, refilled(start, found.plan), done=True)


def interrupted(asked: Asked) -> ReshardWork | None:
    """Return what is left to do of a command that was interrupted. Raises ConfigError."""
    request = asked.request
    marks = {unfinished_in(metadata) for _, metadata in request.groups.committed(request.app_id).values()} - {""}
    if not marks:
        return None
    name = min(marks)
    found = with_the_number(request, found_savepoint(request.storage, request.app_id, name))
    if found is None:
        raise ConfigError(
            f"the state of savepoint {name!r} has not been written completely to the topics of {request.app_id}: "
            "finish that first, with `tidemill savepoint restore` or with the `tidemill reshard` that was interrupted"
        )
    request.say(f"going on with savepoint {name}, which was not written completely")
    return found


# While it runs


def while_running(asked: Asked, successor: Settings, timeout_ms: int) -> None:
    """Have a successor with the new number take the place of an application, while both run."""
    request, old, new = asked.request, asked.settings.app_id, successor.app_id
    groups, deadline = request.groups, SYSTEM.monotonic() + timeout_ms
    pair = Pair(groups.committed(old), groups.committed(new))
    stage, unfinished = stage_of(old, new, pair), any(unfinished_in(text) for _, text in pair.new.values())
    found: ReshardWork | None = None
    if stage == "other" or unfinished:
        found = begun(asked, successor)
    elif stage == "ready":
        one = found_savepoint(request.storage, old, role_in_group(pair.new).savepoint)
        if with_the_number(request, one) is None:
            raise ConfigError(
                f"{new} is the shadow of {old} already, with other numbers of partitions: choose another --successor, "
                f"or remove it with `tidemill reset {new}`"
            )
    if asked.dry_run:
        if asked.json:
            print_json({"app": old, "successor": new, "partitions": request.partitions, "done": stage == "switched"})
        elif stage != "other":
            show_stage(stage, old, new, as_json=False)
        return
    with asked.progress, transaction_of(asked.settings, new) as transaction:
        if stage != "switched":
            started(asked, new, deadline)
        left = max(1, deadline - SYSTEM.monotonic())
        switch = Cutover(request.storage, old, new, groups, request.topics, transaction, SYSTEM, request.say)
        done = switch.run(left)
    ended_while_running(asked, found, done, new)


def begun(asked: Asked, successor: Settings) -> ReshardWork | None:
    """Give the successor the state of the application, which goes on; None for a dry run.

    Raises ConfigError if it cannot have it.
    """
    request, old, new = asked.request, asked.settings.app_id, successor.app_id
    if asked.settings.guarantee != "exactly_once":
        raise ConfigError(
            f'{old} has the guarantee "at_least_once", by which inputs could be in the output of both: stop it, and '
            "call the command without --online"
        )
    refuse_effects(new, request.topology)
    if asked.base is not None:
        found_savepoint(request.storage, old, asked.base)
    _, outline = outlined(request, asked.name)
    plan, parts, notes = planned(request, outline)
    refuse(old, refused_while_running(parts))
    start = Start(request.storage, outline, successor, request.topology, request.groups, request.topics, follow=True)
    refuse_known(start)
    if not asked.json:
        say(request, ReshardWork("", plan, parts, notes, ()), new)
        click.echo(f"{new} takes the place of {old}, which cannot be started again after that")
    if asked.dry_run:
        return None
    if asked.ask:
        click.confirm("Do all this?", abort=True)
    with asked.progress:
        found = moved_while_running(request, asked.name, asked.base)
    assert found.made is not None
    start = replace(start, savepoint=found.made)
    refuse_following(start)
    refilled(start, planned_start(start))
    return found


def started(asked: Asked, new: str, deadline: int) -> None:
    """Wait until the successor runs. Raises Fatal if it is not started in time."""
    said = False
    while not asked.request.groups.view(new).members:
        if not said and not asked.json:
            click.echo(f"{new} has the state; start it now, beside {asked.settings.app_id}: --app-id {new}")
        said = True
        if SYSTEM.monotonic() >= deadline:
            raise Fatal(
                f"{new} was not started: {asked.settings.app_id} goes on as before. Start instances of the program "
                f"with --app-id {new}, and call the command again: it goes on from here"
            )
        SYSTEM.sleep(WAIT_MS)


# What is shown


def say(request: ReshardRequest, found: ReshardWork, successor: str | None = None) -> None:
    """Show what will be done, to the application or to its successor."""
    for part in found.parts:
        if part.moves:
            click.echo(f"sub-topology {part.id}: {plural(part.old, 'task')} become {part.new}")
    existing = request.topics.partitions()
    for topic in sorted(found.plan.internal, key=lambda topic: topic.name):
        name = topic.name if successor is None else successor + topic.name.removeprefix(request.app_id)
        what = "delete and create" if name in existing else "create"
        click.echo(f"{what} the topic {name} with {plural(topic.partitions, 'partition')}")
    for note in found.notes:
        click.echo(f"note: {note}")


def ended_while_running(asked: Asked, found: ReshardWork | None, done: Switched, new: str) -> None:
    """Show what was done while the application ran."""
    old = asked.settings.app_id
    if not asked.json:
        if found is not None:
            show_stores(found)
        show_switch(done, old, new, as_json=False)
        return
    content = {"app": old, "successor": new, "partitions": asked.request.partitions, "done": done.done}
    stores = [] if found is None else stores_as_data(found)
    switch = {"earlier": done.earlier, "at": done.at, "pause_ms": done.pause_ms, "answered": done.answered}
    print_json({**content, **switch, "stores": stores})


def ended(asked: Asked, found: ReshardWork, written: int, *, done: bool) -> None:
    """Show what was done."""
    request = asked.request
    if asked.json:
        content = {"app": request.app_id, "partitions": request.partitions, "before": found.base}
        name = None if found.made is None else found.made.name
        more = {"savepoint": name, "done": done, "records": written, "notes": found.notes}
        print_json({**content, **more, "stores": stores_as_data(found)})
        return
    show_stores(found)
    if done and found.made is not None:
        click.echo(
            f"{request.app_id} has {plural(request.partitions, 'partition')}: {in_words(found.made)}; start it now"
        )
        if found.base:
            click.echo(f"the state as it was is savepoint {found.base}; delete it when it is not needed any more")


def stores_as_data(found: ReshardWork) -> list[Mapping[str, Any]]:
    """Return the stores before and after, as JSON-compatible data."""
    return [
        {
            "store": one.name,
            "tasks_before": one.old,
            "tasks": one.new,
            "entries": one.before.entries,
            "hash_before": str(one.before),
            "hash": None if one.after is None else str(one.after),
        }
        for one in found.stores
    ]


def show_stores(found: ReshardWork) -> None:
    """Show the stores before and after."""
    if not found.stores:
        return
    table = columns("store", "tasks", "entries", "hash before", "hash after", "")
    for one in found.stores:
        same = "" if one.after is None else "equal" if one.after == one.before else "DIFFERENT"
        after = "" if one.after is None else str(one.after)[:16]
        numbers = f"{one.old} → {one.new}", f"{one.before.entries:,}"
        table.add_row(one.name, *numbers, str(one.before)[:16], after, same)
    print_table(table)
