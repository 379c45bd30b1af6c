"""Starts the HTTP server of a process, if configured, and the log's summary line."""

from __future__ import annotations

import logging
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from ..clock import Clock
from ..config.settings import Settings
from .health import live, ready
from .logs import Summary
from .metrics import StatsCollector, registry_of
from .stats import Stats
from .web import WebServer, listen, pages

__all__ = ["serving"]

LOG: Final = logging.getLogger("tidemill")


@contextmanager
def serving(
    settings: Settings, stats: Stats, clock: Clock, version: str, listening: socket.socket | None = None
) -> Generator[WebServer | None, None, None]:
    """Serve metrics and health and log the summary while entered.

    `listening` is the socket that a supervisor opened for its worker; without it, the settings decide where to listen,
    if at all.
    """
    web: WebServer | None = None
    supervised = listening is not None
    if listening is None and settings.web is not None:
        listening = listen(settings.web_host, settings.web)
    if listening is not None:
        registry = registry_of(StatsCollector(stats, (settings.app_id, version, settings.guarantee), clock.now))
        answers = pages(registry, lambda: live(stats, settings.max_poll_interval, clock.now()), lambda: ready(stats))
        web = WebServer(listening, answers)
        if not supervised:
            LOG.info("metrics and health at %s", web.url)
    summary = Summary(stats.totals, settings.log_summary)
    try:
        yield web
    finally:
        summary.close()
        if web is not None:
            web.close()
