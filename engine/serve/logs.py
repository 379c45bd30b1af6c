"""The log: one line per message, on standard error, as text or JSON.

On a terminal a line has colours; in a pipe it is plain text; with `log_format="json"` it is one JSON object. Tidemill
logs under the logger "tidemill". Handlers that a program has added there stay, in addition to Tidemill's own. The root
logger, and with it the program's own log, is changed only with `log_format="json"` and if the program has not
configured it: then its lines are JSON as well.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

import orjson

from ..config.settings import Settings
from ..threads import Thread
from .stats import Totals

__all__ = ["JsonFormatter", "RepeatFilter", "Summary", "TextFormatter", "coloured", "setup"]

LOGGERS: Final = ("tidemill", "aiokafka")
COLOURS: Final = {logging.DEBUG: "2", logging.INFO: "36", logging.WARNING: "33", logging.ERROR: "31"}
OWN: Final = "tidemill"
"""The name of the handler that `setup` adds, which distinguishes it from those of the program."""
STANDARD: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "taskName", "asctime"}
"""Attributes of every log record; all others were given as `extra`."""

LOG: Final = logging.getLogger("tidemill")

REPEATED_SECONDS: Final = 10.0
"""How often a repeated message of the Kafka client is logged."""
NUMBERS: Final = re.compile(r"[0-9]+")
KINDS: Final = 1_000
"""How many kinds of messages are remembered."""


class TextFormatter(logging.Formatter):
    """`12:30:05.123 info  [1] message`: local time, level, worker if there are several, message."""

    def __init__(self, *, colour: bool, worker: int | None) -> None:
        super().__init__()
        self._colour = colour
        self._worker = "" if worker is None else f"[{worker}] "

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname.lower():<7}"
        stamp = f"{clock}.{int(record.msecs):03d}"
        if self._colour:
            stamp = f"\x1b[2m{stamp}\x1b[0m"
            level = f"\x1b[{COLOURS.get(record.levelno, '0')}m{level}\x1b[0m"
        line = f"{stamp} {level} {self._worker}{one_line(record.getMessage())}"
        if record.exc_info:
            line += f"\n{self.formatException(record.exc_info)}"
        return line


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message, app, worker, `extra` fields, exception."""

    def __init__(self, *, app: str, worker: int | None) -> None:
        super().__init__()
        self._always: dict[str, Any] = {"app": app} if worker is None else {"app": app, "worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._always,
            **{name: value for name, value in vars(record).items() if name not in STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def setup(
    settings: Settings,
    worker: int | None = None,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Send the log of Tidemill and its Kafka clients to standard error, as configured.

    `worker` is the number of a process that is one of several; each of its lines includes it.
    """
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.set_name(OWN)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter(app=settings.app_id, worker=worker))
    else:
        colour = settings.log_format == "auto" and coloured(target, os.environ if environ is None else environ)
        handler.setFormatter(TextFormatter(colour=colour, worker=worker))
    level = settings.log_level.upper()
    root = logging.getLogger()
    if settings.log_format == "json" and all(it.name == OWN for it in root.handlers):
        root.handlers[:] = [handler]
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [*(it for it in logger.handlers if it.name != OWN), handler]
        logger.propagate = False
        logger.setLevel(level)
    client = logging.getLogger("tidemill.kafka")
    client.filters[:] = [RepeatFilter()]
    if settings.log_level != "debug":  # the engine itself logs what matters of these
        for name in ("aiokafka", "opensearch"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        client.setLevel(logging.ERROR)


class RepeatFilter(logging.Filter):
    """Passes a repeated message at intervals, with the number of those left out.

    Messages that differ only in numbers count as repeated.
    """

    def __init__(self, seconds: float = REPEATED_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}
        """When a message of a kind was last logged, and how many were left out since."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        kind = NUMBERS.sub("0", message)
        now = self._clock()
        logged, left_out = self._seen.get(kind, (-math.inf, 0))
        if now - logged < self._seconds:
            self._seen[kind] = (logged, left_out + 1)
            return False
        if len(self._seen) >= KINDS:
            self._seen.clear()
        self._seen[kind] = (now, 0)
        if left_out:
            record.msg, record.args = f"{message} ({left_out} more like this in the last {now - logged:.0f} s)", ()
        return True


def coloured(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether to use colours: on a terminal unless NO_COLOR, and always with FORCE_COLOR."""
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or (stream.isatty() and environ.get("TERM") != "dumb")


def one_line(text: str) -> str:
    """Return a message without line breaks."""
    return " ".join(text.split("\n")) if "\n" in text else text


class Summary:
    """Logs a line of rates, lag and commits at intervals, from a separate thread."""

    def __init__(self, totals: Callable[[], Totals], interval_ms: int) -> None:
        """Start logging at once; an interval of 0 means never."""
        self._totals = totals
        self._interval = interval_ms / 1000
        self._stopped = threading.Event()
        self._thread = Thread("tidemill-summary", self._run)
        if interval_ms:
            self._thread.start()

    def _run(self) -> None:
        before, since = self._totals(), time.monotonic()
        while not self._stopped.wait(self._interval):
            after, now = self._totals(), time.monotonic()
            LOG.info("%s", after.since(before, now - since))
            before, since = after, now

    def close(self) -> None:
        """Stop logging."""
        self._stopped.set()
        self._thread.join()
