"""One owner's connection to PostgreSQL.

Imported only where PostgreSQL is a target, because it needs the extra `postgres`.

The first statement of each transaction updates the row with the position, if the epoch is still this owner's: it locks
that row, so the transactions of two owners follow each other, and the later one sees the epoch that the other set. A
process that stands still inside a transaction would keep the lock, so the next owner ends the connections of the
former epoch first, as the new owner of a task fences producers; and the server ends those that are idle in a
transaction for long.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

from ...operators.errors import ConfigError, TidemillError
from ...operators.graph.target import RecordsRefused, TargetFenced, TargetSession, TargetTask, TargetUnavailable
from ...operators.record import Record
from ..failpoints import hit
from .error_lines import error_line
from .postgres import Postgres
from .postgres_columns import reader, text_keys
from .postgres_errors import cause_of
from .postgres_sql import ExistingColumn, problems, quoted
from .row_names import encode

__all__ = ["PostgresSession", "opened"]

DEFAULTS: Final = {"connect_timeout": "10", "tcp_user_timeout": "30000"}
"""Settings of a connection that its URL may override: a server that does not answer is noticed within these times."""
SESSION: Final = """
set idle_in_transaction_session_timeout = '10s';
select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off';
"""
"""The first statements of a connection: the server ends transactions of a process that stands still; commits last."""
WAIT_FOR_LOCKS: Final = b"set local lock_timeout = '15s'"
CREATING: Final = 7_264_530_917
"""The advisory lock under which tables are created: `create table if not exists` fails if two do it at once."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
POSITION_OF: Final = 'application = %s and sink = %s and topic = %s and topic_id = %s and "partition" = %s'

COLUMNS: Final = """
select attname, format_type(atttypid, atttypmod),
    attnotnull and not atthasdef and concat(attidentity, attgenerated) = ''
from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum
"""
UNIQUE: Final = """
select array_agg(attname::text) from pg_index
join pg_attribute on attrelid = indrelid and attnum = any(indkey::smallint[])
where indrelid = to_regclass(%s) and indisunique and indpred is null and indexprs is null group by indexrelid
"""


def opened(target: Postgres, task: TargetTask, epoch: str) -> PostgresSession:
    """Create what is missing, check the tables, and make `epoch` the one that may write."""
    session = PostgresSession(target, task, epoch)
    try:
        session.prepare()
        session.claim()
    except BaseException:
        session.close()
        raise
    return session


