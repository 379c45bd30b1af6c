"""A user's program: a topology under construction, its settings, and the way to run it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from typing_extensions import Unpack

from .engine.config.arguments import Arguments
from .engine.config.settings import Settings
from .engine.errors import ConfigError
from .engine.history.history import history
from .engine.lake.delta import Delta
from .engine.lake.iceberg import Iceberg
from .engine.workers.inherited import Inherited
from .operators.dsl.builder import Builder
from .operators.graph.history import History
from .operators.graph.topology import check_name
from .operators.policy import ErrorPolicy, fail

__all__ = ["App"]

LAUNCH: Final = f"{__package__}.engine.cli.launch"
"""Imported when a program runs: it loads the engine, and declaring needs none of it."""


class App(Builder):
    """An application: a program, its id and its settings.

    Settings given here are the weakest source, below `tidemill.toml`, `TIDEMILL_*` variables and command-line options.
    They are checked with these when the program starts.

    Args:
        app_id: The id: name of the consumer group and prefix of internal topics.
        on_error: What happens to a record that a step cannot process: `tm.fail` or `tm.skip`.
        settings: Any setting by name; docs/settings.md lists them.

    Raises:
        TopologyError: The id cannot be part of a topic's name.
        ConfigError: `on_error` is something else.

    Example:
        >>> app = tm.App("views", broker="localhost:9092", commit_interval="1s", on_error=tm.skip)
        >>> app.stream("views", value=tm.json).filter(bool).to("seen")
    """

    def __init__(self, app_id: str, *, on_error: ErrorPolicy = fail, **settings: Unpack[Arguments]) -> None:
        super().__init__()
        check_name(app_id, "application")
        if not isinstance(on_error, ErrorPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"on_error must be tm.fail or tm.skip, not {on_error!r}")
        self.app_id = app_id
        self.on_error = on_error
        self.arguments: Mapping[str, object] = settings

    def _history(self, given: object) -> History:
        return history(given) if isinstance(given, (str, Iceberg, Delta)) else super()._history(given)

    def main(self) -> None:
        """Run the program as a command: read the command line, and end the process when it stops.

        `python views.py` with this at its end is `tidemill run views:app`. It must be called in the main thread, and
        cannot be called in a notebook. The exit codes are in docs/operations.md.

        Example:
            >>> orders.to("copy")
            >>> if __name__ == "__main__":
            ...     app.main()
        """
        import_module(LAUNCH).main(self)

    def run(self, settings: Settings, inherited: Inherited | None = None) -> int:
        """Run the program in this thread until SIGTERM or SIGINT, or to the end of a batch.

        Returns 0, or 130 for a batch that was stopped before its end, or raises what made it stop.

        `inherited` is what a worker has from its supervisor.
        """
        launch: Any = import_module(LAUNCH)
        return launch.run(self.topology(), self.on_error, settings, inherited)
