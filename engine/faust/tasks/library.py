"""The parts of Faust that this package builds on, as untyped names.

Faust is an extra: only modules of this package import it, and only `tidemill faust` imports this package. Its types are
too loose for strict checking, so that they are not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

__all__ = [
    "TP",
    "App",
    "ChannelT",
    "ChangeloggedSet",
    "ChangeloggedSetManager",
    "Conductor",
    "Event",
    "EventT",
    "FutureMessage",
    "ImproperlyConfigured",
    "KeyDecodeError",
    "Message",
    "Producer",
    "RecordMetadata",
    "Router",
    "ReplyConsumer",
    "Service",
    "Settings",
    "Skip",
    "Store",
    "Stream",
    "TableManager",
    "ThrowableQueue",
    "Topic",
    "Transport",
    "URL",
    "ValueDecodeError",
    "current_event",
    "current_event_variable",
    "find_app",
    "maybe_async",
    "maybe_model",
    "version",
    "want_seconds",
]


def named(module: str, name: str) -> Any:
    """Return a name of one of Faust's modules."""
    return getattr(import_module(module), name)


version: Final[str] = named("faust", "__version__")
App: Final[Any] = named("faust.app", "App")
Settings: Final[Any] = named("faust.types.settings", "Settings")
Service: Final[Any] = named("mode", "Service")
ThrowableQueue: Final[Any] = named("mode.utils.queues", "ThrowableQueue")
maybe_async: Final[Any] = named("mode.utils.futures", "maybe_async")
want_seconds: Final[Any] = named("mode", "want_seconds")

Stream: Final[Any] = named("faust.streams", "Stream")
current_event: Final[Any] = named("faust.streams", "current_event")
current_event_variable: Final[Any] = named("faust.streams", "_current_event")
Event: Final[Any] = named("faust.events", "Event")
ReplyConsumer: Final[Any] = named("faust.agents.replies", "ReplyConsumer")
TableManager: Final[Any] = named("faust.tables.manager", "TableManager")
ChangeloggedSet: Final[Any] = named("faust.tables.sets", "ChangeloggedSet")
ChangeloggedSetManager: Final[Any] = named("faust.tables.sets", "ChangeloggedSetManager")
Store: Final[Any] = named("faust.stores.base", "Store")

Transport: Final[Any] = named("faust.transport.base", "Transport")
Producer: Final[Any] = named("faust.transport.producer", "Producer")
Conductor: Final[Any] = named("faust.transport.conductor", "Conductor")

Router: Final[Any] = named("faust.app.router", "Router")

Topic: Final[Any] = named("faust.topics", "Topic")
TP: Final[Any] = named("faust.types", "TP")
EventT: Final[Any] = named("faust.types", "EventT")
ChannelT: Final[Any] = named("faust.types", "ChannelT")
RecordMetadata: Final[Any] = named("faust.types", "RecordMetadata")
Message: Final[Any] = named("faust.types.tuples", "Message")
FutureMessage: Final[Any] = named("faust.types.tuples", "FutureMessage")
ImproperlyConfigured: Final[Any] = named("faust.exceptions", "ImproperlyConfigured")
KeyDecodeError: Final[Any] = named("faust.exceptions", "KeyDecodeError")
ValueDecodeError: Final[Any] = named("faust.exceptions", "ValueDecodeError")
maybe_model: Final[Any] = named("faust.models", "maybe_model")
Skip: Final[Any] = named("faust.exceptions", "Skip")
URL: Final[Any] = named("yarl", "URL")
find_app: Final[Any] = named("faust.cli.base", "find_app")
