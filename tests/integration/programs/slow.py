"""A program with a function that takes 0.1 s per record."""

import os
import time

import tidemill as tm

app = tm.App("slow")
source = app.stream(f"{os.environ['TOPICS']}-in", key=tm.raw, value=tm.raw)
source.peek(lambda value: time.sleep(0.1)).to(f"{os.environ['TOPICS']}-out")

if __name__ == "__main__":
    app.main()
