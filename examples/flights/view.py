"""Draws a moment: a quiet table on a terminal, one plain line at a time in a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Protocol

from feed import NEW_YORK, as_date
from results import Row
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from watch import Moment

COLUMNS: list[tuple[int, JustifyMethod]] = [(10, "left"), (10, "right"), (10, "right"), (40, "left")]


class View(Protocol):
    """Somewhere to show moments and to say things."""

    def show(self, moment: Moment) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


class Lines:
    """For pipes and logs: a line every few moments, and what happens in between."""

    def __init__(self, console: Console, every: int = 8) -> None:
        self._console = console
        self._every = every
        self._count = 0

    def show(self, moment: Moment) -> None:
        self._count += 1
        if self._count % self._every == 1:
            self._console.print(
                f"{as_date(moment.event_time):>19}  replayed {moment.sent:>7,}  processed {moment.processed:>7,} "
                f"({moment.processing_rate:>6,.0f}/s)  lag {moment.lag:>6,}  commits {moment.commits:>4,}  "
                f"state {size(moment.state_bytes)}  {moment.application}",
                highlight=False,
                soft_wrap=True,
            )

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Nothing to undo."""


class Screen:
    """For people: drawn in place, in 80 columns, with as many rows as there is room for."""

    def __init__(self, console: Console, title: str, airports: Mapping[str, str], carriers: Mapping[str, str]) -> None:
        self._title = title
        self._airports = airports
        self._carriers = carriers
        self._rows = max(2, min(6, (console.height - 15) // 2))
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def show(self, moment: Moment) -> None:
        self._live.update(self.draw(moment), refresh=True)

    def say(self, text: str) -> None:
        """The table says it already."""

    def close(self) -> None:
        self._live.stop()

    def draw(self, moment: Moment) -> RenderableType:
        """The whole picture."""
        picture = Group(
            Text.assemble(("Tidemill", "bold"), (f"   {self._title}", "dim")),
            Text(""),
            self._progress(moment),
            Text(""),
            self._hours(moment),
            Text(""),
            self._airlines(moment),
        )
        return Padding(picture, (1, 2))

    @staticmethod
    def _progress(moment: Moment) -> Table:
        table = _table(box_headers=False)
        for width, justify in COLUMNS:
            table.add_column(width=width, justify=justify)
        bar = ProgressBar(
            total=moment.total, completed=moment.sent, width=26, complete_style="cyan", finished_style="cyan"
        )
        along = Table.grid(padding=(0, 2))
        along.add_row(bar, Text(as_date(moment.event_time).split(",")[0], "dim"))
        took = "" if moment.commit_ms is None else f"{moment.commit_ms:.0f} ms each, "
        killed = f" · killed {_times(moment.kills)}" if moment.kills else ""
        style = {"running": "green", "starting": "yellow", "killed": "red"}.get(moment.application, "yellow")
        table.add_row("replayed", f"{moment.sent:,}", f"{moment.sending_rate:,.0f}/s", along)
        lag = Text.assemble("lag ", f"{moment.lag:,}")
        table.add_row("processed", f"{moment.processed:,}", f"{moment.processing_rate:,.0f}/s", lag)
        once = Text(f"{took}exactly once", "dim")
        table.add_row("commits", f"{moment.commits:,}", f"{moment.commit_rate:.1f}/s", once)
        state = Text.assemble("process ", (moment.application, style), killed)
        table.add_row("state", size(moment.state_bytes), "", state)
        return table

    def _hours(self, moment: Moment) -> Table:
        table = _table()
        table.add_column("latest hours", width=28, no_wrap=True, overflow="ellipsis")
        _delay_columns(table)
        for airport, start, row in _filled(moment.hours[: self._rows], self._rows):
            if row is None:
                table.add_row("", "", "", "", "")
                continue
            local = datetime.fromtimestamp(start / 1000, timezone.utc).astimezone(NEW_YORK)
            what = f"{local.day:>2} {local:%b %H:%M}  {self._airports.get(airport, airport).removesuffix(' Intl')}"
            table.add_row(what, *_delays(row))
        return table

    def _airlines(self, moment: Moment) -> Table:
        table = _table()
        table.add_column("airlines so far", width=28, no_wrap=True, overflow="ellipsis")
        _delay_columns(table)
        shown = moment.airlines[: self._rows]
        for entry in [*shown, *[None] * (self._rows - len(shown))]:
            if entry is None:
                table.add_row("", "", "", "", "")
            else:
                table.add_row(self._carriers.get(entry[0], entry[0]), *_delays(entry[1]))
        return table


def _filled(hours: list[tuple[str, int, Row]], count: int) -> list[tuple[str, int, Row | None]]:
    """The rows, and empty ones up to the count: the picture keeps its height."""
    return [*hours, *[("", 0, None)] * (count - len(hours))]


def _table(box_headers: bool = True) -> Table:
    return Table(box=None, show_header=box_headers, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))


def _delay_columns(table: Table) -> None:
    for title in ("flights", "cancelled", "mean delay", "worst"):
        table.add_column(title, justify="right", width=10)


def _delays(row: Row) -> list[str]:
    mean = "" if row["mean"] is None else f"{row['mean']:+.1f} min"
    cancelled = row["flights"] - row["departed"]
    return [f"{row['flights']:,}", f"{cancelled:,}" if cancelled else "", mean, duration(row["worst"])]


def duration(minutes: int | None) -> str:
    """Minutes as hours and minutes."""
    if minutes is None:
        return ""
    if abs(minutes) < 60:
        return f"{minutes:+} min"
    return f"{minutes:+d}"[0] + f"{abs(minutes) // 60} h {abs(minutes) % 60:02}"


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
