"""A table: the latest value per key; a null deletes the key.

A stream is a sequence of events; a table is the current state. This table is read from a (compacted) topic of prices,
filtered, and written to another topic: a row that no longer passes the filter is deleted downstream as well.
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
