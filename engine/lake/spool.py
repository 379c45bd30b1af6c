"""Rows that are staged: in a temporary file, so that they take little memory.

The file has no name, and goes with its process. Imported only where a target needs it, because it needs pyarrow.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from typing import IO, Any, Final

__all__ = ["Spool"]

pa: Final[Any] = import_module("pyarrow")
ipc: Final[Any] = import_module("pyarrow.ipc")


class Spool:
    """Record batches of one schema, in the order in which they were added."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._file: IO[bytes] | None = None
        self._writer: Any = None
        self.rows = 0
        self.bytes = 0
        """What the rows take in memory format."""

    def add(self, batch: Any) -> None:
        """Add rows."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="tidemill-")  # noqa: SIM115
            self._writer = ipc.new_stream(self._file, self._schema, options=ipc.IpcWriteOptions(compression="lz4"))
        self._writer.write_batch(batch)
        self.rows += batch.num_rows
        self.bytes += batch.nbytes

    def table(self) -> Any:
        """Return all rows as a table; more may be added later."""
        if self._file is None:
            return self._schema.empty_table()
        self._file.flush()
        self._file.seek(0)
        batches: list[Any] = []
        reader = ipc.open_stream(self._file)
        while len(batches) == 0 or sum(batch.num_rows for batch in batches) < self.rows:
            batches.append(reader.read_next_batch())
        self._file.seek(0, 2)
        return pa.Table.from_batches(batches, self._schema)

    def clear(self) -> None:
        """Forget all rows."""
        if self._file is not None:
            self._file.close()
        self._file = self._writer = None
        self.rows = self.bytes = 0
