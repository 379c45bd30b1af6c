"""Checks of the arguments that all lakes take."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from ...operators.errors import TopologyError
from ...operators.time.durations import Duration, parse_duration
from ..config.sizes import Size, parse_size
from ..errors import ConfigError
from ..targets.staging import Roll

__all__ = ["check_packages", "check_partition_columns", "names_of", "parse_roll"]


def check_packages(lake: str, *packages: str) -> None:
    """Raise TopologyError for a package that the extra `lake` installs and that is missing."""
    for package in packages:
        if find_spec(package) is None:
            raise TopologyError(f"tm.{lake} needs {package}, which is not installed: pip install 'tidemill[{lake}]'")


def parse_roll(lake: str, roll: Duration, roll_size: Size) -> Roll:
    """Return when staged rows are written. Raises TopologyError."""
    try:
        return Roll(
            parse_duration(roll, f"tm.{lake}(roll=)", at_least=1),
            parse_size(roll_size, f"tm.{lake}(roll_size=)", at_least=1),
        )
    except ConfigError as error:
        raise TopologyError(str(error)) from error


def names_of(partition_by: Sequence[str] | str) -> tuple[str, ...]:
    """Return the names in `partition_by`, which may be one name."""
    return (partition_by,) if isinstance(partition_by, str) else tuple(partition_by)


def check_partition_columns(partition_by: Sequence[str], columns: Sequence[str], where: str) -> None:
    """Raise TopologyError for a name that is not a column; `where` begins the message."""
    if unknown := [name for name in partition_by if name not in columns]:
        raise TopologyError(f"{where}: partition_by names {unknown[0]!r}; the columns are {', '.join(columns)}")
