"""The command `tidemill`.

    run                     runs a program                                               (run.py)
    topology                shows a program: what runs, what it reads and writes
    scale                   changes the number of workers of a running application       (scale.py)
    status, reset, state    look at an application, put it back to its beginning         (admin.py)
    broker                  starts the embedded development broker

Each command is a few lines around the part of the engine that does the work. How it ends is decided in exit_message.py.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from ..config.sources import load
from ..errors import ConfigError, TopologyError
from ..exit import leave
from ..kafka.options import admin_options
from ..kafka.topics import Topics
from ..plan import describe
from ..plan.partition_growth import matches_of
from ..plan.plan import partition, plan
from ..serve.web import listen
from ..version import VERSION
from .admin import reaching, reset, state, status
from .run import EPILOG, GroupedCommand, PipedGroup, Program, execute, given, run_program, settings_options
from .scale import scale
from .target import find

__all__ = ["cli", "main"]

TARGET: Final = click.argument("target", metavar="MODULE:APP")
RENDERERS: Final = {"text": describe.as_text, "mermaid": describe.as_mermaid, "json": describe.as_json}


@click.group(cls=PipedGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(VERSION, prog_name="tidemill")
def cli() -> None:
    """Stream processing over Kafka.

    MODULE:APP names a program: the variable APP in a module (views:app) or in a file (views.py:app). APP may be left
    out when there is one application only.
    """


@cli.command(cls=GroupedCommand, epilog=EPILOG)
@TARGET
@settings_options()
def run(target: str, **options: Any) -> int:
    """Runs a program until it is told to stop."""
    return run_program(find(target, Program), options)


@cli.command(cls=GroupedCommand)
@TARGET
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
@settings_options("app_id", "broker", "connect_timeout")
def topology(target: str, stage: str, form: str, **options: Any) -> None:
    """Shows a program: its steps, topics and stores."""
    app = find(target, Program)
    click.echo(RENDERERS[form](picture_of(app, stage, options)))


def picture_of(app: Program, stage: str, options: dict[str, Any]) -> describe.Picture:
    """A program at a stage of its planning; the last one asks Kafka about the topics."""
    settings = load(app.app_id, app.arguments, options=given(options), config=options["config"])
    written = app.topology()
    if stage == "logical":
        return describe.logical(settings.app_id, written)
    cut = partition(written)
    if stage == "partitioned":
        return describe.partitioned(settings.app_id, cut)
    topics = Topics(admin_options(settings), settings.connect_timeout / 1000)
    with reaching(settings):
        counts = topics.partitions()
    missing = {topic for source in written.sources for topic in source.topics} - counts.keys()
    if missing:
        raise TopologyError(f"these input topics do not exist at {settings.broker}: {', '.join(sorted(missing))}")
    return describe.physical(plan(cut, settings.app_id, counts, matches_of(cut, settings.app_id, counts)))


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=9092, show_default=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("tidemill-broker"),
    show_default=True,
    help="Where topics are kept.",
)
def broker(port: int, host: str, data_dir: Path) -> None:
    """Starts the embedded development broker in the foreground.

    It speaks Kafka's protocol, with transactions, in one process without Java. It is for trying things out, not for
    production, and not for several instances.
    """
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the development broker is not installed: pip install 'tidemill[embedded]'. Any Kafka does as well, such "
            "as docker run -p 9092:9092 apache/kafka"
        )
    listen(host, port, "start a broker").close()  # says so when the port is taken
    data_dir.mkdir(parents=True, exist_ok=True)
    program = str(Path(spec.origin).with_name("noida-db"))
    click.echo(f"development broker at {host}:{port}, data in {data_dir}; Ctrl-C stops it", err=True)
    sys.stderr.flush()
    arguments = ["--only", "kafka", "--kafka-port", str(port), "--host", host, "--data-dir", str(data_dir)]
    os.execv(program, [program, "start", *arguments])


for command in (scale, status, reset, state):
    cli.add_command(command)


def main() -> None:
    """The entry point of the command `tidemill`."""
    leave(execute(cli, sys.argv[1:], "tidemill"))
