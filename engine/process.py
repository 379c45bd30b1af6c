"""One process of an application from the first line of its log to the last: signals, figures, and the runtime within.

The runtime itself knows neither signals nor who looks at its figures.
"""

from __future__ import annotations

import logging
import socket
from typing import Final

from ..operators.topology import Topology
from . import runtime
from .clock import SYSTEM
from .config import Settings
from .connect import Stopped
from .errors import EXIT_OK
from .policy import ErrorPolicy
from .serve.serving import serving
from .serve.stats import Stats
from .signals import StopSignals

__all__ = ["run_process"]

LOG: Final = logging.getLogger("tidemill")


def run_process(
    topology: Topology,
    settings: Settings,
    policy: ErrorPolicy,
    version: str,
    listening: socket.socket | None = None,
) -> int:
    """Runs a program until it is asked to stop; gives the exit code. Raises what made it impossible to go on.

    To be called in the main thread: it handles SIGTERM and SIGINT meanwhile. `listening` is the socket on which a
    supervisor asks for the figures.
    """
    stats = Stats()
    with StopSignals(limit=settings.stop_timeout) as stopping, serving(settings, stats, SYSTEM, version, listening):
        try:
            runtime.run(topology, settings, policy, stats, SYSTEM, stopping)
        except Stopped:
            LOG.info("stopped before anything was processed")
    return EXIT_OK
