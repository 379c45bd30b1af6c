"""The progress of a command: one line that changes on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

import click
from typing_extensions import Self

__all__ = ["ProgressLine"]


class ProgressLine:
    """A line on standard error that says what a command is doing."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)

    def say(self, line: str) -> None:
        """Show what is being done, unless it is shown already."""
        if line != self._shown:
            click.echo(f"\r\x1b[K{line}" if self._live else line, nl=not self._live, err=True)
            self._shown = line
