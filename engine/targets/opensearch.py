"""OpenSearch as a target: the rows of a table, each a document of an index."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar, Final
from urllib.parse import urlsplit

from ...operators.errors import TopologyError
from ...operators.graph.target import Target, TargetInput, TargetSession, TargetTask
from ...operators.serdes.base import float64, int64, raw, utf8, uuid

__all__ = ["OpenSearch", "opensearch"]

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}")
NO_OBJECTS: Final = (float64, int64, raw, utf8, uuid)
"""Serdes of values that are no objects of JSON."""


@dataclass(frozen=True)
class OpenSearch(Target):
    """An index of OpenSearch. `opensearch` makes it."""

    kind: ClassVar[str] = "opensearch"

    url: str
    index: str
    ca_certs: str | None
    positions: str

    def __repr__(self) -> str:
        return f"opensearch(index={self.index!r})"  # a URL may have a password

    def accept(self, given: TargetInput) -> OpenSearch:
        if not given.table:
            raise TopologyError(
                f"tm.opensearch(index={self.index!r}) keeps the rows of a table, and this is a stream: use "
                ".to_table(), or an aggregate"
            )
        if any(given.value is one for one in NO_OBJECTS):
            raise TopologyError(
                f"tm.opensearch(index={self.index!r}) writes documents, and the values are no objects: give them "
                'fields, such as .map_values(lambda value: {"value": value}, value=tm.json)'
            )
        return self

    def open(self, task: TargetTask, epoch: str) -> TargetSession:
        module = import_module(f"{__package__}.opensearch_session")
        session: TargetSession = module.opened(self, task, epoch)
        return session


def opensearch(url: str, index: str, *, ca_certs: str | None = None, positions: str = "tidemill-positions") -> Target:
    """Return an index of OpenSearch as the target of a table's sink, exactly once.

    Each row is a document: its id is the key as text, with `:start:end` for a window. Values are objects of JSON. A row
    that is deleted has no document. Each write of a document has a version, by which OpenSearch refuses older ones;
    the position is a document in an index of its own.

    Args:
        url: The server, with user and password if it needs them: https://user:password@search:9200.
        index: The index, which is created if it does not exist. Only one sink may write a row of it.
        ca_certs: A file with the certificates of authorities for https, instead of the ones that are well known.
        positions: The index for the positions, which several sinks may share.

    Raises:
        TopologyError: An argument is wrong, or opensearch-py is not installed.

    Example:
        >>> search = tm.opensearch("https://localhost:9200", index="customers")
        >>> customers.sink(search).named("customers-in-search")
    """
    if find_spec("opensearchpy") is None:
        raise TopologyError(
            "tm.opensearch needs opensearch-py, which is not installed: pip install 'tidemill[opensearch]'"
        )
    for text, what in ((url, "url"), (index, "index"), (positions, "positions"), (ca_certs or "-", "ca_certs")):
        if not isinstance(text, str) or not text:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f"tm.opensearch({what}=) takes a text, not {text!r}")
    if not _is_address(url):
        raise TopologyError(
            "tm.opensearch(url=) takes a URL as http://host:port or https://user:password@host:port"
        )  # the URL is not shown, since it may have a password
    for name, what in ((index, "index"), (positions, "positions")):
        if NAME.fullmatch(name) is None:
            raise TopologyError(
                f"tm.opensearch({what}=) takes the name of an index in lower case, of letters, digits, '.', '_' and "
                f"'-', not {name!r}"
            )
    if index == positions:
        raise TopologyError(f"tm.opensearch(index={index!r}): the positions need another index: positions=")
    return OpenSearch(url, index, ca_certs, positions)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    whole = (parts.username is None) == (parts.password is None)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not parts.query and whole
