"""`tidemill state load`: makes a savepoint from a file with the rows of a store.

It is done by `engine/savepoints/loading.py`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from secrets import randbits
from typing import Any

import click

from ...operators.graph.topology import Source, Topology
from ...state.topic_partition import TopicPartition
from ..clock import SYSTEM
from ..config.settings import Settings
from ..config.sources import load as load_settings
from ..errors import ConfigError
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.options import admin_options, restore_options
from ..kafka.partitioners import MURMUR2, PARTITIONERS
from ..kafka.topics import Topics
from ..offline.parts import DeclaredStore, declared_store
from ..offline.readers import reading
from ..offline.sources import explained
from ..offline.writers import FORMATS, Format, format_of
from ..plan.description import plural
from ..plan.partition_growth import matches_of
from ..plan.plan import partition, plan
from ..restore.start_offsets import starting_offsets
from ..savepoints.key_samples import explaining, sampled_keys
from ..savepoints.loading import SavepointLoad, empty_savepoint
from ..snapshots.savepoint import Savepoint
from .admin import KAFKA, explain_unreachable
from .progress import ProgressLine
from .run import GroupedCommand, RunnableProgram, given, settings_options
from .savepoint import checked_name, found_savepoint, in_words, print_json, storage_of, summary
from .target import find

__all__ = ["load"]

OFFSET = re.compile(r"(?P<topic>[^:=]+):(?P<partition>[0-9]+)=(?P<offset>[0-9]+)")


@click.command(cls=GroupedCommand)
@click.argument("target", metavar="MODULE:APP")
@click.argument("store", metavar="STORE")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--as", "name", metavar="NAME", help="The name of the savepoint.  [default: the time]")
@click.option(
    "--from",
    "base",
    metavar="SAVEPOINT",
    help="Take the other stores and the positions from a savepoint.  [default: the other stores are empty]",
)
@click.option(
    "--offset",
    "offsets",
    multiple=True,
    metavar="TOPIC:PARTITION=OFFSET",
    help="The first offset of an input that is not in FILE; may be repeated.  [default: where its source starts]",
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="Form of FILE.  [default: by its name, or jsonl]")
@click.option(
    "--partitioner",
    type=click.Choice(list(PARTITIONERS), case_sensitive=False),
    help="How producers choose the partition of a key in the input topics that the store's step reads.  [default: as "
    "the keys lie; murmur2 if there are none]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@settings_options("app_id", *KAFKA, "snapshots")
def load(
    target: str,
    store: str,
    file: Path,
    name: str | None,
    base: str | None,
    offsets: Sequence[str],
    form: Format | None,
    partitioner: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a savepoint with the rows of FILE as the content of a store.

    FILE has the columns of `state dump`, in JSON lines, CSV or Parquet: the result of a batch computation, or a dump.
    `tidemill savepoint restore` or `fork` starts the application from the savepoint.
    """
    program = find(target, RunnableProgram)
    settings = load_settings(program.app_id, program.arguments, options=given(options), config=options["config"])
    topology = program.topology()
    declared = declared_store(topology, store)
    if declared.subtopology is None:
        raise ConfigError(f"{store!r} is a global table: it is the content of its topic, so write the rows there")
    storage = storage_of(settings)
    wanted = checked_name(name or datetime.fromtimestamp(SYSTEM.now() / 1000, timezone.utc).strftime("%Y%m%d-%H%M%S"))
    topics = Topics(admin_options(settings), settings.connect_timeout / 1000)
    with explain_unreachable(settings), explained(), tempfile.TemporaryDirectory() as scratch:
        if base is None:
            one = fresh(topology, settings, topics, offsets_in(offsets))
        elif offsets:
            raise ConfigError("--offset is for a new savepoint; with --from, the positions are those of the savepoint")
        else:
            one = found_savepoint(storage, settings.app_id, base)
        stored = next((found for part in one.subtopologies if (found := declared.stored_in(part.stores))), store)
        chosen = partitioner_of(one, stored, settings, topics, partitioner)
        with ProgressLine() as progress, reading(format_of(file, form), file) as rows:
            made, count = SavepointLoad(
                storage, one, PARTITIONERS[chosen], Path(scratch) / "work", SYSTEM, progress.say
            ).run(wanted, randbits(48), stored, declared.state, rows)
    others = sorted(empty_stores(topology, declared)) if base is None else []
    if as_json:
        print_json({**summary(made), "rows": count, "partitioner": chosen, "empty": others})
        return
    click.echo(f"savepoint {made.name} of {made.application}: {plural(count, 'row')} of {store}, {in_words(made)}")
    if others:
        click.echo(f"note: these stores are empty in it: {', '.join(others)}")


