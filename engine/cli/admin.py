"""Commands that inspect an application from outside, or reset it.

status         members, tasks, lag                   asks Kafka
reset          removes offsets, internal topics and local state, after asking
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import click
import orjson
from msgspec import to_builtins
from rich.console import Console
from rich.table import Table

from ..clock import SystemClock
from ..config.settings import Settings
from ..config.sources import load
from ..errors import ConfigError, Fatal, Retryable
from ..group.inspect import GroupDescription, GroupInspector
from ..kafka.options import admin_options, group_options
from ..kafka.topics import Topics
from ..plan.description import plural
from ..plan.internal_topics import changelog_topic
from ..restore.progress_file import RestoringTask
from ..workers.control import ControlRequest, ask, line_of
from . import local_state
from .reset import by_name, by_program, describe_removal, one_topic, store_of
from .run import GroupedCommand, RunnableProgram, given, settings_options
from .target import find

__all__ = [
    "KAFKA",
    "columns",
    "explain_unreachable",
    "groups_of",
    "is_program",
    "print_table",
    "refuse_running",
    "reset",
    "settings_of",
    "status",
    "timeout_option",
]

KAFKA = ("broker", "connect_timeout")
Lags: TypeAlias = "dict[tuple[str, int], int]"
Restoring: TypeAlias = "Sequence[tuple[int, RestoringTask]]"
"""Tasks that are being restored on this machine, with the numbers of their workers."""
WIDE = 500
"""Width of the output in columns if it is not a terminal."""


def timeout_option(default: float, what: str, *, least: float = 1) -> Callable[[Any], Any]:
    """Return the option `--timeout` of a command, with its help."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=least),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=what,
    )


def is_program(target: str) -> bool:
    """Return whether a target names a program, not only an application id."""
    return ":" in target or target.endswith(".py")


def settings_of(target: str, options: dict[str, Any]) -> tuple[Settings, RunnableProgram | None]:
    """Return the settings of a program or an application id, and the program if given."""
    if not is_program(target):
        return load(target, {}, options=given(options), config=options["config"]), None
    app = find(target, RunnableProgram)
    return load(app.app_id, app.arguments, options=given(options), config=options["config"]), app


def refuse_running(app_id: str, groups: GroupInspector) -> None:
    """Raise ConfigError if an application has members in its group."""
    members = groups.view(app_id).members
    if members:
        where = ", ".join(sorted({member.host for member in members}))
        raise ConfigError(
            f"{app_id} is running: {plural(len(members), 'member')} in its group, on {where}. Stop all instances "
            "first; a killed instance leaves the group after its session timeout"
        )


@contextmanager
def explain_unreachable(settings: Settings) -> Generator[None, None, None]:
    """Add the address of Kafka to the error if it does not respond."""
    try:
        yield
    except Retryable as error:
        raise Retryable(
            f"cannot reach Kafka at {settings.broker}: {error}. Check the address (--broker), that the broker runs, "
            "and the security options"
        ) from error


def groups_of(settings: Settings) -> GroupInspector:
    """Return a client for queries about groups."""
    return GroupInspector(admin_options(settings), group_options(settings), settings.connect_timeout / 1000)


@click.command(cls=GroupedCommand)
@click.argument("app", metavar="APP")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@settings_options(*KAFKA, "state_dir")
def status(app: str, form: str, **options: Any) -> None:
    """Show the members of an application, their tasks, and their lag.

    Workers that run on this machine, by the state directory, are shown with their numbers, and with the tasks that
    they restore.

    APP is an application id, or MODULE:APP. Lag counts offsets up to the last stable one; it is 0 when all is
    processed, whatever markers of transactions and aborted records lie at the end.
    """
    settings, _ = settings_of(app, options)
    with explain_unreachable(settings):
        groups, topics = groups_of(settings), Topics(admin_options(settings), settings.connect_timeout / 1000)
        view = groups.view(settings.app_id)
        offsets = groups.offsets(settings.app_id)
        there = topics.partitions()
        ends = topics.ends([key for key in offsets if key[0] in there], committed=True)
    lags = {key: max(end - offsets[key], 0) for key, end in ends.items()}
    restoring = local_state.restoring(settings, SystemClock().now())
    if form == "json":
        content = status_json(settings.app_id, view, lags, local_state.worker_numbers(settings), restoring)
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
    else:
        show(settings.app_id, view, lags, local_state.worker_numbers(settings), restoring)
        with suppress(ConfigError):  # none runs here
            answer = ask(settings, ControlRequest())
            click.echo(f"supervisor on this machine (process {answer.pid}): {line_of(answer)}")


