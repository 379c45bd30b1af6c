"""Session windows: clicks of a visitor form one visit until there is none for half an hour.

Each visit is written once, when its window closes, with its number of clicks, first and last event, and number of
purchases. Event time is a field of the clicks, so a replay of the log gives the same visits. The test replays 31,106
clicks of 600 visitors (see clicks/README.md) and finds the same 3,605 visits that the shop recorded.
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