def offsets_in(words: Sequence[str]) -> dict[TopicPartition, int]:
    """Return the offsets that were given. Raises ConfigError."""
    found: dict[TopicPartition, int] = {}
    for word in words:
        parts = OFFSET.fullmatch(word)
        if parts is None:
            raise ConfigError(f"--offset {word}: write it as TOPIC:PARTITION=OFFSET, such as orders:0=4711")
        found[parts["topic"], int(parts["partition"])] = int(parts["offset"])
    return found


def fresh(
    topology: Topology, settings: Settings, topics: Topics, given_offsets: Mapping[TopicPartition, int]
) -> Savepoint:
    """Return a savepoint of the program as it would start, without state. Raises ConfigError."""
    cut, app_id = partition(topology), settings.app_id
    counts = topics.partitions()
    missing = {topic for source in topology.sources for topic in source.topics} - counts.keys()
    if missing:
        raise ConfigError(f"these input topics do not exist at {settings.broker}: {', '.join(sorted(missing))}")
    made = plan(cut, app_id, counts, matches_of(cut, app_id, counts), changelogs=settings.changelogs)
    if not made.changelogs:
        raise ConfigError(
            f'{app_id} has durability "snapshot": it has no changelogs, by which the state could be given to it'
        )
    sources = {topic: node for part in made.subtopologies for topic, node in part.inputs if isinstance(node, Source)}
    inputs = {key: sources[key[0]] for task in made.tasks() for key in made.inputs(task) if key[0] in sources}
    unknown = sorted(given_offsets.keys() - inputs.keys())
    if unknown:
        topic, number = unknown[0]
        raise ConfigError(f"--offset {topic}:{number}: the program does not read such a partition")
    ends = topics.ends(list(given_offsets), committed=False)
    begins = topics.begins(list(given_offsets))
    for (topic, number), offset in given_offsets.items():
        if not begins[topic, number] <= offset <= ends[topic, number]:
            raise ConfigError(
                f"--offset {topic}:{number}={offset}: the partition has offsets {begins[topic, number]} to "
                f"{ends[topic, number]}"
            )
    others = {key: node for key, node in inputs.items() if key not in given_offsets}
    starts = starting_offsets(others, topics, SYSTEM.now())
    return empty_savepoint(made, {**starts, **given_offsets}, topics.ids(sorted(sources)), settings.guarantee)


def partitioner_of(one: Savepoint, store: str, settings: Settings, topics: Topics, wanted: str | None) -> str:
    """Return how keys find the tasks of a store, by the records that its step reads.

    Raises ConfigError if these lie in another way than `wanted`, or in no way that is known.
    """
    part = next((part for part in one.subtopologies if store in part.stores), None)
    written = {topic for other in one.subtopologies for topic in other.writes}
    named = {name.lower(): name for name in PARTITIONERS}
    if part is None or part.partitions < 2 or written & set(part.inputs):
        if wanted is not None and named[wanted.lower()] != MURMUR2:
            raise ConfigError(f"--partitioner {wanted}: the step of {store!r} reads what Tidemill writes by murmur2")
        return MURMUR2
    keys = [(topic, number) for topic in part.inputs for number in range(part.partitions)]
    begins, ends = topics.begins(keys), topics.ends(keys, committed=False)
    found = sampled_keys(ChangelogReader(restore_options(settings, 1), SYSTEM), begins, ends)
    possible = explaining(found, part.partitions)
    chosen = named[wanted.lower()] if wanted is not None else possible[0] if possible else ""
    if chosen not in possible:
        way = " or ".join(possible) if possible else f"none of {', '.join(PARTITIONERS)}"
        raise ConfigError(
            f"the keys in {', '.join(part.inputs)} decide in which task a row of {store!r} belongs, and they lie where "
            f"{way} puts them{f', not {chosen}' if chosen else ''}"
        )
    return chosen


def empty_stores(topology: Topology, loaded: DeclaredStore) -> set[str]:
    """Return the other stores that a savepoint would have."""
    tables = {table.id for table in topology.global_tables}
    return {state.spec.name for node in topology.nodes if node.id not in tables for state in node.stores} - {
        loaded.name
    }
