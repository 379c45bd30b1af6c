"""What a stream program means: records, serdes, the graph of steps, and the steps themselves. No input or output."""

from .aggregators import Aggregator, collect, count, first, last, max, mean, min, sum
from .builder import Builder, pattern
from .calendars import CalendarWindows, calendar
from .draft import Pattern
from .errors import ConfigError, RecordError, TidemillError, TopologyError
from .event_time import FromRecord, from_record
from .every import Every, every
from .policy import ErrorPolicy, fail, skip
from .processor import Context, Processor, Side, side
from .record import Record, SourceRecord, Windowed
from .serde import Serde, float64, int64, raw, utf8, uuid
from .serde_auto import auto
from .serde_json import json
from .serde_msgpack import msgpack
from .sketches import count_distinct, quantile, top
from .states import ListState, MapState, ValueState
from .stream import (
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
from .topology import Topology
from .versioned_state import VersionedState
from .versions import Version
from .watermark import Watermark, bounded
from .window_state import WindowState
from .windows import SessionWindows, SlidingWindows, TimeWindows, hopping, session, sliding, tumbling

__all__ = [
    "Aggregator",
    "Builder",
    "CalendarWindows",
    "Cogrouped",
    "ConfigError",
    "Context",
    "ErrorPolicy",
    "Every",
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
    "Serde",
    "SessionWindows",
    "Side",
    "SlidingWindows",
    "SourceRecord",
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
    "top",
    "tumbling",
    "utf8",
    "uuid",
]
