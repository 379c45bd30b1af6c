"""Maximum and count per new key, with a repartition topic; `last` shows the order in which values arrived."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]

app = tm.App("max-count")


def bucket(value: int) -> str:
    return f"bucket-{value % 97:02d}"


data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.int64)
by_bucket = data.group_by(bucket)
by_bucket.reduce(max).named("max").to(f"{topics}-max", key=tm.utf8, value=tm.int64)
by_bucket.count().named("count").to(f"{topics}-count", key=tm.utf8, value=tm.int64)
by_bucket.reduce(lambda _, value: value).named("last").to(f"{topics}-last", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()
