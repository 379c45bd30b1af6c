# pyright: reportMissingImports=false
"""The jobs in Quix Streams, written and configured as its documentation recommends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from arguments import read
from quixstreams import Application, State
from quixstreams.dataframe.windows import Count, Sum


def priced(event: dict[str, Any]) -> dict[str, Any]:
    event["gross"] = event["amount"] * 1.2
    return event


def totals(event: dict[str, Any], state: State) -> dict[str, Any]:
    count = state.get("count", 0) + 1
    total = state.get("total", 0.0) + event["amount"]
    state.set("count", count)
    state.set("total", total)
    return {"count": count, "total": total}


def profile(event: dict[str, Any], state: State) -> dict[str, Any]:
    value = state.get("profile", None) or {"count": 0, "total": 0.0, "note": ""}
    value = {"count": value["count"] + 1, "total": value["total"] + event["amount"], "note": event["note"]}
    state.set("profile", value)
    return value


def main() -> None:
    args = read()
    if args.outputs != "update":
        raise SystemExit("Quix Streams writes one output per input: it has no record cache")
    app = Application(
        broker_address=args.broker,
        consumer_group=args.app,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if args.exactly_once else "at-least-once",
        commit_interval=args.commit_ms / 1000,
        state_dir=args.state_dir,
        consumer_extra_config=dict(args.kafka),
        loglevel="WARNING",
    )
    events = app.dataframe(app.topic(args.input, key_deserializer="str", value_deserializer="json"))
    output = app.topic(args.output, key_serializer="str", value_serializer="json")
    if args.job == "J1":
        result = events.filter(lambda event: event["kind"] != "cart").apply(priced)
    elif args.job == "J2":
        result = events.apply(totals, stateful=True)
    elif args.job == "J3":
        window = events.tumbling_window(timedelta(minutes=1), grace_ms=timedelta(seconds=10))
        result = window.agg(count=Count(), total=Sum("amount")).current()
    elif args.job == "J4":
        regrouped = events.group_by(lambda event: event["kind"] + event["user"][5], name="kinds")
        result = regrouped.apply(totals, stateful=True)
    elif args.job == "profiles":
        result = events.apply(profile, stateful=True)
    else:
        raise SystemExit(f"unknown job {args.job}")
    result.to_topic(output)
    app.run()


if __name__ == "__main__":
    main()
