"""Word count: split lines into words, group by word, and keep a running count per word.

`flat_map` returns any number of values per input. `group_by` changes the key, so all records of a word are sent to one
partition through a repartition topic, which Tidemill creates and from which it deletes processed records.
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
