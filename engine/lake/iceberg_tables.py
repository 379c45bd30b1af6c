"""Tables of Iceberg: how they are created and completed, and rows in their form.

Imported only where it is a target, because it needs the extra `iceberg`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from ...operators.errors import ConfigError
from .iceberg import Iceberg

__all__ = ["aligned", "make_table", "match"]

CREATED: Final = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
    "write.parquet.compression-codec": "zstd",
}
"""Properties of tables that are created here: each commit leaves a metadata file, and old ones are deleted."""
ATTEMPTS: Final = 10
pa: Final[Any] = import_module("pyarrow")
_errors: Final[Any] = import_module("pyiceberg.exceptions")
_expressions: Final[Any] = import_module("pyiceberg.expressions")
_schemas: Final[Any] = import_module("pyiceberg.io.pyarrow")
_transforms: Final[Any] = import_module("pyiceberg.transforms")


def make_table(catalog: Any, target: Iceberg, where: str) -> None:
    """Create the table if there is none, else add the columns that it lacks.

    Raises ConfigError if it cannot take the rows.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if not catalog.table_exists(target.table):
                if not target.create:
                    raise ConfigError(f"{where}: there is no table {target.table!r} in the catalog")
                _create(catalog, target)
            _complete(catalog.load_table(target.table), target, where)
            return
        except (_errors.CommitFailedException, _errors.TableAlreadyExistsError):  # another task does the same
            if attempt == ATTEMPTS:
                raise


def _create(catalog: Any, target: Iceberg) -> None:
    _create_namespace(catalog, target.table.rpartition(".")[0])
    with catalog.create_table_transaction(target.table, target.layout.schema, properties=CREATED) as transaction:
        if target.partitions:
            with transaction.update_spec() as spec:
                for field in target.partitions:
                    spec.add_field(field.column, _transforms.parse_transform(field.transform))


def _create_namespace(catalog: Any, namespace: str) -> None:
    try:
        catalog.create_namespace_if_not_exists(namespace)
    except Exception:  # another task does the same; each kind of catalog has its own error for it
        if not catalog.namespace_exists(namespace):
            raise


def _complete(table: Any, target: Iceberg, where: str) -> None:
    """Add columns, and widen types."""
    wanted = target.layout.schema
    existing = _schemas.schema_to_pyarrow(table.schema(), include_field_ids=False)
    lacking = [name for name in wanted.names if name not in existing.names]
    if lacking and not target.evolve:
        raise ConfigError(f"{where}: the table lacks the columns {', '.join(lacking)}; evolve=True adds them")
    if target.evolve:
        with table.update_schema() as update:
            update.union_by_name(wanted)
    required = [field.name for field in table.schema().fields if field.required and field.name not in wanted.names]
    if required:
        raise ConfigError(f"{where}: the columns {', '.join(required)} must have values, and the sink writes none")


def aligned(rows: Any, table: Any, where: str) -> Any:
    """Return rows with the columns that a table has now; those that they lack are null.

    Raises ConfigError if the table lacks one, or has another type.
    """
    schema = _schemas.schema_to_pyarrow(table.schema(), include_field_ids=False)
    if lacking := [name for name in rows.column_names if name not in schema.names]:
        raise ConfigError(f"{where}: the table does not have the column {lacking[0]!r} any more")
    columns: list[Any] = []
    for field in schema:
        try:
            present = field.name in rows.column_names
            columns.append(rows.column(field.name).cast(field.type) if present else pa.nulls(rows.num_rows, field.type))
        except (pa.ArrowException, NotImplementedError) as error:
            of = rows.column(field.name).type
            raise ConfigError(
                f"{where}: the column {field.name!r} is {field.type}, the rows have {of}: {error}"
            ) from error
    return pa.table(columns, schema=schema)


def match(keys: Any) -> Any:
    """Return the filter for rows with one of these keys."""
    names = keys.column_names
    if len(names) == 1:
        return _expressions.In(names[0], keys.column(0).to_pylist())
    each = [
        _expressions.And(*(_expressions.EqualTo(name, _literal(row[name])) for name in names))
        for row in keys.to_pylist()
    ]
    return each[0] if len(each) == 1 else _expressions.Or(*each)


def _literal(item: Any) -> Any:
    return item.isoformat() if hasattr(item, "isoformat") else item
