"""Word count: a line becomes words, a word becomes a key, a key gets a running count.

`flat_map` gives any number of values for one. `group_by` re-keys: all copies of a word meet in one partition, by way of
a repartition topic that Tidemill makes and empties as it goes.
"""

import re

import tidemill as tm

app = tm.App("word-count")

lines = app.stream("lines", value=tm.utf8)
counts = (
    lines.flat_map(lambda line: re.findall(r"[a-z']+", line.lower()))
    .group_by(lambda word: word)
    .count()
    .named("counts")
)
counts.to("word-counts", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()
