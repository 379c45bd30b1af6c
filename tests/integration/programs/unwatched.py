"""Echo, on a machine where members cannot see each other's deaths, as where no port between them is open."""

import os

import tidemill as tm
from tidemill.engine.group.liveness import Peers

Peers.watch = lambda self, seats: None  # the only way a death is seen is that somebody says so

topics = os.environ["TOPICS"]
app = tm.App("unwatched")
app.stream(f"{topics}-data", key=tm.utf8, value=tm.int64).to(f"{topics}-echo", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()
