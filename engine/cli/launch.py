"""`App.main` and `App.run`: they load the engine, which declaring does not need."""

from __future__ import annotations

from contextlib import suppress
from typing import NoReturn

from ...operators.graph.topology import Topology
from ...operators.policy import ErrorPolicy
from ..clock import SYSTEM
from ..config.settings import Settings
from ..errors import EXIT_INTERRUPTED, EXIT_OK
from ..exit import exit_process
from ..runtime.process import run_process
from ..serve.server import serving
from ..serve.stats import Stats
from ..signals import StopSignals
from ..topics.startup import StopRequested
from ..version import VERSION
from ..workers.inherited import Inherited
from .run import RunnableProgram, main_of

__all__ = ["main", "run"]


def main(app: RunnableProgram) -> NoReturn:
    """Run a program as a command; end the process when it stops."""
    exit_process(main_of(app))


def run(topology: Topology, on_error: ErrorPolicy, settings: Settings, inherited: Inherited | None) -> int:
    """Run until SIGTERM or SIGINT, or to the end of a batch; return the exit code.

    Raises what made it stop.
    """
    stats, complete = Stats(), not settings.batch
    with (
        StopSignals(limit=settings.stop_timeout) as stopping,
        serving(settings, stats, SYSTEM, VERSION, None if inherited is None else inherited.web),
        suppress(StopRequested),
    ):
        complete = run_process(topology, settings, on_error, stats, SYSTEM, stopping, inherited and inherited.nudged)
    return EXIT_OK if complete else EXIT_INTERRUPTED
