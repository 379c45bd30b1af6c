"""Split and merge: divide a stream by predicates, and combine streams.

A record goes to the first branch whose predicate is true, otherwise to the default branch. `merge` keeps the order in
which the source delivered the records, so a stream that is split and merged again has its original order.
"""

import msgspec

import tidemill as tm


class Message(msgspec.Struct):
    level: str
    text: str


app = tm.App("triage")

messages = app.stream(["web-log", "api-log"], key=tm.utf8, value=tm.json(Message))
branches = messages.split(
    urgent=lambda m: m.level in ("error", "fatal"),
    noise=lambda m: m.level == "debug",
    default="rest",
)

branches["urgent"].to("urgent", value=tm.json)
urgent = branches["urgent"].map(lambda m: f"!! {m.text}").named("mark")
rest = branches["rest"].map(lambda m: m.text).named("plain")
urgent.merge(rest).to("readable", value=tm.utf8)  # the branch `noise` is not used

if __name__ == "__main__":
    app.main()
