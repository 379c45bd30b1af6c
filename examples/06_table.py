"""A table: the latest value of each key. A new record replaces the one before it, a null deletes it.

A stream says what happened, a table how things stand. This one is read from a (compacted) topic of prices, cleaned up,
and written again: what `filter` no longer lets through is deleted downstream as well.
"""

import msgspec

import tidemill as tm


class Price(msgspec.Struct):
    cents: int
    currency: str


app = tm.App("prices")

prices = app.table("prices", key=tm.utf8, value=tm.json(Price)).named("prices")
euros = prices.filter(lambda p: p.currency == "EUR").map(lambda p: f"{p.cents / 100:.2f}").named("euros")
euros.to("euro-prices", key=tm.utf8, value=tm.utf8)

if __name__ == "__main__":
    app.main()
