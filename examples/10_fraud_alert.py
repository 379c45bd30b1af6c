"""Timers: react to an event that is not followed by another one.

A small payment shortly before a large one with the same card is typical of stolen card numbers: the owner is asked
about the large one. If no answer arrives within ten minutes, a timer blocks the card. Timers are durable: they fire
exactly once, also after a crash or on another process. They run in event time: a replay produces the same alerts.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

import tidemill as tm


class Event(msgspec.Struct):
    kind: Literal["payment", "answer"]
    amount: float = 0.0
    mine: bool = False


class FraudDetector(tm.Processor[str, Event, str]):
    tried = tm.ValueState(bool, default=False, ttl="1m")  # a small payment in the last minute
    asked = tm.ValueState(float)  # the amount that the owner was asked about
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

    def block(self, card: str, reason: str) -> str:
        self.blocked.set(True)
        return f"card {card} is blocked: {reason}"


app = tm.App("fraud")

events = app.stream("card-events", key=tm.utf8, value=tm.json(Event))
detector = events.process(FraudDetector).named("fraud-detector")
detector.to("alerts", value=tm.utf8)
detector.side("refused").to("refused", value=tm.utf8)

if __name__ == "__main__":
    app.main()
