"""The indices of a sink to OpenSearch: made, and checked.

Imported only where OpenSearch is a target, because it needs the extra `opensearch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .opensearch import OpenSearch
from .opensearch_client import OpenSearchClient, about

__all__ = ["prepare"]

LEAST: Final = "1h"
"""How long OpenSearch is to know the version of a document that was deleted."""
LEAST_MS: Final = 3_600_000
UNITS: Final = {"nanos": 0, "micros": 0, "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""Those of OpenSearch, in ms."""
KEYWORDS: Final = ("application", "sink", "topic", "topic_id", "epoch", "index")
POSITIONS: Final[Mapping[str, Any]] = {
    "settings": {"index": {"number_of_shards": 1, "auto_expand_replicas": "0-1"}},
    "mappings": {
        "dynamic": False,
        "properties": {
            **{name: {"type": "keyword"} for name in KEYWORDS},
            **{name: {"type": "long"} for name in ("partition", "position", "generation")},
        },
    },
}
ROWS: Final[Mapping[str, Any]] = {"settings": {"index": {"gc_deletes": LEAST}}}


def prepare(client: OpenSearchClient, target: OpenSearch) -> None:
    """Create the indices that do not exist, and check them.

    Raises ConfigError if they may lose what they have, or take an older version.
    """
    for index, body in ((target.positions, POSITIONS), (target.index, ROWS)):
        found = _settings(client, index)
        if not found:
            _create(client, index, body)
            found = _settings(client, index)
        for settings in found.values():
            if settings.get("index.translog.durability", "request").lower() != "request":
                raise client.misfit(
                    f"the index {index!r} has its last writes in memory only: set index.translog.durability to request"
                )
            if body is ROWS and _ms(settings.get("index.gc_deletes", "60s")) < LEAST_MS:
                raise client.misfit(
                    f"the index {index!r} forgets the versions of documents that were deleted too early: set "
                    f"index.gc_deletes to {LEAST} or more, PUT /{index}/_settings "
                    f'{{"index.gc_deletes": "{LEAST}"}}'
                )


def _settings(client: OpenSearchClient, index: str) -> dict[str, dict[str, str]]:
    """Return the settings of an index, or of those of an alias, by name."""
    settings = {"include_defaults": "true", "flat_settings": "true"}
    found: dict[str, Any] | None = client.asked(
        lambda server: server.indices.get_settings(index=index, params=settings), missing=True
    )
    return {name: {**one.get("defaults", {}), **one["settings"]} for name, one in (found or {}).items()}


def _create(client: OpenSearchClient, index: str, body: Mapping[str, Any]) -> None:
    def create(server: Any) -> Any:
        try:
            return server.indices.create(index=index, body=body)
        except Exception as error:
            if getattr(error, "status_code", None) == 400 and "resource_already_exists" in about(error):
                return None  # another task was earlier
            raise

    client.asked(create)


def _ms(text: str) -> float:
    """Return a duration of OpenSearch, such as 60s, in ms."""
    unit = text.lstrip("0123456789.-")
    return float(text[: len(text) - len(unit)]) * UNITS.get(unit, 1)
