"""Tests that the memory counted by the input buffer is that used by Python."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

import tidemill as tm
from tidemill.engine.tasks.buffer import InputBuffer
from tidemill.operators.graph.codecs import Decoder
from tidemill.operators.record import Batch

KEY = ("t", 0)


def number(n: int) -> bytes:
    return (n + 1000).to_bytes(8, "big")


def text(size: int) -> Any:
    return lambda n: (str(n) * size)[:size].encode()


def fields(count: int, length: int = 0) -> Any:
    return lambda n: json.dumps(
        {f"field{i}": [n + 1000, str(n) + "x" * length, n / 7][i % 3] for i in range(count)}
    ).encode()


@pytest.mark.parametrize(
    ("serde", "value", "batches", "size"),
    [
        (tm.int64, number, 4, 1_000),
        (tm.utf8, text(12), 4, 1_000),
        (tm.utf8, text(20_000), 4, 20),
        (tm.raw, text(20_000), 4, 20),
        (tm.json, fields(10), 4, 100),
        (tm.json, fields(60, 1000), 4, 5),
        (tm.int64, number, 1_000, 1),
    ],
    ids=["numbers", "short texts", "long texts", "bytes", "rows", "large rows", "one by one"],
)
@pytest.mark.parametrize("headers", [None, (("source", b"somewhere"), ("trace", bytes(50)))], ids=["", "headers"])
def test_what_is_counted_is_what_is_taken(serde: Any, value: Any, batches: int, size: int, headers: Any) -> None:
    buffer, decoder = InputBuffer([KEY]), Decoder("in", tm.utf8, serde)
    tracemalloc.start()
    try:
        for begin in range(0, batches * size, size):
            offsets = list(range(begin + 1000, begin + 1000 + size))
            keys: list[bytes | None] = [b"k%03d" % (n % 1000) for n in offsets]
            values: list[bytes | None] = [value(n) for n in offsets]
            carried = (
                None
                if headers is None
                else [tuple((n[:3] + n[3:], bytes(bytearray(c))) for n, c in headers) for _ in offsets]
            )
            payload = sum(len(subtopology or b"") for subtopology in [*keys, *values])
            payload += 0 if headers is None else size * sum(len(n) + len(c) for n, c in headers)
            times = [n * 1_000_000 for n in offsets]
            batch = Batch(*KEY, keys, values, times, offsets, carried, payload)  # type: ignore[arg-type]
            buffer.offer(KEY, decoder.decode(batch, 0), offsets[-1] + 1, batch.size)
        del batch, keys, values, offsets, carried, times  # type: ignore[possibly-undefined]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.7 <= buffer.sizes()[KEY] / taken <= 1.3
    while buffer.next_run(97) is not None:
        pass
    assert buffer.sizes() == {KEY: 0}
