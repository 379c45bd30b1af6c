"""Display of the progress: a table on a terminal, lines of text elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Protocol

from feed import NEW_YORK, format_time
from monitor import Status
from results import Row
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

COLUMNS: list[tuple[int, JustifyMethod]] = [(10, "left"), (10, "right"), (10, "right"), (40, "left")]


class Display(Protocol):
    """An output for status values and messages."""

    def show(self, status: Status) -> None: ...
    def message(self, text: str) -> None: ...
    def close(self) -> None: ...


class LineDisplay:
    """A display for pipes and logs: one line for every few status values, and all messages."""

    def __init__(self, console: Console, every: int = 8) -> None:
        self._console = console
        self._every = every
        self._count = 0

    def show(self, status: Status) -> None:
        self._count += 1
        if self._count % self._every == 1:
            self._console.print(
                f"{format_time(status.event_time):>19}  replayed {status.sent:>7,}  processed {status.processed:>7,} "
                f"({status.processing_rate:>6,.0f}/s)  lag {status.lag:>6,}  commits {status.commits:>4,}  "
                f"state {format_size(status.state_bytes)}  {status.application}",
                highlight=False,
                soft_wrap=True,
            )

    def message(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Do nothing."""


class TerminalDisplay:
    """A display for terminals: a table that is updated in place, 80 columns wide."""

    def __init__(self, console: Console, title: str, airports: Mapping[str, str], carriers: Mapping[str, str]) -> None:
        self._title = title
        self._airports = airports
        self._carriers = carriers
        self._rows = max(2, min(6, (console.height - 15) // 2))
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def show(self, status: Status) -> None:
        self._live.update(self.render(status), refresh=True)

    def message(self, text: str) -> None:
        """Do nothing: the table has the number of kills."""

    def close(self) -> None:
        self._live.stop()

    def render(self, status: Status) -> RenderableType:
        """Return the content of the screen."""
        content = Group(
            Text.assemble(("Tidemill", "bold"), (f"   {self._title}", "dim")),
            Text(""),
            self._progress(status),
            Text(""),
            self._hours(status),
            Text(""),
            self._airlines(status),
        )
        return Padding(content, (1, 2))

    @staticmethod
    def _progress(status: Status) -> Table:
        table = _table(box_headers=False)
        for width, justify in COLUMNS:
            table.add_column(width=width, justify=justify)
        bar = ProgressBar(
            total=status.total, completed=status.sent, width=26, complete_style="cyan", finished_style="cyan"
        )
        progress = Table.grid(padding=(0, 2))
        progress.add_row(bar, Text(format_time(status.event_time).split(",")[0], "dim"))
        commit_time = "" if status.commit_ms is None else f"{status.commit_ms:.0f} ms each, "
        killed = f" · killed {_times(status.kills)}" if status.kills else ""
        style = {"running": "green", "starting": "yellow", "killed": "red"}.get(status.application, "yellow")
        table.add_row("replayed", f"{status.sent:,}", f"{status.sending_rate:,.0f}/s", progress)
        lag = Text.assemble("lag ", f"{status.lag:,}")
        table.add_row("processed", f"{status.processed:,}", f"{status.processing_rate:,.0f}/s", lag)
        guarantee = Text(f"{commit_time}exactly once", "dim")
        table.add_row("commits", f"{status.commits:,}", f"{status.commit_rate:.1f}/s", guarantee)
        process = Text.assemble("process ", (status.application, style), killed)
        table.add_row("state", format_size(status.state_bytes), "", process)
        return table

    def _hours(self, status: Status) -> Table:
        table = _table()
        table.add_column("latest hours", width=28, no_wrap=True, overflow="ellipsis")
        _delay_columns(table)
        for airport, start, row in _padded(status.hours[: self._rows], self._rows):
            if row is None:
                table.add_row("", "", "", "", "")
                continue
            local = datetime.fromtimestamp(start / 1000, timezone.utc).astimezone(NEW_YORK)
            label = f"{local.day:>2} {local:%b %H:%M}  {self._airports.get(airport, airport).removesuffix(' Intl')}"
            table.add_row(label, *_delays(row))
        return table

    def _airlines(self, status: Status) -> Table:
        table = _table()
        table.add_column("airlines so far", width=28, no_wrap=True, overflow="ellipsis")
        _delay_columns(table)
        shown = status.airlines[: self._rows]
        for entry in [*shown, *[None] * (self._rows - len(shown))]:
            if entry is None:
                table.add_row("", "", "", "", "")
            else:
                table.add_row(self._carriers.get(entry[0], entry[0]), *_delays(entry[1]))
        return table


def _padded(hours: list[tuple[str, int, Row]], count: int) -> list[tuple[str, int, Row | None]]:
    """Add empty rows up to the count, so that the table keeps its height."""
    return [*hours, *[("", 0, None)] * (count - len(hours))]


def _table(box_headers: bool = True) -> Table:
    return Table(box=None, show_header=box_headers, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))


def _delay_columns(table: Table) -> None:
    for title in ("flights", "cancelled", "mean delay", "worst"):
        table.add_column(title, justify="right", width=10)


def _delays(row: Row) -> list[str]:
    mean = "" if row["mean"] is None else f"{row['mean']:+.1f} min"
    cancelled = row["flights"] - row["departed"]
    return [f"{row['flights']:,}", f"{cancelled:,}" if cancelled else "", mean, format_minutes(row["worst"])]


def format_minutes(minutes: int | None) -> str:
    """Format a number of minutes as hours and minutes."""
    if minutes is None:
        return ""
    if abs(minutes) < 60:
        return f"{minutes:+} min"
    return f"{minutes:+d}"[0] + f"{abs(minutes) // 60} h {abs(minutes) % 60:02}"


def format_size(count: float) -> str:
    """Format a number of bytes in MB."""
    return f"{count / 1e6:.1f} MB"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
