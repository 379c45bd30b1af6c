"""Records that cannot be processed: bytes that are not JSON, a value that a function stumbles over.

By default (`on_error=tm.fail`) such a record stops the program, with exit code 1 and a message that names topic,
partition, offset and step. Nothing of it is committed, so nothing is lost: mend the program and start it again. With
`tm.skip` the record is dropped, counted in the metric `tidemill_records_dropped_total`, and the next one is processed.
"""

import msgspec

import tidemill as tm


class Order(msgspec.Struct):
    item: str
    cents: int
    pieces: int


app = tm.App("orders", on_error=tm.skip)

orders = app.stream("orders", key=tm.utf8, value=tm.json(Order))
prices = orders.map(lambda order: order.cents / order.pieces).named("price")  # fails for no pieces
prices.to("prices-per-piece", key=tm.utf8, value=tm.float64)

if __name__ == "__main__":
    app.main()
