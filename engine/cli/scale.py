"""`tidemill scale`: changes the number of workers of a running application.

The supervisor decides and acts; this command sends the request, and shows the status until it is fulfilled.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final

import click

from ..config.settings import SETTINGS
from ..errors import ConfigError, Fatal
from ..plan.description import plural
from ..workers.control import ControlRequest, ControlResponse, ask, line_of
from .admin import settings_of, timeout_option
from .run import GroupedCommand, settings_options

__all__ = ["scale"]

POLL_SECONDS: Final = 0.2


@click.command(cls=GroupedCommand)
@click.argument("app", metavar="APP")
@click.option("--workers", metavar="N|auto", help="How many workers there are to be.")
@click.option("--autoscale", metavar="MIN:MAX|off", help="Bounds within which the number follows the load from now on.")
@timeout_option(120.0, "How long to wait until all is as asked for; 0 not at all.", least=0)
@settings_options("state_dir")
def scale(app: str, workers: str | None, autoscale: str | None, timeout: float, **options: Any) -> None:
    """Change the number of workers of an application that runs on this machine.

    APP is MODULE:APP, or an application id. Fewer: those with the highest numbers stop cleanly, and the others have
    their tasks at once. What they have on disk stays for later. More: new ones are started, and tasks move to them.
    Without options it prints the current number. The change holds until the application is restarted.
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
            f"there are {plural(answer.tasks, 'task')}, so {answer.wanted - answer.tasks} of "
            f"{answer.wanted} workers will have nothing to do",
            err=True,
        )
    last = waited(lambda: ask(settings, ControlRequest()), answer, timeout)
    click.echo(f"{settings.app_id}: {line_of(last)}")
    if timeout and not last.reached:
        raise Fatal(f"{settings.app_id}: not all workers are at work after {timeout:g} s; they go on. See its log")


def request_of(workers: str | None, autoscale: str | None) -> ControlRequest:
    """Return the request for the options. Raises ConfigError."""
    number = None if workers is None else parsed("workers", workers)
    bounds = autoscale if autoscale in (None, "off") else parsed("autoscale", autoscale)
    if number is not None and bounds not in (None, "off"):
        raise ConfigError(
            "--workers and --autoscale MIN:MAX exclude each other: with autoscale the number follows the load; give "
            "only one"
        )
    return ControlRequest(number, bounds)


def parsed(name: str, text: str) -> Any:
    """Return the value of a setting given on the command line."""
    setting = SETTINGS[name]
    return setting.kind.parse(setting.kind.from_text(text), setting.option)


def waited(look: Callable[[], ControlResponse], answer: ControlResponse, timeout: float) -> ControlResponse:
    """Return the status when the request is fulfilled or timed out; show changes meanwhile."""
    deadline = time.monotonic() + timeout
    live = sys.stderr.isatty()
    shown = ""
    while not answer.reached and time.monotonic() < deadline:
        line = line_of(answer)
        if line != shown:
            click.echo(f"\r\x1b[K{line}" if live else line, nl=not live, err=True)
            shown = line
        time.sleep(POLL_SECONDS)
        answer = look()
    if live and shown:
        click.echo("\r\x1b[K", nl=False, err=True)
    return answer
