"""Count per word in windows that are emitted when they close, with watermarks and two inputs."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]
watermark = tm.bounded("1s", idle=os.environ["IDLE"])

app = tm.App("quiet")
words = [app.stream(f"{topics}-{name}", key=tm.utf8, value=tm.utf8, watermark=watermark) for name in ("a", "b")]
merged = words[0].merge(words[1])
grouped = merged.group_by_key() if "BY_KEY" in os.environ else merged.group_by(lambda word: word)
grouped.window(tm.tumbling("10s")).emit("close").count().named("words").to(f"{topics}-out", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()
