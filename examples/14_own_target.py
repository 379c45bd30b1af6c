"""A custom target: word counts in SQLite, where each change is written exactly once.

A target keeps three things in one transaction: the rows, the position up to which they are written, and the epoch of
the owner that may write. Tidemill reads the position after each start and failure, and continues from there.
"""

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tidemill as tm

TABLES = (
    "create table if not exists counts (word text primary key, count integer not null)",
    "create table if not exists owners (task text primary key, epoch text not null, position integer)",
)


@dataclass(frozen=True)
class Sqlite(tm.Target):
    kind = "sqlite"

    path: str

    def open(self, task: tm.TargetTask, epoch: str) -> tm.TargetSession:
        session = Session(self.path, str(task), epoch)
        with session.transaction() as database:
            for table in TABLES:
                database.execute(table)
            claim = "insert into owners values (?, ?, null) on conflict (task) do update set epoch = excluded.epoch"
            database.execute(claim, (str(task), epoch))
        return session


class Session(tm.TargetSession):
    def __init__(self, path: str, task: str, epoch: str) -> None:
        self.task, self.epoch = task, epoch
        self.database = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)

    def transaction(self) -> "Transaction":
        return Transaction(self.database)

    def position(self) -> "int | None":
        with self.transaction() as database:
            epoch, position = database.execute(
                "select epoch, position from owners where task = ?", (self.task,)
            ).fetchone()
            if epoch != self.epoch:
                raise tm.TargetFenced(f"{self.task} has a newer owner")
            return position

    def write(self, records: "Sequence[tm.Record[Any, Any]]", position: int) -> None:
        with self.transaction() as database:
            for record in records:
                if record.value is None:
                    database.execute("delete from counts where word = ?", (record.key,))
                else:
                    database.execute("insert or replace into counts values (?, ?)", (record.key, record.value))
            update = "update owners set position = ? where task = ? and epoch = ?"
            if database.execute(update, (position, self.task, self.epoch)).rowcount != 1:
                raise tm.TargetFenced(f"{self.task} has a newer owner")

    def close(self) -> None:
        self.database.close()


class Transaction:
    """An exclusive transaction; `TargetUnavailable` if the database is locked or full."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def __enter__(self) -> sqlite3.Connection:
        try:
            self.database.execute("begin immediate")
        except sqlite3.OperationalError as error:
            raise tm.TargetUnavailable(str(error)) from error
        return self.database

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            self.database.rollback() if error else self.database.commit()
        except sqlite3.OperationalError as failure:
            self.database.rollback()
            raise tm.TargetUnavailable(str(failure)) from failure
        if isinstance(error, sqlite3.OperationalError):
            raise tm.TargetUnavailable(str(error)) from error


app = tm.App("words-in-sqlite")

words = app.stream("lines", key=tm.utf8, value=tm.utf8).flat_map(str.split)
counts = words.group_by(str.lower, key=tm.utf8).count().named("counts")
counts.sink(Sqlite(os.environ.get("DATABASE", "words.sqlite")))

if __name__ == "__main__":
    app.main()
