"""`tidemill scale`: asks the supervisor of a running application for another number of workers, and waits for it.

The supervisor decides and does; this only asks, and tells what is seen until all is as it was asked for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final

import click

from ..config.settings import SETTINGS
from ..errors import ConfigError, Fatal
from ..plan.describe import counted
from ..workers.control import Answer, Request, ask, line_of
from .admin import settings_of
from .run import GroupedCommand, settings_options

__all__ = ["scale"]

POLL_SECONDS: Final = 0.2


@click.command(cls=GroupedCommand)
@click.argument("app", metavar="APP")
@click.option("--workers", metavar="N|auto", help="How many workers there are to be.")
@click.option("--autoscale", metavar="MIN:MAX|off", help="Bounds within which the number follows the load from now on.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until all is as asked for; 0 not at all.",
)
@settings_options("state_dir")
def scale(app: str, workers: str | None, autoscale: str | None, timeout: float, **options: Any) -> None:
    """Changes the number of workers of an application that runs on this machine.

    APP is MODULE:APP, or an application id. Fewer: those with the highest numbers stop cleanly, and the others have
    their tasks at once. What they have on disk stays for later. More: new ones are started, and tasks move to them.
    Without options it says how many there are. Holds until the application is started anew.
    """
    settings, _ = settings_of(app, options)
    answer = ask(settings, request_of(workers, autoscale))
    if answer.refused:
        raise ConfigError(f"{settings.app_id}: {answer.refused}")
    if workers is None and autoscale is None:
        click.echo(f"{settings.app_id}: {line_of(answer)}")
        return
    if answer.tasks is not None and answer.wanted > answer.tasks:
        click.echo(
            f"there are {counted(answer.tasks, 'task')}, so {answer.wanted - answer.tasks} of "
            f"{answer.wanted} workers will have nothing to do",
            err=True,
        )
    settled = waited(lambda: ask(settings, Request()), answer, timeout)
    click.echo(f"{settings.app_id}: {line_of(settled)}")
    if timeout and not settled.settled:
        raise Fatal(f"{settings.app_id}: not all workers are at work after {timeout:g} s; they go on. See its log")


def request_of(workers: str | None, autoscale: str | None) -> Request:
    """What the options ask for. Raises ConfigError."""
    number = None if workers is None else parsed("workers", workers)
    bounds = autoscale if autoscale in (None, "off") else parsed("autoscale", autoscale)
    if number is not None and bounds not in (None, "off"):
        raise ConfigError(
            "--workers and --autoscale MIN:MAX are at odds: with autoscale the number follows the load; give one of "
            "the two"
        )
    return Request(number, bounds)


def parsed(name: str, text: str) -> Any:
    """A setting's value as a command line has it."""
    setting = SETTINGS[name]
    return setting.kind.parse(setting.kind.from_text(text), setting.option)


def waited(look: Callable[[], Answer], answer: Answer, timeout: float) -> Answer:
    """How things stand when all is as wanted, or when it was waited for long enough; tells of changes meanwhile."""
    deadline = time.monotonic() + timeout
    live = sys.stderr.isatty()
    told = ""
    while not answer.settled and time.monotonic() < deadline:
        line = line_of(answer)
        if line != told:
            click.echo(f"\r\x1b[K{line}" if live else line, nl=not live, err=True)
            told = line
        time.sleep(POLL_SECONDS)
        answer = look()
    if live and told:
        click.echo("\r\x1b[K", nl=False, err=True)
    return answer
