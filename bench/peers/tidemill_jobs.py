"""The jobs in Tidemill, with its public interface only."""

from __future__ import annotations

import sys
from typing import Literal

import msgspec
from arguments import read

import tidemill as tm


class Event(msgspec.Struct):
    user: str
    amount: float
    ts: int
    kind: str
    note: str


class Priced(msgspec.Struct):
    user: str
    amount: float
    ts: int
    kind: str
    note: str
    gross: float


def priced(event: Event) -> Priced:
    return Priced(event.user, event.amount, event.ts, event.kind, event.note, event.amount * 1.2)


class Bought(msgspec.Struct):
    user: str
    viewed: int
    bought: int
    amount: float


def bought(view: Event, buy: Event) -> Bought:
    return Bought(buy.user, view.ts, buy.ts, buy.amount)


args = read()
when: Literal["update", "commit"] = "commit" if args.outputs == "commit" else "update"
app = tm.App(args.app)
events = app.stream(args.input, key=tm.utf8, value=tm.json(Event))

if args.job == "J1":
    events.filter(lambda event: event.kind != "cart").map(priced).to(args.output, value=tm.json)
elif args.job == "J2":
    totals = events.group_by_key().emit(when).aggregate(count=tm.count(), total=tm.sum("amount")).named("totals")
    totals.to(args.output, value=tm.json)
elif args.job == "J3":
    window = tm.tumbling("1m", grace="10s")
    by_minute = (
        events.group_by_key()
        .window(window)
        .emit(when)
        .aggregate(count=tm.count(), total=tm.sum("amount"))
        .named("totals")
    )
    by_minute.to(args.output, value=tm.json)
elif args.job == "J4":
    kinds = (
        events.group_by(lambda event: event.kind + event.user[5])
        .emit(when)
        .aggregate(count=tm.count(), total=tm.sum("amount"))
    )
    kinds.named("kinds").to(args.output, value=tm.json)
elif args.job == "J5":
    visits = events.group_by_key().window(tm.session(gap="20s", grace="10s")).emit(when)
    visits.aggregate(count=tm.count(), total=tm.sum("amount")).named("totals").to(args.output, value=tm.json)
elif args.job == "J6":
    recent = events.group_by_key().window(tm.sliding("10s", grace="10s")).emit(when)
    recent.aggregate(count=tm.count(), total=tm.sum("amount")).named("totals").to(args.output, value=tm.json)
elif args.job == "J7":
    views = events.filter(lambda event: event.kind == "view")
    buys = events.filter(lambda event: event.kind == "buy")
    views.join(buys, bought, within="10s", grace="10s").named("bought").to(args.output, value=tm.json)
elif args.job == "profiles":
    profiles = events.group_by_key().aggregate(count=tm.count(), total=tm.sum("amount"), note=tm.last("note"))
    profiles.named("profiles").to(args.output, value=tm.json)
else:
    raise SystemExit(f"unknown job {args.job}")

if __name__ == "__main__":
    options = {
        "--broker": args.broker,
        "--state-dir": args.state_dir,
        "--guarantee": args.guarantee,
        "--commit-interval": f"{args.commit_ms}ms",
    }
    if args.session_ms:
        options |= {"--session-timeout": f"{args.session_ms}ms", "--heartbeat-interval": f"{args.session_ms // 6}ms"}
    if args.snapshots:
        options |= {"--snapshots": args.snapshots, "--snapshot-interval": "10s"}
    sys.argv[1:] = [word for option in options.items() for word in option]
    for name, value in args.kafka.items():
        sys.argv += ["-X", f"{name}={value}"]
    app.main()
