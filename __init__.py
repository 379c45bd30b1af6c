"""Stream processing over Kafka: topologies in Python, keyed state, exactly once."""

from . import testing
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
from .engine.version import VERSION as __version__
from .operators.aggregates.aggregators import Aggregator, collect, count, first, last, max, mean, min, sum
from .operators.aggregates.sketches import count_distinct, quantile, top
from .operators.building.draft import Pattern
from .operators.dsl.builder import Builder, pattern
from .operators.dsl.stream import (
    Cogrouped,
    GlobalTable,
    Grouped,
    Handle,
    Joined,
    Processed,
    Stream,
    Table,
    TableGrouped,
    WindowedCogrouped,
    WindowedStream,
    WindowedTable,
)
from .operators.graph.topology import Topology
from .operators.policy import ErrorPolicy, fail, skip
from .operators.processors.processor import Context, Processor, Side, side
from .operators.processors.states import ListState, MapState, ValueState
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

__all__ = [
    "Aggregator",
    "App",
    "Builder",
    "CalendarWindows",
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
    "Joined",
    "ListState",
    "MapState",
    "Pattern",
    "Processed",
    "Processor",
    "Record",
    "RecordError",
    "Retryable",
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
    "collect",
    "count",
    "count_distinct",
    "every",
    "fail",
    "first",
    "float64",
    "from_record",
    "hopping",
    "int64",
    "json",
    "last",
    "max",
    "mean",
    "min",
    "msgpack",
    "pattern",
    "quantile",
    "raw",
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
