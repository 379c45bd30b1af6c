"""A program whose second version renames all stateful steps; the last name is derived from a renamed one."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]
version = os.environ["VERSION"]
new = version == "2"

app = tm.App("renamed")


class Summing(tm.Processor[str, int, int]):
    total = tm.ValueState(int, default=0)

    def process(self, value: int, ctx: tm.Context[str]):
        self.total.set(self.total.get() + 1)
        yield self.total.get()


data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.utf8)
groups = data.group_by(lambda value: value, key=tm.utf8)
counts = (groups.named("by-value", was="groups") if new else groups.named("groups")).count()
counts = counts.named("totals", was="counts") if new else counts.named("counts" if version == "1" else "totals")
sums = counts.to_stream().process(Summing)
sums = sums.named("sums", was="sum") if new else sums.named("sum")
sums.with_key(lambda n: n % 2, key=tm.int64).group_by_key().count().to(f"{topics}-parity", value=tm.int64)
sums.to(f"{topics}-counts", key=tm.utf8, value=tm.int64)

if __name__ == "__main__":
    app.main()
