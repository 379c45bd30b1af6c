"""Session windows: the clicks of a visitor belong together as long as none is half an hour after the one before.

A visit is written once, when it is over: how long it was, what it began and ended with, whether something was bought.
Event time comes from the clicks themselves, so a replay of last year's log gives last year's visits. The test replays
31,106 clicks of 600 visitors (see clicks/README.md) and finds the same 3,605 visits that the shop had recorded.
"""

from datetime import datetime, timezone

import msgspec

import tidemill as tm


class Click(msgspec.Struct):
    user_id: str
    event: str
    timestamp: str  # such as 2024-03-13 10:21:14, UTC


def time_of(click: Click) -> datetime:
    return datetime.fromisoformat(click.timestamp).replace(tzinfo=timezone.utc)


app = tm.App("visits")

clicks = app.stream("clicks", key=tm.utf8, value=tm.json(Click), timestamp=time_of)
visits = (
    clicks.group_by_key()
    .window(tm.session(gap="30m"))
    .emit("close")
    .aggregate(
        clicks=tm.count(),
        entry=tm.first("event"),
        exit=tm.last("event"),
        purchases=tm.sum(lambda click: int(click.event == "purchase")),
    )
    .named("visits")
)
visits.to("visits", value=tm.json)

if __name__ == "__main__":
    app.main()
