# pyright: reportMissingImports=false
"""The jobs in Spark Structured Streaming; their expressions run in its JVM.

Spark keeps its offsets in its checkpoint. After each micro-batch, a listener commits them to a consumer group, by which
the benchmark sees progress.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import orjson
from arguments import Arguments, read
from confluent_kafka import Consumer, TopicPartition
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.streaming import StreamingQueryListener

SCHEMA = "user string, amount double, ts long, kind string, note string"
BATCH = 100_000
"""The most records of a micro-batch; without a bound, the first one is the whole backlog."""


class Offsets(StreamingQueryListener):
    """Commits the end of each micro-batch to the group of the application."""

    def __init__(self, args: Arguments) -> None:
        self._consumer = Consumer({"bootstrap.servers": args.broker, "group.id": args.app, "enable.auto.commit": False})

    def onQueryStarted(self, event: Any) -> None:
        return

    def onQueryProgress(self, event: Any) -> None:
        ends: dict[str, dict[str, int]] = orjson.loads(event.progress.sources[0].endOffset or "{}")
        offsets = [TopicPartition(topic, int(p), at) for topic, each in ends.items() for p, at in each.items()]
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=False)

    def onQueryIdle(self, event: Any) -> None:
        return

    def onQueryTerminated(self, event: Any) -> None:
        return


def session(args: Arguments, jars: Path) -> SparkSession:
    settings = {
        "spark.jars": ",".join(str(jar) for jar in sorted(jars.glob("*.jar"))),
        "spark.driver.memory": "1g",  # Spark refuses to start with less than 450 MB, and is short of memory with 512
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    builder: Any = SparkSession.builder.master("local[1]").appName(args.app)
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def result(job: str, events: DataFrame) -> DataFrame:
    """Return the keys of a job's results and their values, as a column of structs."""
    if job == "J1":
        row = f.struct("user", "amount", "ts", "kind", "note", (f.col("amount") * 1.2).alias("gross"))
        return events.where("kind <> 'cart'").select(f.col("user").alias("key"), row.alias("row"))
    totals = (f.count("*").alias("count"), f.sum("amount").alias("total"))
    row = f.struct("count", "total").alias("row")
    if job == "J2":
        return events.groupBy(f.col("user").alias("key")).agg(*totals).select("key", row)
    if job == "J3":
        timed = events.withColumn("at", f.timestamp_millis("ts")).withWatermark("at", "10 seconds")
        counted = timed.groupBy(f.col("user").alias("key"), f.window("at", "1 minute")).agg(*totals)
        start = f.unix_millis("window.start").alias("start")
        return counted.select("key", f.struct("count", "total", start).alias("row"))
    if job == "J4":
        kind = f.concat("kind", f.substring("user", 6, 1))
        return events.groupBy(kind.alias("key")).agg(*totals).select("key", row)
    raise SystemExit(f"unknown job {job}")


def main() -> None:
    args = read()
    if args.exactly_once or (args.outputs != "commit" and args.job != "J1"):
        raise SystemExit("Spark's Kafka sink is at least once, with one output per key and micro-batch")
    [jars] = (argument.removeprefix("jars=") for argument in sys.argv if argument.startswith("jars="))
    spark = session(args, Path(jars))
    spark.streams.addListener(Offsets(args))
    kafka = {"kafka.bootstrap.servers": args.broker, **{f"kafka.{name}": value for name, value in args.kafka.items()}}
    records = (
        spark.readStream.format("kafka")
        .options(**kafka, subscribe=args.input, startingOffsets="earliest", maxOffsetsPerTrigger=str(BATCH))
        .load()
    )
    events = records.select(f.from_json(f.col("value").cast("string"), SCHEMA).alias("event")).select("event.*")
    query = (
        result(args.job, events)
        .select("key", f.to_json("row").alias("value"))
        .writeStream.outputMode("update")
        .format("kafka")
        .options(**kafka, topic=args.output, checkpointLocation=args.state_dir)
        .trigger(processingTime=f"{args.commit_ms} milliseconds")
        .start()
    )
    signal.signal(signal.SIGTERM, lambda number, frame: query.stop())
    query.awaitTermination()


if __name__ == "__main__":
    main()
