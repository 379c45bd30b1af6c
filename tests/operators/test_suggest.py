"""Tests of the suggestion of the nearest valid name."""

from __future__ import annotations

from tidemill.operators.suggest import did_you_mean, nearest

NAMES = ["commit_interval", "session_timeout", "web"]


def test_differences_in_case_and_separators_are_ignored() -> None:
    assert nearest("Commit-Interval", NAMES) == "commit_interval"
    assert nearest("comit_intervall", NAMES) == "commit_interval"
    assert nearest("zzz", NAMES) is None


def test_the_end_of_a_sentence() -> None:
    assert did_you_mean("session.timout", NAMES) == "; did you mean 'session_timeout'?"
    assert did_you_mean("zzz", NAMES) == "; there are: commit_interval, session_timeout, web"
    assert did_you_mean("zzz", NAMES, listing=False) == ""
    assert did_you_mean("zzz", []) == ""
