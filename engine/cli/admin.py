"""Commands that look at an application from outside, or put it back to its beginning.

status         members, tasks, lag                   asks Kafka
reset          removes offsets, internal topics and local state, after asking
state dump     a store of this machine as JSON lines      needs the program, and that it does not run here
state get      the entries of one key
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import click
import orjson
from rich.console import Console
from rich.table import Table

from ..config.settings import Settings
from ..config.sources import load
from ..errors import ConfigError, Fatal, Retryable
from ..group.inspect import Groups, View
from ..kafka.options import admin_options, group_options
from ..kafka.topics import Topics
from ..plan.describe import counted
from ..workers.control import Request, ask, line_of
from . import local_state
from .reset import by_form, by_program, described, one_topic
from .run import GroupedCommand, Program, given, settings_options
from .target import find

__all__ = ["reaching", "reset", "settings_of", "state", "status"]

KAFKA = ("broker", "connect_timeout")
Lags: TypeAlias = "dict[tuple[str, int], int]"
WIDE = 500
"""Columns where there is no terminal to fit."""


def is_program(target: str) -> bool:
    """Whether a target names a program, and not just an application id."""
    return ":" in target or target.endswith(".py")


def settings_of(target: str, options: dict[str, Any]) -> tuple[Settings, Program | None]:
    """The settings of a program, or those for an application id, and the program if there is one."""
    if not is_program(target):
        return load(target, {}, options=given(options), config=options["config"]), None
    app = find(target, Program)
    return load(app.app_id, app.arguments, options=given(options), config=options["config"]), app


@contextmanager
def reaching(settings: Settings) -> Generator[None, None, None]:
    """Says where Kafka was looked for when it does not answer."""
    try:
        yield
    except Retryable as error:
        raise Retryable(
            f"cannot reach Kafka at {settings.broker}: {error}. Check the address (--broker), that the broker runs, "
            "and the security options"
        ) from error


def groups_of(settings: Settings) -> Groups:
    """For asking about groups."""
    return Groups(admin_options(settings), group_options(settings), settings.connect_timeout / 1000)


@click.command(cls=GroupedCommand)
@click.argument("app", metavar="APP")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@settings_options(*KAFKA, "state_dir")
def status(app: str, form: str, **options: Any) -> None:
    """Shows who runs an application: members, their tasks, and how far behind they are.

    Workers that run on this machine, by the state directory, are shown with their numbers.

    APP is an application id, or MODULE:APP. Lag counts offsets up to the last stable one; it is 0 when all is
    processed, whatever markers of transactions and aborted records lie at the end.
    """
    settings, _ = settings_of(app, options)
    with reaching(settings):
        groups, topics = groups_of(settings), Topics(admin_options(settings), settings.connect_timeout / 1000)
        view = groups.view(settings.app_id)
        offsets = groups.offsets(settings.app_id)
        there = topics.partitions()
        ends = topics.ends([key for key in offsets if key[0] in there], committed=True)
    lags = {key: max(end - offsets[key], 0) for key, end in ends.items()}
    if form == "json":
        content = as_json(settings.app_id, view, lags, local_state.workers(settings))
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
    else:
        show(settings.app_id, view, lags, local_state.workers(settings))
        with suppress(ConfigError):  # none runs here
            answer = ask(settings, Request())
            click.echo(f"supervisor on this machine (process {answer.pid}): {line_of(answer)}")


def as_json(app_id: str, view: View, lags: Lags, workers: Mapping[str, int]) -> dict[str, Any]:
    """The status for programs."""
    return {
        "app": app_id,
        "state": view.state,
        "members": [
            {
                "id": member.id,
                "instance_id": member.instance_id,
                "host": member.host,
                "node": member.node,
                "worker": workers.get(member.id),
                "process": member.process,
                "active": member.active,
                "standby": member.standby,
                "warming": member.warming,
            }
            for member in view.members
        ],
        "lag": [{"topic": topic, "partition": number, "lag": lag} for (topic, number), lag in sorted(lags.items())],
    }


def show(app_id: str, view: View, lags: Lags, workers: Mapping[str, int]) -> None:
    """The status for people. `workers` are the numbers of those on this machine by member id."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE)
    if view.state == "Dead" and not lags:
        click.echo(f"{app_id}: there is no such group; it has never run on this cluster, or was reset")
        return
    click.echo(f"{app_id}: {view.state}, {counted(len(view.members), 'member')}, lag {sum(lags.values()):,}")
    if view.members:
        table = columns("machine", "host", "process", "worker", "tasks", "standbys", "warming")
        for member in sorted(view.members, key=lambda it: (it.node, workers.get(it.id, -1))):
            name = member.process[:8] if member.instance_id is None else member.instance_id
            number = str(workers.get(member.id, ""))
            tasks = (" ".join(it) for it in (member.active, member.standby, member.warming))
            table.add_row(member.node, member.host, name, number, *tasks)
        console.print(table)
    if lags:
        table = columns("topic", "partitions", "lag", "most in one")
        for topic in sorted({topic for topic, _ in lags}):
            mine = [lag for (name, _), lag in lags.items() if name == topic]
            table.add_row(topic, str(len(mine)), f"{sum(mine):,}", f"{max(mine):,}")
        console.print(table)


