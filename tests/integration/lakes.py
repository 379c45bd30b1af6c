"""Data lakes that programs write, and the rows that readers find in them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog

from tidemill.engine.snapshots.fsspec_storage import opened

__all__ = ["Lake"]


@dataclass
class Lake:
    """A dataset or table in a storage."""

    kind: str
    url: str
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    catalogs: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """Those of Iceberg, by table: a process that is paused may hold the lock of one."""
    _seen: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Files that were read before: none changes."""

    def rows(self, name: str = "sales") -> list[dict[str, Any]]:
        """Return all rows that a reader of a dataset, or of the table with this name, sees."""
        if self.kind == "iceberg":
            catalog = load_catalog(**self.catalogs[name])
            known = catalog.table_exists(f"lake.{name}")
            return catalog.load_table(f"lake.{name}").scan().to_arrow().to_pylist() if known else []
        if self.kind == "delta":
            place, options = f"{self.url}/{name}", dict(self.environment)
            known = DeltaTable.is_deltatable(place, storage_options=options)
            return DeltaTable(place, storage_options=options).to_pyarrow_table().to_pylist() if known else []
        return self._files()

    def _files(self) -> list[dict[str, Any]]:
        """Return all rows that a reader of plain Parquet files sees."""
        storage = opened(self.url)
        found = [path for path in storage.list("") if not any(part[0] in "._" for part in path.split("/"))]
        with tempfile.TemporaryDirectory() as folder:
            for path in found:
                if path not in self._seen:
                    self._seen[path] = storage.read(path)
                place = Path(folder) / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(self._seen[path])
            if not found:
                return []
            return ds.dataset(folder, format="parquet", partitioning="hive").to_table().to_pylist()
