"""The error message and the exit code of a command that fails.

A user error is one red line: what happened, where in the program, what to do. An exception in the user's code shows its
traceback from the first frame of that code on. Only a bug in Tidemill shows the full traceback by default; `debug`
always shows it.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

import click

from ..errors import EXIT_BUG, EXIT_CONFIG, EXIT_INTERRUPTED, EXIT_OK, EXIT_RECORD, RecordError, exit_code
from .target import ProgramFailed

__all__ = ["place_of", "report"]

PACKAGE: Final = Path(__file__).parents[2]
FRONT_DOOR: Final = ("__init__.py", "__main__.py", "app.py", "testing.py")
OWN: Final = tuple(str(PACKAGE / part) for part in ("operators", "state", "engine", *FRONT_DOOR))


def report(error: BaseException, *, debug: bool, colour: bool, stream: TextIO) -> int:
    """Print why the command ends; return the exit code."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            error.show(stream)
            return EXIT_CONFIG
        case KeyboardInterrupt() | click.Abort():
            print("interrupted", file=stream)
            return EXIT_INTERRUPTED
        case SystemExit():
            return leaving(error, stream)
        case _:
            pass
    code = code_of(error)
    if debug or code == EXIT_BUG:
        traceback.print_exception(error, file=stream)
    elif isinstance(error, (RecordError, ProgramFailed)):
        print(users_traceback(root_cause(error)), end="", file=stream)
    for line in str(error).split("\n"):
        print(f"{red('error:', colour)} {line}", file=stream)
    if code == EXIT_BUG:
        print("This is a bug in Tidemill. Please report it, with the traceback above.", file=stream)
    elif not isinstance(error, (RecordError, ProgramFailed)) and (place := place_of(error.__traceback__)):
        print(f"  {place}", file=stream)
    return code


def leaving(error: SystemExit, stream: TextIO) -> int:
    """Return the exit code of a command ended by a SystemExit in code that it called."""
    if error.code is None or isinstance(error.code, int):
        return error.code or EXIT_OK
    print(error.code, file=stream)
    return EXIT_RECORD


def code_of(error: BaseException) -> int:
    """Return the exit code; a program that cannot be imported is a user error."""
    return EXIT_CONFIG if isinstance(error, ProgramFailed) else exit_code(error)


def place_of(trace: TracebackType | None) -> str | None:
    """Return the innermost place in a user's file that led to an error, with its line, or None.

    Generated code, such as the methods of a dataclass, is skipped: its file is "<string>", which is of no help.
    """
    for frame in reversed(traceback.extract_tb(trace)):
        if users(frame.filename) and not frame.filename.startswith("<"):
            line = f": {frame.line}" if frame.line else ""
            return f"at {shown(frame.filename)}, line {frame.lineno}{line}"
    return None


def root_cause(error: BaseException) -> BaseException:
    """Return the cause of an error, or the error itself if it has none."""
    return error if error.__cause__ is None else error.__cause__


def users_traceback(error: BaseException) -> str:
    """Return the traceback of an error from the first frame of the user's code on, or ""."""
    trace = error.__traceback__
    while trace is not None and not users(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    if trace is None and not isinstance(error, SyntaxError):
        return ""
    return "".join(traceback.format_exception(type(error), error, trace))


def users(filename: str) -> bool:
    """Return whether a file is the user's, not Tidemill's, Python's or an installed package's."""
    if filename.startswith(("<frozen", *OWN)):
        return False
    return "site-packages" not in filename and not filename.startswith((sys.base_prefix + "/lib", sys.prefix + "/bin"))


def shown(filename: str) -> str:
    """Return a file's name, relative to the working directory if it is inside."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def red(text: str, colour: bool) -> str:
    """Return `text` in red if `colour` is on."""
    return f"\x1b[1;31m{text}\x1b[0m" if colour else text
