"""`tidemill compare`: compares what an application and its shadow write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ..clock import SYSTEM
from ..comparison.comparison import Comparison, compared_sinks
from ..comparison.matching import Difference, Output, SinkMatching
from ..config.settings import Settings
from ..errors import ConfigError
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.options import admin_options, restore_options
from ..kafka.topics import Topics
from ..tasks.roles import Role, role_of
from .admin import KAFKA, columns, explain_unreachable, groups_of, is_program, print_table, settings_of, timeout_option
from .progress import ProgressLine
from .run import GroupedCommand, settings_options
from .savepoint import found_savepoint, print_json, storage_of, translate_storage_errors, when

__all__ = ["NEW", "OLD", "compare", "refuse_other_roles", "settings_of_one"]

OLD = click.argument("old", metavar="OLD")
NEW = click.argument("new", metavar="NEW")
DIFFERENT = 1
"""The exit code if the outputs differ."""
LONGEST = 200
"""Characters of a key or value that are shown."""
AGAIN_MS = 2_000


@click.command(cls=GroupedCommand)
@OLD
@NEW
@click.option("--follow", is_flag=True, help="Go on, and print the result again when it has changed.")
@click.option("--examples", type=click.IntRange(min=0), default=5, show_default=True, help="How many to show.")
@timeout_option(60.0, "How long to wait until both have processed their inputs.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@settings_options(*KAFKA, "snapshots")
def compare(old: str, new: str, follow: bool, examples: int, timeout: float, as_json: bool, **options: Any) -> int:
    """Compare what an application and its shadow write.

    OLD and NEW are MODULE:APP, or application ids; NEW was forked from OLD with --follow, and both run. All that they
    have written since the savepoint is read. Outputs belong together by their key and timestamp. The exit code is 0 if
    they are equal, and 1 if not.
    """
    settings, shadow = settings_of_one(old, options), settings_of_one(new, options).app_id
    with explain_unreachable(settings), translate_storage_errors(), ProgressLine() as progress:
        groups, topics = groups_of(settings), Topics(admin_options(settings), settings.connect_timeout / 1000)
        role = role_of(metadata for _, metadata in groups.committed(shadow).values())
        refuse_other_roles(settings.app_id, shadow, role)
        savepoint = found_savepoint(storage_of(settings), settings.app_id, role.savepoint)
        sinks = compared_sinks(savepoint, shadow, topics.partitions())
        reader = ChangelogReader(restore_options(settings, 1), SYSTEM)
        try:
            comparing = Comparison(
                settings.app_id, shadow, sinks, groups, topics, reader, SYSTEM, progress.say, examples
            )
            if not as_json:
                since = f"savepoint {savepoint.name} of {when(savepoint.created)}"
                click.echo(f"{settings.app_id} and its shadow {shadow}, since {since}")
            shown: Any = None
            while True:
                comparing.round(int(timeout * 1000))
                found = {topic: as_data(one) for topic, one in comparing.results.items()}
                if found != shown:
                    show(comparing.results, settings.app_id, shadow, as_json=as_json)
                shown = found
                if not follow:
                    break
                SYSTEM.sleep(AGAIN_MS)
        finally:
            reader.close()
    return DIFFERENT if any(one.different or any(one.missing) for one in comparing.results.values()) else 0


def settings_of_one(target: str, options: Mapping[str, Any]) -> Settings:
    """Return the settings of one of two applications: an application id is meant as it stands."""
    own = None if is_program(target) else target
    return settings_of(target, {**options, "app_id": own})[0]


def refuse_other_roles(old: str, new: str, role: Role) -> None:
    """Raise ConfigError unless one application is the shadow of the other."""
    if role.shadow and role.other == old:
        return
    why = "it was not forked with --follow, or was reset"
    if role.shadow:
        why = f"it is the shadow of {role.other}"
    elif role.promoted:
        why = f"it has taken the place of {role.other}"
    raise ConfigError(
        f"{new} is not the shadow of {old}: {why}. `tidemill savepoint fork {old} NAME --as {new} --follow` makes one"
    )


def show(results: dict[str, SinkMatching], old: str, new: str, *, as_json: bool) -> None:
    """Print the results."""
    if as_json:
        print_json({"old": old, "new": new, "sinks": {topic: as_data(one) for topic, one in results.items()}})
        return
    table = columns("sink", "equal", "different", f"missing in {new}", f"missing in {old}", "not judged yet")
    for topic, one in results.items():
        in_old, in_new = one.missing
        table.add_row(topic, *(f"{count:,}" for count in (one.equal, one.different, in_new, in_old, one.pending)))
    print_table(table)
    for topic, one in results.items():
        for kind, examples in one.examples.items():
            for example in examples:
                click.echo(in_words(topic, kind, example, old, new))


def in_words(topic: str, kind: str, example: Difference, old: str, new: str) -> str:
    """Return an example as a line."""
    some = example.old or example.new
    assert some is not None
    where = f"{topic}: key {text_of(some.key)}, timestamp {some.timestamp}"
    if kind == "different":
        return f"{where}: {old} {content_of(example.old)}, {new} {content_of(example.new)}"
    return f"{where}: only {old if example.new is None else new} {content_of(some)}"


def content_of(output: Output | None) -> str:
    """Return what an output has besides its key, as text."""
    if output is None:
        return "nothing"
    headers = f" headers {output.headers}" if output.headers else ""
    return f"{text_of(output.value)} (partition {output.partition}, offset {output.offset}{headers})"


def text_of(raw: bytes | None) -> str:
    """Return bytes as text, cut if they are long."""
    if raw is None:
        return "null"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.hex(" ")
    shown = text if text.isprintable() else raw.hex(" ")
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}... ({len(raw):,} bytes)"


def as_data(one: SinkMatching) -> dict[str, Any]:
    """Return a result as JSON-compatible data."""
    in_old, in_new = one.missing
    return {
        "equal": one.equal,
        "different": one.different,
        "missing_in_new": in_new,
        "missing_in_old": in_old,
        "not_judged": one.pending,
        "examples": [
            {"kind": kind, "old": output_data(example.old), "new": output_data(example.new)}
            for kind, examples in one.examples.items()
            for example in examples
        ],
    }


def output_data(output: Output | None) -> dict[str, Any] | None:
    """Return an output as JSON-compatible data."""
    if output is None:
        return None
    return {
        "partition": output.partition,
        "offset": output.offset,
        "key": None if output.key is None else text_of(output.key),
        "timestamp": output.timestamp,
        "value": None if output.value is None else text_of(output.value),
    }