class PostgresSession(TargetSession):
    """The session of one epoch. It connects when it needs to."""

    def __init__(self, target: Postgres, task: TargetTask, epoch: str) -> None:
        self._target = target
        self._layout = target.layout()
        self._keyed = bool(self._layout.keys)
        self._task = task
        self._place = (task.application, task.sink, task.topic, task.topic_id, task.partition)
        self._epoch = epoch
        self._connection: psycopg.Connection[Any] | None = None
        self._staged = False
        """Whether this connection has the temporary table."""
        keys = target.key_of_row
        self._read_key = text_keys(keys, reader(keys, _jsonb)) if keys else None
        self._read_value = reader(target.value_of_row, _jsonb)

    # Opening

    def prepare(self) -> None:
        """Create the tables if they do not exist, and check them.

        Raises ConfigError if they do not fit.
        """
        layout = self._layout
        with self._transaction() as cursor:
            cursor.execute(WAIT_FOR_LOCKS)
            wanted = ((quoted(layout.table), layout.create), (layout.positions, layout.create_positions))
            missing = [create for table, create in wanted if not _exists(cursor, table)]
            if missing and self._target.create:
                cursor.execute("select pg_advisory_xact_lock(%s)", (CREATING,))
                for create in missing:
                    cursor.execute(create.encode())
            for table, create in ((layout.positions, layout.create_positions), (quoted(layout.table), layout.create)):
                cursor.execute(COLUMNS, (table,))
                existing = [ExistingColumn(*row) for row in cursor.fetchall()]
                if not existing:
                    raise ConfigError(f"{self._where}: there is no table {table}. To create it: {create};")
            cursor.execute(UNIQUE, (quoted(layout.table),))
            unique = [frozenset(row[0]) for row in cursor.fetchall()]
            if wrong := problems(layout, existing, unique):
                raise ConfigError(
                    f"{self._where}: the table {layout.table!r} does not fit: {'; '.join(wrong)}. Change the table, "
                    f"or the arguments of tm.postgres. A table that fits: {layout.create};"
                )

    def claim(self) -> None:
        """Set the epoch, after ending the connections of the former one."""
        positions = self._layout.positions
        with self._transaction() as cursor:
            cursor.execute(f"select epoch from {positions} where {POSITION_OF}".encode(), self._place)
            former = cursor.fetchone()
            if former is not None and former[0] != self._epoch:
                cursor.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s "
                    "and usename = current_user",
                    (_application_name(former[0]),),
                )
        with self._transaction() as cursor:
            cursor.execute(WAIT_FOR_LOCKS)
            cursor.execute(
                f'insert into {positions} (application, sink, topic, topic_id, "partition", epoch) '
                'values (%s, %s, %s, %s, %s, %s) on conflict (application, sink, topic, topic_id, "partition") '
                "do update set epoch = excluded.epoch, updated = now()".encode(),
                (*self._place, self._epoch),
            )

    # Writing

    def position(self) -> int | None:
        with self._transaction() as cursor:
            statement = f'select epoch, "position" from {self._layout.positions} where {POSITION_OF}'
            cursor.execute(statement.encode(), self._place)
            found = cursor.fetchone()
            if found is None or found[0] != self._epoch:
                raise self._fenced()
            return found[1]

    def write(self, records: Sequence[Record[Any, Any]], position: int) -> None:
        rows: list[tuple[Any, ...]] = []
        wrong: dict[int, Exception] = {}
        for index, record in enumerate(records):
            try:
                rows.append(self._row(record))
            except Exception as error:
                wrong[index] = error
        if wrong:
            raise RecordsRefused(wrong)
        try:
            with self._transaction(of_records=True) as cursor:
                self._advance(cursor, position)
                self._put(cursor, rows)
                hit("during-target-write")
        except _OfRecords as failure:
            self._find(rows, failure)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._staged = False
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _advance(self, cursor: psycopg.Cursor[Any], position: int) -> None:
        """Lock the position and move it. Raises TargetFenced if the epoch is another one."""
        statement = (
            f'update {self._layout.positions} set "position" = %s, updated = now() where {POSITION_OF} and epoch = %s'
        )
        cursor.execute(statement.encode(), (position, *self._place, self._epoch))
        if cursor.rowcount != 1:
            raise self._fenced()

    def _put(self, cursor: psycopg.Cursor[Any], rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows, or apply the last change of each key."""
        if not rows:
            return
        layout = self._layout
        if not self._keyed:
            _copy(cursor, layout.copy, rows)
            return
        if not self._staged:
            cursor.execute(layout.stage.encode())
            self._staged = True
        width = len(layout.keys)
        last = {row[:width]: row for row in rows}
        _copy(cursor, layout.copy_staged, [(*row, number) for number, row in enumerate(last.values())])
        cursor.execute(layout.delete.encode())
        cursor.execute(layout.upsert.encode())

    def _find(self, rows: Sequence[tuple[Any, ...]], failure: Exception) -> None:
        """Raise RecordsRefused for the rows that fail, and keep nothing.

        Each is tried alone, after those before it.
        """
        wrong: dict[int, Exception] = {}
        with self._transaction(keep=False) as cursor:
            cursor.execute("set constraints all immediate")
            if self._keyed and not self._staged:
                cursor.execute(self._layout.stage.encode())
            staged, self._staged = self._staged, True
            for index, row in enumerate(rows):
                cursor.execute("savepoint row")
                try:
                    if self._keyed:
                        cursor.execute(self._layout.clear_staged.encode())
                    self._put(cursor, [row])
                except Exception as error:
                    if cause_of(error) != "record":
                        raise
                    cursor.execute("rollback to savepoint row")
                    wrong[index] = error
                cursor.execute("release savepoint row")
            self._staged = staged
        if wrong:
            raise RecordsRefused(wrong)
        raise TargetUnavailable(f"a write failed, and no single record of it does: {failure}") from failure

    def _row(self, record: Record[Any, Any]) -> tuple[Any, ...]:
        """Return the contents of the columns, and for keyed tables whether the row is deleted."""
        given, key = self._target.given, record.key
        assert given is not None
        row: list[Any] = []
        if self._read_key is not None:
            row += self._read_key(key.key if given.windowed else key)
            if given.windowed:
                row += [_time(key.start), _time(key.end)]
        if record.value is not None:
            row += self._read_value(record.value)
        elif given.table:
            row += [None] * len(self._target.value_of_row)
        else:
            raise ValueError(
                "a record without a value has no row: .filter(lambda value: value is not None) leaves it out"
            )
        if self._target.timestamp is not None:
            row.append(_time(record.timestamp))
        return (*row, record.value is None) if given.table else tuple(row)

    # The connection

    @contextmanager
    def _transaction(
        self, *, keep: bool = True, of_records: bool = False
    ) -> Generator[psycopg.Cursor[Any], None, None]:
        """Run a transaction; connect if necessary, and drop the connection after an error."""
        try:
            connection = self._connected()
            with connection.transaction(force_rollback=not keep), connection.cursor() as cursor:
                yield cursor
        except TidemillError:
            raise
        except Exception as error:
            self._staged = False
            cause = cause_of(error)
            if cause == "record" and of_records:
                raise _OfRecords(error_line(error)) from error
            self.close()
            if cause == "unavailable":
                raise TargetUnavailable(error_line(error)) from error
            raise ConfigError(f"{self._where}: {error_line(error)}") from error

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._staged = False
            given = {name: str(value) for name, value in conninfo_to_dict(self._target.url).items()}
            settings = {**DEFAULTS, **given, "application_name": _application_name(self._epoch)}
            self._connection = psycopg.connect(make_conninfo("", **settings), autocommit=True)
            self._connection.execute(SESSION)
        return self._connection

    def _fenced(self) -> TargetFenced:
        return TargetFenced(f"another owner has opened {self._task} in table {self._layout.positions} since")

    @property
    def _where(self) -> str:
        return f"step {self._task.sink!r}, tm.postgres(table={self._target.table!r})"


class _OfRecords(Exception):
    """A write failed because of its records."""


def _application_name(epoch: str) -> str:
    """Return the name of the connections of an epoch in pg_stat_activity."""
    return f"tidemill-{epoch}"[:63]


def _copy(cursor: psycopg.Cursor[Any], statement: str, rows: Any) -> None:
    with cursor.copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)


def _exists(cursor: psycopg.Cursor[Any], table: str) -> bool:
    cursor.execute("select to_regclass(%s) is not null", (table,))
    return cursor.fetchone() == (True,)


def _time(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def _jsonb(value: Any) -> Jsonb:
    return Jsonb(value, dumps=encode)
