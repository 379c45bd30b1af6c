"""Echo, minimum and sum per key: one output of each kind per input."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]

app = tm.App("echo-min-sum")

data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.int64)
data.to(f"{topics}-echo", key=tm.utf8, value=tm.int64)

by_key = data.group_by_key()
by_key.reduce(min).named("min").to(f"{topics}-min", key=tm.utf8, value=tm.int64)
by_key.reduce(lambda total, value: total + value).named("sum").to(f"{topics}-sum", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()
