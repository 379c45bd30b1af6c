"""Running totals behind a repartition, and the input as it came, in two versions.

All records of a group come from one partition of the input, so the totals do not depend on how partitions are read.
VERSION=2 counts the groups that end in 7 twice, and leaves out every tenth input.
CLOSED=1 also counts in short windows, with one result per window, by watermarks.
"""

import os

import tidemill as tm

topics = os.environ["TOPICS"]
second = os.environ.get("VERSION") == "2"
closed = os.environ.get("CLOSED") == "1"

app = tm.App("blue-green")

watermark = tm.bounded("300ms") if closed else None
data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.int64, watermark=watermark)
groups = data.map_record(
    lambda record: tm.Record(f"g-{record.key}", record.value, record.timestamp), key=tm.utf8, value=tm.int64
)
totals = groups.group_by_key().reduce(lambda a, b: a + b).named("totals")


def doubled(record: tm.Record[str, int]) -> tm.Record[str, int]:
    """Return the total as this version has it."""
    twice = second and record.key.endswith("7")
    return tm.Record(record.key, 2 * record.value if twice else record.value, record.timestamp)


totals.to_stream().map_record(doubled).to(f"{topics}-totals", key=tm.utf8, value=tm.int64)
data.filter(lambda value: not (second and value % 10 == 0)).to(f"{topics}-seen", key=tm.utf8, value=tm.int64)

if closed:
    counts = groups.group_by_key().window(tm.tumbling("20ms")).emit("close").count().named("closed")
    named = counts.to_stream().map_record(
        lambda one: tm.Record(f"{one.key.key}@{one.key.start}", one.value, one.timestamp)
    )
    named.to(f"{topics}-closed", key=tm.utf8, value=tm.int64)

if os.environ.get("EFFECT"):
    data.sink(print)

if __name__ == "__main__":
    app.main()
