"""The same questions, answered by Spark SQL, DuckDB and plain Python."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from pyiceberg.catalog import load_catalog

QUESTIONS = {
    "flights of each airline": """
        select carrier, count(*), count(delay), cast(sum(delay) as bigint) from flights group by carrier
    """,
    "airlines, as the program keeps them": "select carrier, flights, departed, minutes from airlines",
    "flights of each airport and month": """
        select origin, extract(month from scheduled) as month, count(*), max(delay) from flights group by 1, 2
    """,
}


def by_duckdb(catalog: Mapping[str, str]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the answers of DuckDB, which gets the rows of the tables from pyiceberg."""
    tables = load_catalog(**catalog)
    database = tables.load_table("lake.flights").scan().to_duckdb("flights")
    tables.load_table("lake.airlines").scan().to_duckdb("airlines", connection=database)
    database.execute("set timezone = 'UTC'")
    return {name: sorted(database.execute(query).fetchall()) for name, query in QUESTIONS.items()}


def by_spark(catalog: Mapping[str, str], lake: Path, jars: Path) -> dict[str, dict[str, list[tuple[Any, ...]]]]:
    """Return the answers of Spark SQL for each format.

    The tables of Iceberg are found by its catalog of JDBC on the same database, the others by their folders.
    """
    builder: Any = import_module("pyspark.sql").SparkSession.builder
    settings = {
        "spark.jars": ",".join(str(jar) for jar in sorted(jars.glob("*.jar"))),
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "jdbc",
        "spark.sql.catalog.lake.uri": f"jdbc:{catalog['uri'].replace(':///', ':')}",
        "spark.sql.catalog.lake.warehouse": catalog["warehouse"],
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.master("local[2]").getOrCreate()
    try:
        answers: dict[str, dict[str, list[tuple[Any, ...]]]] = {}
        for name in ("flights", "airlines"):
            spark.read.format("delta").load(f"{lake}/delta/{name}").createOrReplaceTempView(name)
        answers["Spark SQL in Delta"] = asked(spark, QUESTIONS)
        spark.catalog.dropTempView("airlines")
        spark.read.parquet(f"{lake}/parquet/flights").createOrReplaceTempView("flights")
        answers["Spark SQL in Parquet"] = asked(
            spark, [name for name in QUESTIONS if "from flights" in QUESTIONS[name]]
        )
        spark.catalog.dropTempView("flights")
        spark.sql("use lake.lake")
        answers["Spark SQL in Iceberg"] = asked(spark, QUESTIONS)
        return answers
    finally:
        spark.stop()


def asked(spark: Any, questions: Iterable[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the answers of a session to some of the questions."""
    return {name: sorted(tuple(row) for row in spark.sql(QUESTIONS[name]).collect()) for name in questions}


def by_python() -> dict[str, list[tuple[Any, ...]]]:
    """Return the answers from the file, without Kafka, Tidemill or a database."""
    airlines: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    months: dict[tuple[str, int], list[int | None]] = defaultdict(lambda: [0, None])
    for event in import_module("feed").flights():
        flight = msgspec.json.decode(event.value)
        delay = flight["delay"]
        totals = airlines[flight["carrier"]]
        totals[0] += 1
        month = months[flight["origin"], datetime.fromtimestamp(event.time / 1000, timezone.utc).month]
        month[0] = (month[0] or 0) + 1
        if delay is not None:
            totals[1] += 1
            totals[2] += delay
            month[1] = delay if month[1] is None else max(month[1], delay)
    by_airline = sorted((carrier, *totals) for carrier, totals in airlines.items())
    by_month = sorted((*key, *month) for key, month in months.items())
    return dict(zip(QUESTIONS, (by_airline, by_airline, by_month), strict=True))
