"""A program that counts per key in the versions 1 and 3, and does not in version 2."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]

app = tm.App("old-rows")
data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.utf8)
data.to(f"{topics}-copy", key=tm.utf8, value=tm.utf8)
if os.environ["VERSION"] != "2":
    data.group_by_key().count().named("counts").to(f"{topics}-counts", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()
