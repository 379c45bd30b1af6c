"""Count per key; the state grows with the number of keys. STORE=memory keeps it in memory."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]

app = tm.App("keyed")

data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.raw)
counts = data.group_by_key().count().named("count")
if os.environ.get("STORE") == "memory":
    counts = counts.in_memory()
counts.to(f"{topics}-counts", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()
