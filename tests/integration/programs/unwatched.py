"""Echo, with members that cannot detect each other's death, as if all ports between them were blocked."""

import os

import tidemill as tm
from tidemill.engine.group.liveness import LivenessMonitor

LivenessMonitor.watch = lambda self, members: None  # a death is detected only if it is reported by another process

topics = os.environ["TOPICS"]
app = tm.App("unwatched")
app.stream(f"{topics}-data", key=tm.utf8, value=tm.int64).to(f"{topics}-echo", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()
