"""Loads a Faust application, and refuses what it cannot do here."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError, TopologyError
from .tasks import library

__all__ = ["find_topics", "given_settings", "load_application", "refuse_unsupported"]

LOG: Final = logging.getLogger("tidemill.faust")


def load_application(target: str, datadir: str | None) -> Any:
    """Import a Faust application and the modules with its agents, as Faust's own command does.

    Raises ConfigError if there is none.
    """
    try:
        app: Any = library.find_app(target)
    except (ImportError, AttributeError) as failure:
        raise ConfigError(f"-A {target}: there is no Faust application: {failure}") from failure
    if not isinstance(app, library.App):
        raise ConfigError(f"-A {target}: this is no faust.App, but of type {type(app).__name__}")
    if datadir is not None:
        app.conf.datadir = Path(datadir)
    app.worker_init()
    if app.conf.autodiscover:
        app.discover()
    app.worker_init_post_autodiscover()
    return app


def given_settings(app: Any) -> Mapping[str, Any]:
    """Return the settings that the application gives itself."""
    _, options = app._default_options
    source = app._config_source
    return {**options, **(app._load_settings_from_source(source, silent=True) if source else {})}


def find_topics(app: Any, existing: Collection[str]) -> None:
    """Give agents that read topics by a pattern those that exist.

    Raises TopologyError for a pattern that no topic matches.
    """
    for agent in app.agents.values():
        pattern = getattr(agent.channel, "pattern", None)
        if pattern is None:
            continue
        found = sorted(name for name in existing if not name.startswith("__") and pattern.match(name))
        if not found:
            raise TopologyError(
                f"agent {agent.name!r}: no topic matches the pattern {pattern.pattern!r}; topics that are made later "
                "are found at the next start"
            )
        agent.channel.pattern = None
        agent.channel.topics = found
        LOG.info("agent %r: the pattern %r matches %s", agent.name, pattern.pattern, ", ".join(found))


def refuse_unsupported(app: Any, *, snapshots_only: bool) -> None:
    """Raise TopologyError for what the application declares and cannot have here.

    With `snapshots_only`, stores have no changelogs.
    """
    problems: list[str] = []
    for table in app.tables.values():
        name = table.name
        if table.is_global and hasattr(table, "start_manager"):
            problems.append(
                f"SetGlobalTable {name!r}: sets that all workers change are not supported: use a SetTable, or a "
                "GlobalTable of lists"
            )
        if table.is_global and snapshots_only:
            problems.append(f"GlobalTable {name!r}: it is read from changelogs: set durability=changelog")
        if table.use_partitioner:
            problems.append(
                f"table {name!r}: use_partitioner=True changes rows of partitions that other workers may have"
            )
        if table._on_changelog_event is not None:
            problems.append(f"table {name!r}: on_changelog_event= is not supported: the engine reads changelogs")
        if (
            table._changelog_topic is not None
            and table._changelog_topic.get_topic_name() != table._changelog_topic_name()
        ):
            problems.append(f"table {name!r}: changelog_topic= is not supported: the engine names changelogs")
    for agent in app.agents.values():
        channel = agent.channel
        if getattr(channel, "acks", True) is False:
            problems.append(f"agent {agent.name!r}: a topic with acks=False is not supported: offsets are committed")
    if problems:
        raise TopologyError("the Faust application cannot run on Tidemill:\n" + "\n".join(problems))
