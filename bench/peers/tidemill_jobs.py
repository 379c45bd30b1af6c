"""The jobs in Tidemill, through its public interface alone."""

from __future__ import annotations

import sys

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


args = read()
app = tm.App(args.app)
events = app.stream(args.input, key=tm.utf8, value=tm.json(Event))

if args.job == "J1":
    events.filter(lambda event: event.kind != "cart").map(priced).to(args.output, value=tm.json)
elif args.job == "J2":
    totals = events.group_by_key().aggregate(count=tm.count(), total=tm.sum("amount")).named("totals")
    totals.to(args.output, value=tm.json)
elif args.job == "J3":
    window = tm.tumbling("1m", grace="10s")
    by_minute = events.group_by_key().window(window).aggregate(count=tm.count(), total=tm.sum("amount")).named("totals")
    by_minute.to(args.output, value=tm.json)
elif args.job == "J4":
    kinds = events.group_by(lambda event: event.kind + event.user[5]).aggregate(
        count=tm.count(), total=tm.sum("amount")
    )
    kinds.named("kinds").to(args.output, value=tm.json)
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
    sys.argv[1:] = [word for option in options.items() for word in option]
    for name, value in args.kafka.items():
        sys.argv += ["-X", f"{name}={value}"]
    app.main()
