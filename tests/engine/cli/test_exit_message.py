"""Tests of the error message of a worker that shares its log with others."""

from __future__ import annotations

import json
import logging
from typing import Literal

import pytest

from tidemill.engine.cli.run import last_words
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import EXIT_BUG, EXIT_KAFKA, Fatal
from tidemill.engine.serve.logs import setup


def settings(log_format: Literal["text", "json"]) -> Settings:
    return Settings(app_id="a", workers=2, worker=1, log_format=log_format)


def test_each_line_has_the_number_of_the_worker(capsys: pytest.CaptureFixture[str]) -> None:
    assert last_words(Fatal("the brokers\nare gone"), settings("text"), debug=False) == EXIT_KAFKA
    assert capsys.readouterr().err == "[1] error: the brokers\n[1] error: are gone\n"


def test_a_traceback_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert last_words(KeyError("x"), settings("text"), debug=False) == EXIT_BUG
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("[1] This is a bug in Tidemill")
    assert all(line.startswith("[1] ") for line in lines)


def test_in_json_it_is_one_event(capsys: pytest.CaptureFixture[str]) -> None:
    setup(settings("json"), 1)
    try:
        assert last_words(Fatal("the brokers are gone"), settings("json"), debug=False) == EXIT_KAFKA
        event = json.loads(capsys.readouterr().err)
    finally:
        for name in ("tidemill", "aiokafka"):
            logger = logging.getLogger(name)
            logger.handlers[:], logger.propagate = [], True
            logger.setLevel(logging.NOTSET)
        logging.getLogger("tidemill.kafka").setLevel(logging.NOTSET)
    assert (event["level"], event["worker"], event["message"]) == ("error", 1, "error: the brokers are gone")
