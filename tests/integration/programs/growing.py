"""Copy values, count them by value after a repartition, and read all topics of a pattern; start at the latest."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]

app = tm.App("growing")

data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.utf8, start="latest")
data.map(str.upper).to(f"{topics}-copies", key=tm.utf8, value=tm.utf8)
data.group_by(lambda value: value[:1]).count().named("count").to(f"{topics}-counts", key=tm.utf8, value=tm.int64)

logs = app.stream(tm.pattern(f"{topics}-log-.*"), key=tm.utf8, value=tm.utf8, start="latest")
logs.to(f"{topics}-lines", key=tm.utf8, value=tm.utf8)

if __name__ == "__main__":
    app.main()
