"""Timers: something that happens, and something that does not happen after it.

A small payment and soon a large one with the same card is how stolen numbers are tried out: the card's owner is asked.
An answer within ten minutes settles it; without one a timer blocks the card. Timers are durable: they fire once, after
a crash and on another process too, in event time, so that a replay of last year's payments gives last year's alerts.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

import tidemill as tm


class Event(msgspec.Struct):
    kind: Literal["payment", "answer"]
    amount: float = 0.0
    mine: bool = False


class Watch(tm.Processor[str, Event, str]):
    tried = tm.ValueState(bool, default=False, ttl="1m")  # a small payment in the last minute
    asked = tm.ValueState(float)  # the amount that the owner is asked about
    blocked = tm.ValueState(bool, default=False)

    def process(self, event: Event, ctx: tm.Context[str]) -> Iterator[str | tm.Side[str]]:
        if self.blocked.get():
            yield tm.side("refused", f"card {ctx.key} is blocked")
        elif event.kind == "answer" and self.asked.get() is not None:
            ctx.cancel("no answer")
            self.asked.clear()
            if not event.mine:
                yield self.block(ctx.key, "its owner has not paid")
        elif event.kind == "payment":
            if event.amount >= 500 and self.tried.get():
                self.asked.set(event.amount)
                ctx.timer("no answer", after="10m")
                yield f"card {ctx.key}: did you pay {event.amount:.2f}?"
            self.tried.set(event.amount < 1)

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Iterator[str]:
        yield self.block(ctx.key, f"{name} about {self.asked.get():.2f}")
        self.asked.clear()

    def block(self, card: str, why: str) -> str:
        self.blocked.set(True)
        return f"card {card} is blocked: {why}"


app = tm.App("fraud")

events = app.stream("card-events", key=tm.utf8, value=tm.json(Event))
watch = events.process(Watch).named("watch")
watch.to("alerts", value=tm.utf8)
watch.side("refused").to("refused", value=tm.utf8)

if __name__ == "__main__":
    app.main()
