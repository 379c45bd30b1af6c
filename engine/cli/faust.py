"""`tidemill faust worker`: runs a Faust application on this engine.

Faust is an extra. So the part that needs it is imported when the command runs.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from typing import Any, Final

import click

from ..config.settings import SETTINGS
from ..errors import ConfigError
from .run import GroupedCommand, PipedGroup, given, settings_options

__all__ = ["faust"]

WORKER: Final = "tidemill.engine.faust.worker"
OURS: Final = tuple(name for name in SETTINGS if name != "web_host")
"""Settings with options here; that one is Faust's."""
LEVELS: Final = {"critical": "error", "crit": "error", "warn": "warning"}


@click.group(cls=PipedGroup)
def faust() -> None:
    """Run applications that are written for Faust."""


@faust.command(cls=GroupedCommand)
@click.option("-A", "--app", "target", required=True, metavar="MODULE[:APP]", help="The Faust application.")
@click.option("-l", "--loglevel", metavar="LEVEL", help="As --log-level: debug, info, warning or error.")
@click.option("--datadir", metavar="DIR", help="Where local state is kept, as for Faust's own worker.")
@click.option("--with-web/--without-web", default=True, help="Whether the web pages of the application are served.")
@click.option("-p", "--web-port", type=click.IntRange(1, 65535), help="The port of the web pages.")
@click.option("-b", "--web-bind", metavar="HOST", help="The address that the web pages listen on.")
@click.option("--web-host", metavar="HOST", help="The name of this host in addresses of the web pages.")
@settings_options(*OURS)
def worker(target: str, **options: Any) -> int:
    """Run a Faust application, unchanged, until it is stopped."""
    if "faust" not in sys.modules and importlib.util.find_spec("faust") is None:
        raise ConfigError("Faust is not installed: pip install 'tidemill[faust]'")
    if options.get("loglevel") and not options.get("log_level"):
        level = str(options["loglevel"]).lower()
        options["log_level"] = LEVELS.get(level, level)
    return import_module(WORKER).run_worker(target, options, given)
