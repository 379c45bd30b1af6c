"""Reports: tables on the terminal and as Markdown, with the ratios between engines.

A ratio is the median of the ratios within each round: engines alternate within a round, so other load on the machine
affects both sides equally.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table

from bench.results import Latency, Recovery, Report, Run, Throughput

__all__ = ["Sheet", "line", "markdown", "sheets", "tables"]

_OWN = "tidemill"


class Sheet(NamedTuple):
    """A table of text cells."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str


def _median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def _over(a: float, b: float) -> float:
    """Return the ratio, NaN if a run was too short to measure."""
    return a / b if b else float("nan")


def _setting(run: Run) -> str:
    interval = f"{run.commit_ms / 1000:g} s" if run.commit_ms >= 1000 else f"{run.commit_ms} ms"
    guarantee = {"exactly_once": "exactly-once", "at_least_once": "at-least-once"}[run.guarantee]
    return f"{guarantee} {interval}"


def line(run: Run) -> str:
    """Return one run as a line of text."""
    head = f"{run.job} {run.engine} {_setting(run)} {run.outputs}:"
    match run.result:
        case Throughput(whole, warm, startup, memory):
            return (
                f"{head} {whole.records_per_second / 1e3:,.1f} k/s (warm {warm.records_per_second / 1e3:,.1f}) "
                f"{whole.cpu_per_million:.2f} CPU s/M ({warm.cpu_per_million:.2f}) "
                f"broker {warm.broker_cpu_per_million:.2f} "
                f"start {startup:.1f} s, {memory:.0f} MB, others {whole.others_cores:.2f} cores"
            )
        case Latency():
            found = run.result
            return (
                f"{head} p50 {found.p50_ms:.0f} p90 {found.p90_ms:.0f} p99 {found.p99_ms:.0f} max {found.max_ms:.0f} ms"
            )
        case Recovery(_, first, last, replayed, scenario, _, cpu):
            return (
                f"{head} {scenario}: first output {first:.2f} s, all {last:.2f} s, {cpu:.1f} CPU s, replayed {replayed}"
            )
        case None:
            return f"{head} {run.error}"


def _groups(runs: Iterable[Run]) -> dict[tuple[str, str, int, str, str], list[Run]]:
    found: dict[tuple[str, str, int, str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.job, run.guarantee, run.commit_ms, run.outputs, run.engine), []).append(run)
    return found


def _failed(runs: Sequence[Run]) -> str:
    return next(run.error for run in runs if run.error).strip().splitlines()[0]


def _ratio(own: Sequence[Run], other: Sequence[Run]) -> tuple[float, float] | None:
    """Return own to other warm rate, and other to own CPU time; above 1, own is better."""
    by_round = {run.round: run.result for run in other if isinstance(run.result, Throughput)}
    rates: list[float] = []
    cpus: list[float] = []
    for run in own:
        theirs = by_round.get(run.round)
        if isinstance(run.result, Throughput) and theirs is not None:
            rates.append(_over(run.result.warm.records_per_second, theirs.warm.records_per_second))
            cpus.append(_over(theirs.warm.cpu_per_million, run.result.warm.cpu_per_million))
    return (_median(rates), _median(cpus)) if rates else None


def _throughput(report: Report) -> Sheet | None:
    runs = [run for run in report.runs if run.job not in ("latency", "recovery")]
    if not runs:
        return None
    rows: list[list[str]] = []
    groups = _groups(runs)
    for (job, guarantee, commit, outputs, engine), mine in groups.items():
        head = [job, f"{engine} {mine[0].version}", _setting(mine[0]), outputs]
        done = [run.result for run in mine if isinstance(run.result, Throughput)]
        if not done:
            rows.append([*head, f"failed: {_failed(mine)}", "", "", "", "", ""])
            continue
        own = groups.get((job, guarantee, commit, outputs, _OWN), [])
        ratio = _ratio(own, mine) if engine != _OWN else None
        rows.append(
            [
                *head,
                f"{_median(r.whole.records_per_second for r in done) / 1e3:,.1f} k",
                f"{_median(r.warm.records_per_second for r in done) / 1e3:,.1f} k",
                f"{_median(r.whole.cpu_per_million for r in done):.2f}",
                f"{_median(r.warm.cpu_per_million for r in done):.2f}",
                f"{_median(r.peak_rss_mb for r in done):,.0f}",
                f"{ratio[0]:.2f} ({ratio[1]:.2f})" if ratio else "",
            ]
        )
    others = [run.result.whole.others_cores for run in runs if isinstance(run.result, Throughput)]
    note = f"{report.records:,} records, {max(run.round for run in runs)} round(s), medians. "
    if others:
        note += f"Other processes used {_median(others):.2f} cores meanwhile (maximum {max(others):.2f})."
    header = [
        "job",
        "engine",
        "setting",
        "outputs",
        "records/s",
        "warm",
        "CPU s/M",
        "warm",
        "MB",
        "Tidemill's warm rate (CPU)",
    ]
    return Sheet("Throughput", header, rows, note)


