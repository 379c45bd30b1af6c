"""Stream processing over Kafka: topologies in Python, keyed state, exactly once."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from .app import App
from .engine.errors import (
    ConfigError,
    Fatal,
    Fenced,
    RecordError,
    Retryable,
    StateCorrupt,
    StateUnusable,
    TidemillError,
    TopologyError,
)
from .engine.history.history import history
from .engine.lake.delta import delta
from .engine.lake.iceberg import iceberg
from .engine.lake.parquet import parquet
from .engine.registry.registry import SchemaRegistry
from .engine.targets.opensearch import opensearch
from .engine.targets.postgres import postgres
from .engine.targets.redis import redis
from .engine.version import VERSION as __version__
from .operators.aggregates.aggregators import Aggregator, collect, count, first, last, max, mean, min, sum
from .operators.aggregates.sketches import count_distinct, quantile, top
from .operators.building.sources import Pattern
from .operators.changes.change import RowChange
from .operators.changes.debezium import debezium, debezium_key
from .operators.dsl.builder import Builder, pattern
from .operators.dsl.cogrouped import Cogrouped, WindowedCogrouped
from .operators.dsl.grouped import Grouped, TableGrouped
from .operators.dsl.handle import Handle
from .operators.dsl.stream import Joined, Processed, Stream
from .operators.dsl.table import GlobalTable, Table, WindowedTable
from .operators.dsl.windowed import WindowedStream
from .operators.events.cloud_event import CloudEvent
from .operators.events.cloudevents import cloudevents
from .operators.graph.calls import CallContext
from .operators.graph.circuit_breaker import CircuitBreaker
from .operators.graph.history import History
from .operators.graph.target import (
    RecordsRefused,
    Target,
    TargetFenced,
    TargetInput,
    TargetSession,
    TargetTask,
    TargetUnavailable,
)
from .operators.graph.topology import Topology
from .operators.policy import ErrorPolicy, fail, skip
from .operators.processors.list_state import ListState
from .operators.processors.processor import Context, Processor, Side, side
from .operators.processors.states import MapState, ValueState
from .operators.processors.versioned_state import VersionedState
from .operators.processors.window_state import WindowState
from .operators.record import Record, SourceRecord, Windowed
from .operators.serdes.auto import auto
from .operators.serdes.base import Serde, float64, int64, raw, utf8, uuid
from .operators.serdes.json import json
from .operators.serdes.msgpack import msgpack
from .operators.stores.versions import Version
from .operators.time.calendars import CalendarWindows, calendar
from .operators.time.event_time import FromRecord, from_record
from .operators.time.every import Every, every
from .operators.time.watermark import Watermark, bounded
from .operators.time.windows import SessionWindows, SlidingWindows, TimeWindows, hopping, session, sliding, tumbling

if _TYPE_CHECKING:
    from . import testing

__all__ = [
    "Aggregator",
    "App",
    "Builder",
    "CalendarWindows",
    "CallContext",
    "CircuitBreaker",
    "CloudEvent",
    "Cogrouped",
    "ConfigError",
    "Context",
    "ErrorPolicy",
    "Every",
    "Fatal",
    "Fenced",
    "FromRecord",
    "GlobalTable",
    "Grouped",
    "Handle",
    "History",
    "Joined",
    "ListState",
    "MapState",
    "Pattern",
    "Processed",
    "Processor",
    "Record",
    "RecordError",
    "RecordsRefused",
    "Retryable",
    "RowChange",
    "SchemaRegistry",
    "Serde",
    "SessionWindows",
    "Side",
    "SlidingWindows",
    "SourceRecord",
    "StateCorrupt",
    "StateUnusable",
    "Stream",
    "Table",
    "TableGrouped",
    "Target",
    "TargetFenced",
    "TargetInput",
    "TargetSession",
    "TargetTask",
    "TargetUnavailable",
    "TidemillError",
    "TimeWindows",
    "Topology",
    "TopologyError",
    "ValueState",
    "Version",
    "VersionedState",
    "Watermark",
    "WindowState",
    "Windowed",
    "WindowedCogrouped",
    "WindowedStream",
    "WindowedTable",
    "__version__",
    "auto",
    "bounded",
    "calendar",
    "cloudevents",
    "collect",
    "count",
    "count_distinct",
    "debezium",
    "debezium_key",
    "delta",
    "every",
    "fail",
    "first",
    "float64",
    "from_record",
    "history",
    "hopping",
    "iceberg",
    "int64",
    "json",
    "last",
    "max",
    "mean",
    "min",
    "msgpack",
    "opensearch",
    "parquet",
    "pattern",
    "postgres",
    "quantile",
    "raw",
    "redis",
    "session",
    "side",
    "skip",
    "sliding",
    "sum",
    "testing",
    "top",
    "tumbling",
    "utf8",
    "uuid",
]


def __getattr__(name: str) -> object:
    """Load `tm.testing` when it is first used: it loads the engine."""
    if name == "testing":
        return _import_module(f"{__name__}.testing")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
