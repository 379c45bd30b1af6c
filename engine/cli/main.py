"""The command `tidemill`.

    run                     run a program                                                (run.py)
    topology                show a program, or what an upgrade does to its state         (topology.py)
    scale                   change the number of workers of a running application        (scale.py)
    status, reset           inspect or reset an application                              (admin.py)
    state                   read the state of an application that does not run           (state.py)
    reshard                 give the state of an application other partitions            (reshard.py)
    savepoint               make savepoints, and start from them        (savepoint.py, savepoint_start.py)
    compare                 compare what an application and its shadow write          (compare.py)
    cutover                 let a shadow take the place of its application            (cutover.py)
    faust worker            run an application that is written for Faust                 (faust.py)
    broker                  start the embedded development broker

Each command is a thin layer over the component of the engine that does the work. exit_message.py decides on the exit
code and the error message.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from ..errors import ConfigError
from ..exit import exit_process
from ..serve.web import listen
from ..version import VERSION
from .admin import reset, status
from .compare import compare
from .cutover import cutover
from .faust import faust
from .reshard import reshard
from .run import EPILOG, GroupedCommand, PipedGroup, RunnableProgram, execute, run_program, settings_options
from .savepoint import savepoint
from .savepoint_start import fork, restore
from .scale import scale
from .state import state
from .target import find
from .topology import topology

__all__ = ["cli", "main"]

TARGET: Final = click.argument("target", metavar="MODULE:APP")


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
    """Run a program until it is stopped."""
    return run_program(find(target, RunnableProgram), options)


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
    """Start the embedded development broker in the foreground.

    It implements Kafka's protocol, with transactions, in one process without Java. It is for development, not for
    production, and not for several instances.
    """
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the development broker is not installed: pip install 'tidemill[embedded]'. Any Kafka does as well, such "
            "as docker run -p 9092:9092 apache/kafka"
        )
    listen(host, port, "start a broker").close()  # reports a port in use
    data_dir.mkdir(parents=True, exist_ok=True)
    program = str(Path(spec.origin).with_name("noida-db"))
    click.echo(f"development broker at {host}:{port}, data in {data_dir}; Ctrl-C stops it", err=True)
    sys.stderr.flush()
    arguments = ["--only", "kafka", "--kafka-port", str(port), "--host", host, "--data-dir", str(data_dir)]
    os.execv(program, [program, "start", *arguments])


for command in (topology, scale, status, reset, reshard, savepoint, compare, cutover, state, faust):
    cli.add_command(command)
for command in (restore, fork):
    savepoint.add_command(command)


def main() -> None:
    """Run the command `tidemill`."""
    exit_process(execute(cli, sys.argv[1:], "tidemill"))