def status_json(
    app_id: str, view: GroupDescription, lags: Lags, workers: Mapping[str, int], restoring: Restoring = ()
) -> dict[str, Any]:
    """Return the status as JSON-compatible data."""
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
        "restoring": [
            {"worker": worker, **to_builtins(task), "seconds_left": task.seconds_left} for worker, task in restoring
        ],
        "lag": [{"topic": topic, "partition": number, "lag": lag} for (topic, number), lag in sorted(lags.items())],
    }


def show(
    app_id: str, view: GroupDescription, lags: Lags, workers: Mapping[str, int], restoring: Restoring = ()
) -> None:
    """Print the status; `workers` are the numbers of those on this machine by member id."""
    if view.state == "Dead" and not lags:
        click.echo(f"{app_id}: there is no such group; it has never run on this cluster, or was reset")
        return
    click.echo(f"{app_id}: {view.state}, {plural(len(view.members), 'member')}, lag {sum(lags.values()):,}")
    if view.members:
        table = columns("machine", "host", "process", "worker", "tasks", "standbys", "warming")
        for member in sorted(view.members, key=lambda it: (it.node, workers.get(it.id, -1))):
            name = member.process[:8] if member.instance_id is None else member.instance_id
            number = str(workers.get(member.id, ""))
            tasks = (" ".join(it) for it in (member.active, member.standby, member.warming))
            table.add_row(member.node, member.host, name, number, *tasks)
        print_table(table)
    if lags:
        table = columns("topic", "partitions", "lag", "most in one")
        for topic in sorted({topic for topic, _ in lags}):
            mine = [lag for (name, _), lag in lags.items() if name == topic]
            table.add_row(topic, str(len(mine)), f"{sum(mine):,}", f"{max(mine):,}")
        print_table(table)
    for worker, task in restoring:
        click.echo(f"worker {worker} on this machine restores task {task.task}: {task.line()}")


def columns(*names: str) -> Table:
    """Return a table without lines, in which long names are folded and never cut."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print a table, as wide as it is unless a terminal is narrower."""
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE).print(table)


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
@click.option("--empty", is_flag=True, help="Delete the changelog of --topic: its store begins empty.")
@settings_options(*KAFKA, "state_dir")
def reset(app: str, dry_run: bool, yes: bool, topic: str | None, empty: bool, **options: Any) -> None:
    """Reset an application, so that it processes its inputs from the beginning.

    Removes its committed offsets, its internal topics with the state in them, and its state on this machine. Input and
    output topics stay as they are. Refused while an instance runs. APP is MODULE:APP, or an application id; with the
    program the internal topics are known by name, with the id they are found by their form.
    """
    settings, program = settings_of(app, options)
    if empty and (topic is None or not store_of(settings.app_id, topic)):
        raise click.UsageError(
            f"--empty needs --topic with a changelog, such as {changelog_topic(settings.app_id, 'NAME')}"
        )
    with explain_unreachable(settings):
        groups, topics = groups_of(settings), Topics(admin_options(settings), settings.connect_timeout / 1000)
        refuse_running(settings.app_id, groups)
        existing = topics.partitions()
        if topic is not None:
            accept(settings.app_id, topic, groups, topics, empty=empty, ask=not yes, dry_run=dry_run)
            return
        if program is None:
            removal = by_name(settings.app_id, existing, groups.names())
        else:
            removal = by_program(settings.app_id, program.topology(), existing)
        offsets = groups.offsets(settings.app_id)
        directories = local_state.worker_dirs(settings)
        for line in describe_removal(settings.app_id, len(offsets), removal, directories):
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


def accept(
    app_id: str, topic: str, groups: GroupInspector, topics: Topics, *, empty: bool, ask: bool, dry_run: bool
) -> None:
    """Commit offsets that make an application accept a recreated topic.

    With `empty`, the topic is deleted before; it is a changelog.
    """
    found = topics.identities([topic]).get(topic)
    if found is None and not empty:
        raise ConfigError(f"there is no topic {topic!r}: create it first")
    topic_id, partitions = found or ("", 0)
    begins = topics.begins((topic, number) for number in range(partitions))
    offsets = one_topic(app_id, topic, groups.committed(app_id), begins, topic_id)
    if not (offsets or (empty and found)):
        click.echo(f"{app_id} has committed nothing for {topic}: there is nothing to reset")
        return
    if empty and found:
        click.echo(f"delete the topic {topic}")
    for (name, number), (offset, _) in sorted(offsets.items()):
        click.echo(f"commit offset {offset} of topic {name}, partition {number}")
    if dry_run:
        return
    if ask:
        click.confirm("Do all this?" if empty else "Commit all this?", abort=True)
    if empty and found:
        topics.delete([topic])
    if offsets:
        groups.commit(app_id, offsets)
    how = "without rows" if empty else "as it is"
    click.echo(f"{app_id} accepts {topic} {how} at its next start, and keeps its {'other ' * empty}state")
