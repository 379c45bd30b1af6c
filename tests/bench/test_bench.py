"""The bench's own arithmetic: the input is the same everywhere, the right answers are right, the figures mean what
they say.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import click.testing
import orjson
import pytest

from bench.cli import main
from bench.engines import ENGINES
from bench.events import BASE_TIME, KINDS, Shape, events, expected
from bench.latency import percentile
from bench.recovery import replayed
from bench.report import line, markdown, sheets
from bench.results import Latency, Phase, Recovery, Report, Run, Throughput, load, save
from bench.throughput import Point, phase
from bench.verify import Output, Wrong, verify
from tests.brokers.kafka import Kafka

SHAPE = Shape(records=5_000, keys=50)


def test_the_same_shape_is_the_same_bytes() -> None:
    digest = hashlib.sha256()
    for key, value, timestamp in events(Shape(1_000)):
        digest.update(b"%b %b %d\n" % (key, value, timestamp))
    # Changes only together with Shape.version: results of different inputs must not be compared.
    assert Shape(1_000).version == 1
    assert digest.hexdigest() == "b3668dbbc2e2a6f681efd04454abcd353d99ce2108e94aeb773398c43b8983dc"


def test_events_are_what_the_jobs_say() -> None:
    late = sizes = 0
    for number, (key, value, timestamp) in enumerate(events(SHAPE)):
        event = json.loads(value)
        assert list(event) == ["user", "amount", "ts", "kind", "note"]
        assert event["user"].encode() == key
        assert event["ts"] == timestamp
        assert event["kind"] in KINDS
        assert 0 <= event["amount"] < 100
        assert len(event["note"]) == 40
        assert 0 <= BASE_TIME + number - timestamp <= 5_000
        late += timestamp != BASE_TIME + number
        sizes += len(value)
    assert 0.03 < late / SHAPE.records < 0.07
    assert 110 < sizes / SHAPE.records < 130


@pytest.mark.parametrize("job", ["J1", "J2", "J3", "J4"])
def test_right_answers_are_those_of_the_bytes(job: str) -> None:
    """Recomputed from the JSON, where `expected` goes by the numbers behind it."""
    totals: dict[tuple[str, int], tuple[int, int]] = {}
    outputs = 0
    for _, value, timestamp in events(SHAPE):
        event = orjson.loads(value)
        place = {
            "J1": ("", 0),
            "J2": (event["user"], 0),
            "J3": (event["user"], timestamp // 60_000 * 60_000),
            "J4": (event["kind"] + event["user"].removeprefix("user-")[0], 0),
        }[job]
        if job == "J1" and event["kind"] == "cart":
            continue
        outputs += 1
        count, cents = totals.get(place, (0, 0))
        totals[place] = (count + 1, cents + round(event["amount"] * 100))
    right = expected(SHAPE, job)
    assert right.outputs == outputs
    assert right.totals == totals


def outputs_of(job: str) -> list[Output]:
    """What a right engine writes."""
    written: list[Output] = []
    totals: dict[tuple[str, int], tuple[int, int]] = {}
    for key, value, timestamp in events(SHAPE):
        event = orjson.loads(value)
        if job == "J1":
            if event["kind"] != "cart":
                written.append((key, orjson.dumps({**event, "gross": event["amount"] * 1.2})))
            continue
        start = timestamp // 60_000 * 60_000 if job == "J3" else 0
        count, cents = totals.get((event["user"], start), (0, 0))
        count, cents = totals[event["user"], start] = (count + 1, cents + round(event["amount"] * 100))
        windowed = key + start.to_bytes(8, "big") if start else key
        written.append((windowed, orjson.dumps({"count": count, "total": cents / 100})))
    return written


@pytest.mark.parametrize("job", ["J1", "J2", "J3"])
def test_right_output_passes_and_wrong_output_does_not(job: str) -> None:
    right, good = expected(SHAPE, job), outputs_of(job)
    assert verify(good, job, right, every=True) == right.outputs
    key, value = good[-1]
    row = orjson.loads(value)
    field = "gross" if job == "J1" else "total"
    for bad in (
        good[:-1],  # lost
        [*good, good[-1]],  # doubled
        [*good[:-1], (key, orjson.dumps({**row, field: row[field] + 0.01}))],  # a wrong figure
        [*good[:-1], (b"user-x" + key[6:], value)],  # a wrong key
    ):
        with pytest.raises(Wrong):
            verify(bad, job, right, every=True)


def test_one_output_a_commit_may_leave_counts_out_but_not_the_last() -> None:
    right, good = expected(SHAPE, "J2"), outputs_of("J2")
    last = dict(good)
    assert verify(list(last.items()), "J2", right, every=False) == len(right.totals)
    with pytest.raises(Wrong):
        verify(good[:-1], "J2", right, every=False)
    with pytest.raises(Wrong):
        verify(list(last.items()), "J2", right, every=True)


def points(*done: tuple[float, float]) -> list[Point]:
    """At these seconds this much was done; the engine used half a core, the broker a tenth, the bench none, others a
    fifth.
    """
    return [Point(at, part, 0.5 * at, 0.1 * at, 0.8 * at, 0.0) for at, part in done]


def test_rates_are_taken_between_points_of_progress() -> None:
    seen = points((0, 0), (1, 0.2), (2, 0.4), (3, 0.5), (4, 0.7), (5, 0.9), (6, 0.9), (9, 1.0))
    whole, warm = phase(seen, 0.0, 1_000), phase(seen, 0.5, 1_000)
    assert whole.records_per_second == pytest.approx(900 / 5)  # the wait for the last commit is left out
    assert warm.records_per_second == pytest.approx(400 / 2)
    assert whole.cpu_per_million == pytest.approx(2.5 / 900 * 1e6)
    assert warm.broker_cpu_per_million == pytest.approx(0.2 / 400 * 1e6)
    assert whole.others_cores == pytest.approx(0.2)


def test_rates_of_a_run_with_one_commit_go_to_its_end() -> None:
    assert phase(points((0, 0), (1, 0), (4, 1.0)), 0.0, 1_000).records_per_second == pytest.approx(250)


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentile([1, 2, 3, 4], 0.5) == 2
    assert percentile([1, 2, 3, 4], 0.99) == 4
    assert percentile([7], 0.5) == 7


def test_replayed_records_are_summed_over_the_stores() -> None:
    log = 'warning\n{"replayed": 3}\n{"replayed": 4}\ntask 0_1 is ready: 5 changelog records replayed of 9 offsets\n'
    assert replayed(log, ENGINES["kafka-streams"].replayed_pattern) == 7
    assert replayed(log, ENGINES["tidemill"].replayed_pattern) == 5
    assert replayed(log, ENGINES["quix"].replayed_pattern) is None


def throughput(rate: float) -> Throughput:
    figures = Phase(2.0, rate, 4e6 / rate, 1.0, 0.25)
    return Throughput(figures, figures, 0.5, 120.0, 1_000)


def report() -> Report:
    runs = [Run("tidemill", "1", "J2", "exactly_once", 1000, "update", n, throughput(200_000 * n)) for n in (1, 2, 3)]
    runs += [Run("quix", "2", "J2", "exactly_once", 1000, "update", n, throughput(50_000 * n)) for n in (1, 2, 3)]
    runs += [
        Run("quix", "2", "J3", "exactly_once", 1000, "update", 1, None, "Wrong: 7 keys in place of 8\nmore"),
        Run("quix", "2", "latency", "exactly_once", 100, "update", 1, Latency(5_000, 20, 99, 50, 60, 70, 80, 0.3, 99)),
        Run("quix", "2", "recovery", "exactly_once", 100, "update", 1, Recovery(1_000, 1.5, 2.5, 77)),
    ]
    return Report("python -m bench", "2030-01-01 00:00", "2 cores", "Python", "Kafka", "abc", 1_000, 50, 1, {}, runs)


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    save(report(), tmp_path / "deep" / "r.json")
    assert load(tmp_path / "deep" / "r.json") == report()


def test_tables_give_medians_ratios_and_failures() -> None:
    rows = {(row[0], row[1]): row for sheet in sheets(report()) for row in sheet.rows}
    assert rows["J2", "tidemill 1"][4] == "400.0 k"
    assert rows["J2", "quix 2"][-1] == "4.00 (4.00)"
    assert "7 keys in place of 8" in rows["J3", "quix 2"][4]
    text = markdown(report())
    assert all(title in text for title in ("## Throughput", "## Latency", "## Recovery", "python -m bench"))
    assert all(line(run) for run in report().runs)


def test_a_job_runs_and_is_measured_and_a_wrong_word_is_refused(kafka: Kafka, tmp_path: Path) -> None:
    runner = click.testing.CliRunner()
    options = [
        "--broker",
        kafka.bootstrap,
        "--records",
        "20000",
        "--guarantee",
        "at_least_once",
        "--out",
        str(tmp_path),
    ]
    done = runner.invoke(main, ["--jobs", "J1,J2", "--engines", "loop", "--name", "smoke", *options])
    assert done.exit_code == 0, done.output
    [written] = tmp_path.glob("*-smoke.json")
    runs = load(written).runs
    assert [(run.job, type(run.result)) for run in runs] == [("J1", Throughput), ("J2", Throughput)]
    assert written.with_suffix(".md").exists()
    refused = runner.invoke(main, ["--jobs", "J9"])
    assert refused.exit_code == 2
    assert "'J9' is none of" in refused.output