def _latency(report: Report) -> Sheet | None:
    runs = [run for run in report.runs if run.job == "latency"]
    if not runs:
        return None
    rows: list[list[str]] = []
    rate = 0
    for mine in _groups(runs).values():
        head = [f"{mine[0].engine} {mine[0].version}", _setting(mine[0])]
        done = [run.result for run in mine if isinstance(run.result, Latency)]
        if not done:
            rows.append([*head, f"failed: {_failed(mine)}", "", "", "", "", ""])
            continue
        rate = done[0].records_per_second
        figures = [[r.p50_ms, r.p90_ms, r.p99_ms, r.max_ms, r.cpu_cores * 100, r.peak_rss_mb] for r in done]
        rows.append([*head, *(f"{_median(column):,.0f}" for column in zip(*figures, strict=True))])
    header = ["engine", "setting", "p50 ms", "p90 ms", "p99 ms", "max ms", "CPU %", "MB"]
    return Sheet("Latency", header, rows, f"J2 at {rate:,} records/s, from produce to read-committed receipt.")


def _recovery(report: Report) -> Sheet | None:
    runs = [run for run in report.runs if run.job == "recovery"]
    if not runs:
        return None
    rows: list[list[str]] = []
    keys = megabytes = 0.0
    for mine in _groups(runs).values():
        head = [f"{mine[0].engine} {mine[0].version}", _setting(mine[0])]
        done = [run.result for run in mine if isinstance(run.result, Recovery)]
        if any(run.result is None for run in mine):
            rows.append([*head, f"failed: {_failed(mine)}", "", "", "", ""])
        for scenario in dict.fromkeys(r.scenario for r in done):
            these = [r for r in done if r.scenario == scenario]
            keys, megabytes = these[0].keys, max(megabytes, these[0].state_mb)
            replayed = [r.replayed for r in these if r.replayed is not None]
            rows.append(
                [
                    *head,
                    scenario,
                    f"{_median(r.first_output_seconds for r in these):.1f}",
                    f"{_median(r.all_outputs_seconds for r in these):.1f}",
                    f"{_median(r.cpu_seconds for r in these):.1f}",
                    f"{_median(replayed):,.0f}" if replayed else "not reported",
                ]
            )
    header = ["engine", "setting", "state", "first output s", "all partitions s", "CPU s", "records replayed"]
    note = (
        f"{keys:,.0f} keys in 4 tasks, up to {megabytes:,.0f} MB on disk: the time from the start after SIGKILL to "
        "committed outputs. `kept`: with the state directory. `snapshot`, `changelog`: on a new machine, restored "
        "from these."
    )
    return Sheet("Recovery", header, rows, note)


def sheets(report: Report) -> list[Sheet]:
    """Return the tables for which this report has results."""
    return [sheet for sheet in (_throughput(report), _latency(report), _recovery(report)) if sheet is not None]


def tables(report: Report) -> list[Table]:
    """Return the tables for the terminal."""
    made: list[Table] = []
    for sheet in sheets(report):
        table = Table(title=sheet.title, caption=sheet.note, box=box.SIMPLE_HEAD)
        text_columns = ("job", "engine", "setting", "outputs")
        for name in sheet.header:
            table.add_column(name, justify="left" if name in text_columns else "right")
        for row in sheet.rows:
            table.add_row(*row)
        made.append(table)
    return made


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    lines = [f"# Benchmark of {report.made}", "", "Measured with", "", f"    {report.command}", ""]
    lines += [f"on {report.machine}, {report.python}, {report.broker}; source {report.source}.", ""]
    for sheet in sheets(report):
        lines += [f"## {sheet.title}", "", sheet.note, ""]
        lines.append("| " + " | ".join(sheet.header) + " |")
        lines.append("|" + "---|" * len(sheet.header))
        lines += ["| " + " | ".join(row) + " |" for row in sheet.rows]
        lines.append("")
    lines += [
        "Rates and CPU seconds per million records are given for the whole run and its second half (warm). CPU time is",
        "that of the engine's process tree, without the broker. The last column is the ratio of Tidemill's warm rate",
        "to that of the engine and, in brackets, of the engine's CPU time to Tidemill's: above 1, Tidemill is better.",
        "",
    ]
    return "\n".join(lines)
