"""URLs of snapshot stores: the supported schemes, and the package that each needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ...operators.suggest import did_you_mean
from ..errors import ConfigError

__all__ = ["SCHEMES", "checked_url", "missing_package"]


@dataclass(frozen=True)
class Scheme:
    """One kind of snapshot store."""

    package: str
    """The module that fsspec uses for it, "" for none."""
    extra: str
    """The extra to install: `pip install 'tidemill[extra]'`."""
    example: str


SCHEMES: Final[Mapping[str, Scheme]] = {
    "file": Scheme("", "snapshots", "file:///mnt/backup/tidemill"),
    "s3": Scheme("s3fs", "s3", "s3://bucket/prefix"),
    "gs": Scheme("gcsfs", "gs", "gs://bucket/prefix"),
    "abfs": Scheme("adlfs", "abfs", "abfs://container@account.dfs.core.windows.net/prefix"),
    "hdfs": Scheme("hdfs_native", "hdfs", "hdfs://namenode:8020/prefix"),
}


def checked_url(value: object, what: str) -> str:
    """Return the URL of a snapshot store, without a trailing slash. Raises ConfigError."""
    if isinstance(value, Path):
        raise ConfigError(f"{what}: {value} is a path; write 'file://{value.absolute()}'")
    if not isinstance(value, str) or "://" not in value:
        hint = f"; write 'file://{Path(value).absolute()}'" if isinstance(value, str) and value[:1] in "/.~" else ""
        raise ConfigError(f"{what}: {value!r} is not a URL such as 's3://bucket/prefix'{hint}")
    scheme, _, rest = value.partition("://")
    known = SCHEMES.get(scheme)
    if known is None:
        raise ConfigError(
            f"{what}: {value!r} has the unknown scheme {scheme!r}{did_you_mean(scheme, SCHEMES, listing=False)}; it is "
            f"one of {', '.join(f'{name}://' for name in SCHEMES)}"
        )
    if not rest.strip("/") or (scheme == "file" and not rest.startswith("/")):
        raise ConfigError(f"{what}: {value!r} does not say where to keep snapshots; write {known.example!r}")
    return f"{scheme}://{rest.rstrip('/')}"


def missing_package(url: str, installed: Callable[[str], bool] = lambda name: find_spec(name) is not None) -> str:
    """Return what must be installed before a checked URL can be used; "" if nothing is missing."""
    scheme = SCHEMES[url.partition("://")[0]]
    missing = [name for name in ("fsspec", scheme.package) if name and not installed(name)]
    if not missing:
        return ""
    what = (
        f"the package {missing[0]}, which is" if len(missing) == 1 else f"the packages {', '.join(missing)}, which are"
    )
    return f"{url!r} needs {what} not installed: pip install 'tidemill[{scheme.extra}]'"
