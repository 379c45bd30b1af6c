"""Test that the verifier of a chaos run detects every kind of wrong result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.integration.eos.check import Row

from .driver import Transfers
from .judge import Evidence, entries, judge


@pytest.fixture(scope="module")
def right() -> Evidence:
    """The output of a correct application."""
    made = Transfers(7)
    raw = [made.record() for _ in range(600)]
    places: dict[int, int] = {}

    def row(key: str, value: Any) -> Row:
        partition = int(key[-1]) % 3
        places[partition] = places.get(partition, -1) + 1
        return Row(partition, places[partition], key, value)

    transfers = [row(key.decode(), orjson.loads(value)) for key, value in raw]
    transfers.sort(key=lambda row: row.partition)
    numbers = [r._replace(value=(r.value["number"], r.value["number"] - 1)) for r in transfers]
    expected, changes = entries(transfers)
    balances: dict[str, int] = {}
    statements: list[Row] = []
    for entry in expected:
        balances[entry.key] = balances.get(entry.key, 0) + changes[entry.value]
        statements.append(Row(int(entry.key[-1]) % 3, len(statements), entry.key, (entry.value, balances[entry.key])))
    last = {r.key: r.value["number"] for r in transfers}
    return Evidence(transfers, numbers, statements, [], [], {"receipts-last": last, "accounts-balance": balances})


def test_correct_results_are_accepted(right: Evidence) -> None:
    assert judge(right) == []


def test_unprocessed_entries_are_not_reported_as_lost(right: Evidence) -> None:
    gone = right.statements[-1]
    waiting = [gone._replace(value=gone.value[0])]
    assert judge(replace(right, statements=right.statements[:-1], waiting=waiting, changelogs={})) == []
    assert "1 lost" in "".join(judge(replace(right, statements=right.statements[:-1])))


@pytest.mark.parametrize("at", [0, 300, 599])
def test_each_fault_is_detected(right: Evidence, at: int) -> None:
    receipts, statements = list(right.receipts), list(right.statements)
    last = right.changelogs["receipts-last"]
    some = next(iter(last))
    wrong = statements[at]._replace(value=(statements[at].value[0], statements[at].value[1] + 1))
    for faulty, words in [
        (replace(right, receipts=receipts[:at] + receipts[at + 1 :]), "1 lost"),
        (replace(right, receipts=[*receipts[: at + 1], *receipts[at:]]), "1 doubled"),
        (replace(right, statements=[*statements, statements[at]]), "1 doubled"),
        (replace(right, statements=[*statements[:at], wrong, *statements[at + 1 :]]), "never to be expected"),
        (replace(right, transfers=[*right.transfers[:at], *right.transfers[at + 1 :]]), ""),
        (replace(right, faults=[Row(0, 0, "a", "transfers of a: 3 came after 1")]), "the application itself saw"),
        (replace(right, changelogs={"receipts-last": {**last, some: 0}}), "values are wrong"),
    ]:
        findings = judge(faulty)
        assert findings
        assert words in "\n".join(findings)


def test_records_lost_by_brokers_are_distinguished_from_those_lost_by_the_application(right: Evidence) -> None:
    first = right.transfers[0]
    [at] = [n for n, row in enumerate(right.transfers) if row.key == first.key and row.value["number"] == 2]
    broken = replace(right, transfers=[*right.transfers[:at], *right.transfers[at + 1 :]])
    assert judge(broken)[0].startswith("the input itself is broken")
