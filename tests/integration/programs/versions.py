"""A program with three versions: the second reads one more topic, the third filters before it counts."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]
version = int(os.environ["VERSION"])

app = tm.App("versions")

data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.utf8)
if version >= 3:
    data = data.filter(lambda value: value != "").named("filled")
data.group_by_key().count().named("count").to(f"{topics}-counts", key=tm.utf8, value=tm.int64)

if version >= 2:
    more = app.stream(f"{topics}-more", key=tm.utf8, value=tm.utf8)
    more.map(str.upper).to(f"{topics}-shouts", key=tm.utf8, value=tm.utf8)

if __name__ == "__main__":
    app.main()