def columns(*names: str) -> Table:
    """A table without lines, whose long names are folded and never cut."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


@click.command(cls=GroupedCommand)
@click.argument("app", metavar="APP")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--topic",
    metavar="NAME",
    help="Accept one topic that was deleted and created again, and keep the state: an input or repartition topic is "
    "read from its beginning, a changelog's state is what the new one holds.",
)
@settings_options(*KAFKA, "state_dir")
def reset(app: str, dry_run: bool, yes: bool, topic: str | None, **options: Any) -> None:
    """Puts an application back to its beginning: it will process its inputs again.

    Removes its committed offsets, its internal topics with the state in them, and its state on this machine. Input and
    output topics stay as they are. Refused while an instance runs. APP is MODULE:APP, or an application id; with the
    program the internal topics are known by name, with the id they are found by their form.
    """
    settings, program = settings_of(app, options)
    with reaching(settings):
        groups, topics = groups_of(settings), Topics(admin_options(settings), settings.connect_timeout / 1000)
        view = groups.view(settings.app_id)
        if view.members:
            where = ", ".join(sorted({member.host for member in view.members}))
            raise ConfigError(
                f"{settings.app_id} is running: {counted(len(view.members), 'member')} in its group, on {where}. Stop "
                "all instances first; one that was killed is gone after its session time-out"
            )
        existing = topics.partitions()
        if topic is not None:
            accept(settings.app_id, topic, groups, topics, ask=not yes, dry_run=dry_run)
            return
        if program is None:
            removal = by_form(settings.app_id, existing, groups.names())
        else:
            removal = by_program(settings.app_id, program.topology(), existing)
        offsets = groups.offsets(settings.app_id)
        directories = local_state.worker_dirs(settings)
        for line in described(settings.app_id, len(offsets), removal, directories):
            click.echo(line)
        if not (offsets or removal.topics or directories):
            click.echo(f"there is nothing of {settings.app_id} to remove")
            return
        if dry_run:
            return
        if not yes:
            click.confirm("Remove all this?", abort=True)
        local_state.remove_state(settings)
        try:
            topics.delete(removal.topics)
            if offsets:
                groups.delete(settings.app_id)
        except (Retryable, Fatal) as error:
            raise type(error)(f"{error}. The reset is not complete: run it again before you start anything") from error
    click.echo(f"{settings.app_id} starts from the beginning; remove its state directories on other machines too")


def accept(app_id: str, topic: str, groups: Groups, topics: Topics, *, ask: bool, dry_run: bool) -> None:
    """Commits what makes an application accept a topic that was created again."""
    found = topics.identities([topic]).get(topic)
    if found is None:
        raise ConfigError(f"there is no topic {topic!r}: create it first")
    topic_id, partitions = found
    begins = topics.begins((topic, number) for number in range(partitions))
    offsets = one_topic(app_id, topic, groups.committed(app_id), begins, topic_id)
    if not offsets:
        click.echo(f"{app_id} has committed nothing for {topic}: there is nothing to reset")
        return
    for (name, number), (offset, _) in sorted(offsets.items()):
        click.echo(f"commit offset {offset} of topic {name}, partition {number}")
    if dry_run:
        return
    if ask:
        click.confirm("Commit all this?", abort=True)
    groups.commit(app_id, offsets)
    click.echo(f"{app_id} accepts {topic} as it is at its next start, and keeps its state")


@click.group()
def state() -> None:
    """Shows the local state of a program that does not run on this machine."""


STORE = click.argument("store", metavar="STORE")
TARGET = click.argument("target", metavar="MODULE:APP")


@state.command(cls=GroupedCommand)
@TARGET
@STORE
@settings_options("app_id", "state_dir")
def dump(target: str, store: str, **options: Any) -> None:
    """Prints a store as JSON lines: key, value, timestamp, task and worker."""
    settings, declared = store_of(target, store, options)
    for entry in local_state.entries(settings, declared):
        click.echo(local_state.as_line(entry))


@state.command(cls=GroupedCommand)
@TARGET
@STORE
@click.argument("key", metavar="KEY")
@settings_options("app_id", "state_dir")
def get(target: str, store: str, key: str, **options: Any) -> None:
    """Prints the entries of a key: all its windows, where there are windows. KEY is text, or JSON for other keys."""
    settings, declared = store_of(target, store, options)
    found = False
    for entry in local_state.lookup(settings, declared, key):
        found = True
        click.echo(local_state.as_line(entry))
    if not found:
        raise ConfigError(f"the store {store!r} has no key {key!r} in {settings.state_dir / settings.app_id}")


def store_of(target: str, store: str, options: dict[str, Any]) -> tuple[Settings, Any]:
    """The settings of a program, and one of its stores, which is looked for on this machine."""
    app = find(target, Program)
    settings = load(app.app_id, app.arguments, options=given(options), config=options["config"])
    declared = local_state.state_of(app.topology(), store)
    if not local_state.worker_dirs(settings):
        raise ConfigError(
            f"there is no state of {settings.app_id} in {settings.state_dir}: give its directory by --state-dir"
        )
    return settings, declared
