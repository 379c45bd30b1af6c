"""Record errors: input that is not JSON, and values for which a function fails.

By default (`on_error=tm.fail`) a record error stops the program with exit code 1 and a message that names the topic,
partition, offset and step. The record is not committed, so nothing is lost: fix the program and restart it. With
`tm.skip` the record is dropped and counted in the metric `tidemill_records_dropped_total`, and processing continues.
"""

import msgspec

import tidemill as tm


class Order(msgspec.Struct):
    item: str
    cents: int
    pieces: int


app = tm.App("orders", on_error=tm.skip)

orders = app.stream("orders", key=tm.utf8, value=tm.json(Order))
prices = orders.map(lambda order: order.cents / order.pieces).named("price")  # fails if `pieces` is 0
prices.to("prices-per-piece", key=tm.utf8, value=tm.float64)

if __name__ == "__main__":
    app.main()
