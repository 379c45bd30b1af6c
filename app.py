"""A user's program: a topology under construction, its settings, and the way to run it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from typing_extensions import Unpack

from .engine.cli.run import main_of
from .engine.clock import SYSTEM
from .engine.config.arguments import Arguments
from .engine.config.settings import Settings
from .engine.errors import EXIT_OK, ConfigError
from .engine.exit import leave
from .engine.runtime.process import run
from .engine.serve.server import serving
from .engine.serve.stats import Stats
from .engine.signals import StopSignals
from .engine.topics.startup import Stopped
from .engine.version import VERSION
from .engine.workers.worker import Inherited
from .operators.dsl.builder import Builder
from .operators.graph.topology import check_name
from .operators.policy import ErrorPolicy, fail

__all__ = ["App"]


class App(Builder):
    """An application: `app_id` is its consumer group and the beginning of the names of its internal topics.

    `on_error` says what happens to a record that a step cannot process. The other arguments are settings; they are the
    weakest source of these, below `tidemill.toml`, `TIDEMILL_*` variables and command-line options, and are checked
    with them when the program starts, or by `TopologyDriver`. Raises TopologyError when the id cannot be part of a
    topic's name.
    """

    def __init__(self, app_id: str, *, on_error: ErrorPolicy = fail, **settings: Unpack[Arguments]) -> None:
        super().__init__()
        check_name(app_id, "application")
        if not isinstance(on_error, ErrorPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"on_error must be tm.fail or tm.skip, not {on_error!r}")
        self.app_id = app_id
        self.on_error = on_error
        self.arguments: Mapping[str, object] = settings

    def main(self) -> None:
        """Runs the program as a command: reads the command line, runs until it is told to stop, and ends the process.

        `python views.py` with this at its end is `tidemill run views:app`. It must be called in the main thread, and
        cannot be called in a notebook. Exit codes are in docs/operations.md.
        """
        leave(main_of(self))

    def run(self, settings: Settings, inherited: Inherited | None = None) -> int:
        """Runs the program in this thread until SIGTERM or SIGINT; returns 0, or raises what made it stop.

        `inherited` is what a worker has from its supervisor.
        """
        stats = Stats()
        with (
            StopSignals(limit=settings.stop_timeout) as stopping,
            serving(settings, stats, SYSTEM, VERSION, None if inherited is None else inherited.web),
            suppress(Stopped),
        ):
            run(self.topology(), settings, self.on_error, stats, SYSTEM, stopping, inherited and inherited.nudged)
        return EXIT_OK
