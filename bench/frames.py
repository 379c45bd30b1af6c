"""CPU time of model scoring per record, in lists, and in data frames.

    python -m bench.frames

The same logistic regression (scikit-learn) in `map` and in `map_batch`, with a list and with a `polars.DataFrame`. The
three alternate on the same values, without Kafka; microseconds of CPU time per record, the minimum of all rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import msgspec
import polars as pl
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.operators.record import Record

__all__ = ["main"]

iris: Any = load_iris()
model = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)


class Flower(msgspec.Struct):
    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


def one(flower: Flower) -> int:
    return int(model.predict([msgspec.structs.astuple(flower)])[0])


def listed(flowers: list[Flower]) -> list[int]:
    return model.predict([msgspec.structs.astuple(flower) for flower in flowers]).tolist()


def framed(flowers: pl.DataFrame) -> list[int]:
    return model.predict(flowers.to_numpy()).tolist()


WAYS: dict[str, Callable[[tm.Stream[str, Flower]], Any]] = {
    "map, one by one": lambda stream: stream.map(one, value=tm.int64),
    "map_batch, list": lambda stream: stream.map_batch(listed, value=tm.int64),
    "map_batch, polars": lambda stream: stream.map_batch(framed, value=tm.int64),
}


def cpu_seconds(way: Callable[[Any], Any], records: list[Record[Any, Any]]) -> tuple[float, list[Any]]:
    """Return the CPU time of a program over the records, and its results."""
    app = tm.App("bench")
    way(app.stream("in", key=tm.utf8, value=tm.json(Flower))).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        began = time.process_time()
        driver.send_all("in", records)
        took = time.process_time() - began
        return took, [record.value for record in driver.read("out")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    flowers = [Flower(*iris.data[number % len(iris.data)]) for number in range(given.records)]
    records: list[Record[Any, Any]] = [Record(str(number % 100), flower, 1) for number, flower in enumerate(flowers)]
    least: dict[str, float] = {}
    results: list[Any] | None = None
    for _ in range(given.rounds):
        for name, way in WAYS.items():
            took, found = cpu_seconds(way, records)
            assert results is None or found == results, f"{name}: other results"
            results = found
            least[name] = min(took, least.get(name, took))
    for name, took in least.items():
        print(f"{name:18} {took / given.records * 1e6:8.1f} µs per record, {least['map, one by one'] / took:5.1f} x")


if __name__ == "__main__":
    main()
