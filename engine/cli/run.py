"""`tidemill run` and `app.main()`, with the same options.

The options are generated from the declarations of the settings. With several workers this process becomes their
supervisor; as one of them, or alone, it runs the program.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import StringIO
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

import click

from ...operators.graph.topology import Topology
from ..clock import SYSTEM
from ..config.fields import Setting
from ..config.settings import DEFAULTS, SETTINGS, Settings
from ..config.sources import FILE_NAME, load, read_client_options
from ..errors import EXIT_OK, ConfigError
from ..file_limit import raise_limit
from ..kafka.options import admin_options
from ..kafka.topics import Topics
from ..serve.logs import coloured, setup
from ..signals import StopSignals
from ..topics.startup import StopRequested, prepare
from ..workers.cpus import processors
from ..workers.inherited import Inherited
from ..workers.supervisor import Supervisor, own_command
from ..workers.worker import inherit
from .exit_message import report

__all__ = [
    "EPILOG",
    "GroupedCommand",
    "RunnableProgram",
    "execute",
    "given",
    "main_of",
    "run_program",
    "settings_options",
]

LOG: Final = logging.getLogger("tidemill")
CONNECTION: Final = ("app_id", "broker", "connect_timeout")
"""Settings of commands that only inspect an application or Kafka."""

F = TypeVar("F", bound=Callable[..., Any])


@runtime_checkable
class RunnableProgram(Protocol):
    """A program that can be run: an `App`."""

    @property
    def app_id(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, object]: ...
    def topology(self) -> Topology: ...
    def run(self, settings: Settings, inherited: Inherited | None = None) -> int: ...


class GroupedOption(click.Option):
    """An option that is listed under a heading."""

    def __init__(self, *args: Any, heading: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.heading = heading


class PipedCommand(click.Command):
    """A command whose output may be closed early, as by `head`.

    That is not a failure, while click exits with code 1.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            if not output_is_closed():
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at exit
            raise click.exceptions.Exit(0) from None


class PipedGroup(PipedCommand, click.Group):
    """A group of commands whose output may be closed early."""


def output_is_closed() -> bool:
    """Return whether the reader of standard output has closed it."""
    look = select.poll()
    look.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in look.poll(0))


class GroupedCommand(PipedCommand):
    """A command that lists its options under headings, in the order of their declaration."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = parameter.heading if isinstance(parameter, GroupedOption) else "Options"
                headings.setdefault(heading, []).append(record)
        general = headings.pop("Options", [])
        for heading, records in (*headings.items(), ("Options", general)):
            with formatter.section(heading):
                formatter.write_dl(records)


def settings_options(*names: str) -> Callable[[F], F]:
    """Add the options of these settings, or of all, and --config, -X and --debug."""

    def decorate(function: F) -> F:
        function = click.option("--debug", is_flag=True, help="Show the whole traceback of any error.")(function)
        function = click.option("--config", metavar="FILE", help=f"Settings file in place of {FILE_NAME}.")(function)
        function = click.option(
            "-X", "librdkafka", multiple=True, metavar="NAME=VALUE", help="An option of librdkafka; may be repeated."
        )(function)
        for setting in reversed(list(SETTINGS.values())):
            if setting.name != "librdkafka" and (not names or setting.name in names):
                function = option(setting)(function)
        return function

    return decorate


def option(setting: Setting) -> Callable[[F], F]:
    """Return the command-line option of a setting."""
    default = DEFAULTS.get(setting.name)
    if setting.kind.is_flag:
        about = setting.meaning.partition(". ")[0].replace("`", "") + "."
        return click.option(
            setting.option,
            setting.name,
            cls=GroupedOption,
            heading=setting.group,
            flag_value="true",
            default=None,
            help=about,
        )
    shown = "" if setting.name not in DEFAULTS else f"  [default: {setting.kind.show(default)}]"
    return click.option(
        setting.option,
        setting.name,
        cls=GroupedOption,
        heading=setting.group,
        metavar=setting.kind.metavar,
        help=setting.meaning.partition(". ")[0].rstrip(".").replace("`", "") + "." + shown,
    )


def given(options: Mapping[str, Any]) -> dict[str, object]:
    """Return the options that were given, by setting name."""
    found = {name: value for name, value in options.items() if name in SETTINGS and value is not None}
    pairs: Sequence[str] = found.pop("librdkafka", ())
    return {**found, "librdkafka": read_client_options(pairs)} if pairs else found


def run_program(program: RunnableProgram, options: Mapping[str, Any]) -> int:
    """Run a program with command-line options; return the exit code."""
    settings = load(program.app_id, program.arguments, options=given(options), config=options.get("config"))
    inherited = inherit(os.environ)
    setup(settings, None if inherited is None else settings.worker)
    raise_limit()
    if inherited is None and settings.supervised:
        return supervise(program.topology(), settings)  # an error in it is reported once, not once per worker
    try:
        return program.run(settings, inherited)
    except Exception as error:
        if inherited is None and settings.log_format != "json":
            raise  # `execute` reports it
        return last_words(error, settings, debug=bool(options.get("debug")))


def last_words(error: Exception, settings: Settings, *, debug: bool) -> int:
    """Report the error that ends a process in the format of the log; return the exit code.

    It is used for workers, whose logs share a terminal, and whenever the log is JSON.
    """
    said = StringIO()
    code = report(error, debug=debug, colour=False, stream=said)
    if settings.log_format == "json":
        LOG.error("%s", said.getvalue().rstrip())
    else:
        sys.stderr.write("".join([f"[{settings.worker}] {line}\n" for line in said.getvalue().splitlines()]))
    return code


def supervise(topology: Topology, settings: Settings) -> int:
    """Run several workers; return the exit code."""
    with StopSignals(children=True, at_once=False) as signals, suppress(StopRequested):
        tasks: int | None = None
        if settings.workers == "auto" or settings.autoscale is not None:
            topics = Topics(admin_options(settings))
            _, planned = prepare(settings.app_id, topology, settings, topics, SYSTEM, signals)
            tasks = len(planned.tasks())
        supervisor = Supervisor(settings, own_command(), SYSTEM, os.environ, processors(), tasks)
        return supervisor.run(signals, lambda url: LOG.info("metrics and health of all workers at %s", url))
    return EXIT_OK


def main_of(program: RunnableProgram, arguments: Sequence[str] | None = None) -> int:
    """Run the command line of a program's own file; return the exit code."""
    if arguments is None and "ipykernel" in sys.modules:
        error = ConfigError(
            "app.main() cannot run in a notebook, whose kernel has a command line of its own: write the program to a "
            "file (%%writefile views.py) and run it with `tidemill run views.py` in a terminal; "
            "tm.testing.TopologyDriver(app) runs it here, without Kafka"
        )
        return report(error, debug=False, colour=False, stream=sys.stderr)

    @click.command(cls=GroupedCommand, help=f"Run the application {program.app_id!r}.", epilog=EPILOG)
    @settings_options()
    def run(**options: Any) -> int:
        return run_program(program, options)

    return execute(run, sys.argv[1:] if arguments is None else arguments)


def execute(command: click.Command, arguments: Sequence[str], name: str | None = None) -> int:
    """Run a command, reporting any error; return the exit code."""
    try:
        result = command.main(args=list(arguments), prog_name=name, standalone_mode=False)
    except BaseException as error:
        return report(error, debug="--debug" in arguments, colour=coloured(sys.stderr, os.environ), stream=sys.stderr)
    return result if isinstance(result, int) else 0


EPILOG: Final = f"Settings can also be given in {FILE_NAME} and as environment variables (TIDEMILL_COMMIT_INTERVAL=1s)."
