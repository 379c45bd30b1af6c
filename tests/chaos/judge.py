"""Verify the output of the application against its input. Pure functions.

Based on the verifier of the kill tests (`tests/integration/eos/check.py`), which uses neither Tidemill nor a broker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.integration.eos import check
from tests.integration.eos.check import Row


@dataclass(frozen=True)
class Evidence:
    """All committed records of the topics of a run, decoded, after all processes have stopped."""

    transfers: Sequence[Row]
    receipts: Sequence[Row]
    statements: Sequence[Row]
    faults: Sequence[Row]
    waiting: Sequence[Row] = ()
    """Entries in the repartition topic that no committed offset covers."""
    changelogs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """The contents of each changelog, by store."""


def judge(evidence: Evidence) -> list[str]:
    """Return all violations; an empty list means that the results are correct."""
    return [
        *driven(evidence.transfers),
        *(f"the application itself saw: {row.value}" for row in evidence.faults[: check.SHOWN]),
        *check.exactly_once("receipts", receipts(evidence.transfers), evidence.receipts),
        *statements(evidence),
        *changelogs(evidence),
    ]


def driven(transfers: Sequence[Row]) -> list[str]:
    """Check that the input has consecutive numbers per sender; otherwise the brokers have lost records."""
    last: dict[str, int] = {}
    for row in transfers:
        number = row.value["number"]
        if number != last.get(row.key, 0) + 1:
            return [f"the input itself is broken: {row.key} has {number} after {last.get(row.key, 0)}"]
        last[row.key] = number
    return []


def receipts(transfers: Sequence[Row]) -> list[Row]:
    """Return the expected receipts: (number, previous number)."""
    return [row._replace(value=(row.value["number"], row.value["number"] - 1)) for row in transfers]


def entries(transfers: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """Return the ids of the expected entries by account, and the amount of each entry by id."""
    rows: list[Row] = []
    changes: dict[str, int] = {}
    for row in transfers:
        sender, receiver, number, amount = (row.value[name] for name in ("sender", "receiver", "number", "amount"))
        for account, side, change in ((sender, "out", -amount), (receiver, "in", amount)):
            entry = f"{sender}:{number}:{side}"
            rows.append(row._replace(key=account, value=entry))
            changes[entry] = change
    return rows, changes


def statements(evidence: Evidence) -> list[str]:
    """Check that each entry is processed once and in order, that balances are correct, and that their sum is 0."""
    expected, changes = entries(evidence.transfers)
    arrived = [row._replace(value=row.value[0]) for row in evidence.statements]
    findings = check.through_repartition("entries", expected, arrived, evidence.waiting)
    if findings:
        return findings
    balances = check.running([row._replace(value=changes[row.value]) for row in arrived], check.total)
    shown = [row._replace(value=row.value[1]) for row in evidence.statements]
    findings += check.exactly_once("balances", balances, shown)
    money = sum(check.final(balances, check.newest).values()) + sum(changes[row.value] for row in evidence.waiting)
    if money:
        findings.append(f"all balances together are {money}; transfers neither make nor destroy money")
    return findings


def changelogs(evidence: Evidence) -> list[str]:
    """Check that the state that a new owner would restore matches the transfers."""
    findings: list[str] = []
    wanted = {
        "receipts-last": {row.key: row.value["number"] for row in evidence.transfers},
        "accounts-balance": {row.key: row.value[1] for row in evidence.statements},
    }
    for store, content in evidence.changelogs.items():
        if store in wanted:
            findings += check.same_content(f"changelog of store {store!r}", wanted[store], content)
    return findings
