"""The schemas of a registry that a process has, and the thread that gets others.

The first record of a schema waits for it a moment. If the registry does not answer by then, the record is kept (a serde
raises Retryable) and the thread asks again until it does: nothing that is processed waits for HTTP.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from queue import SimpleQueue
from threading import Event, Lock
from typing import Final, Protocol

from ...operators.schemas.framing import CONFLUENT, Framing, SchemaId
from ...operators.schemas.schema import Reference, RegisteredSchema, Schema, UnknownSchema
from ...operators.time.durations import format_duration
from ..clock import SYSTEM, Clock
from ..errors import ConfigError, Retryable, TopologyError
from ..threads import Thread
from .figures import RegistryFigures
from .refusals import conflict, key_conflict, not_registered, nothing_registered

__all__ = ["RegistryCalls", "SchemaCache"]

LOG = logging.getLogger("tidemill.registry")
WAIT_SECONDS: Final = 0.5
"""How long the first record of a schema waits for it."""
PAUSE_MS: Final = 100
LONGEST_PAUSE_MS: Final = 5_000
REMIND_MS: Final = 10_000
UNKNOWN_MS: Final = 10_000
"""How long an id counts as unknown before the registry is asked again."""


class RegistryCalls(Protocol):
    """What is asked of a registry; see `client.py`."""

    @property
    def url(self) -> str: ...
    def by_id(self, schema_id: SchemaId) -> Schema: ...
    def latest(self, subject: str) -> RegisteredSchema | None: ...
    def look_up(self, subject: str, schema: Schema) -> RegisteredSchema | None: ...
    def register(self, subject: str, schema: Schema) -> RegisteredSchema: ...


class SchemaCache:
    """The schemas of one registry. Thread-safe."""

    def __init__(
        self,
        client: RegistryCalls,
        refused: type[Exception],
        size: int,
        clock: Clock = SYSTEM,
        wait: float = WAIT_SECONDS,
        framing: Framing = CONFLUENT,
    ) -> None:
        """Keep up to `size` schemas; the client raises `refused` for one that does not fit."""
        self.client = client
        self.framing = framing
        self.figures = RegistryFigures(client.url)
        self._refused = refused
        self._size = size
        self._clock = clock
        self._wait = wait
        self._lock = Lock()
        self._found: dict[SchemaId, Schema] = {}
        self._unknown: dict[SchemaId, tuple[str, int]] = {}
        self._asked: dict[SchemaId, Event] = {}
        self._queue: SimpleQueue[SchemaId] = SimpleQueue()
        self._thread: Thread | None = None
        self._why = ""
        self._down: int | None = None
        self._reminded = 0

    def by_id(self, schema_id: SchemaId) -> Schema:
        """Return a schema.

        Raises Retryable while the registry does not answer, UnknownSchema if it has none.
        """
        schema = self._here(schema_id)
        if schema is not None:
            return schema
        with self._lock:
            event = self._asked.get(schema_id)
            first = event is None
            if event is None:
                event = self._asked[schema_id] = Event()
                self._queue.put(schema_id)
            if self._thread is None:
                self._thread = Thread("tidemill-registry", self._run)
                self._thread.start()
        self._thread.check()
        if first:
            event.wait(self._wait)
        schema = self._here(schema_id)
        if schema is None:
            raise Retryable(self._why or f"the schema registry at {self.client.url} has not answered yet")
        return schema

    def _here(self, wanted: SchemaId) -> Schema | None:
        schema = self._found.get(wanted)
        if schema is None and wanted in self._unknown:
            text, until = self._unknown[wanted]
            if self._clock.monotonic() < until:
                raise UnknownSchema(text)
        return schema

    def _run(self) -> None:
        pause = PAUSE_MS
        while True:
            wanted = self._queue.get()
            try:
                schema = self.client.by_id(wanted)
            except UnknownSchema as error:
                self._unknown[wanted] = str(error), self._clock.monotonic() + UNKNOWN_MS
            except (Retryable, ConfigError) as failure:
                self._failed(str(failure))
                self._clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_MS)
                self._queue.put(wanted)  # behind others, which may be had
                continue
            else:
                if len(self._found) >= self._size:
                    del self._found[next(iter(self._found))]
                self._found[wanted] = schema
            pause = PAUSE_MS
            self._answered()
            with self._lock:
                self._asked.pop(wanted).set()

    def _failed(self, why: str) -> None:
        now = self._clock.monotonic()
        self._why = why
        self.figures.failures += 1
        if self._down is None or now - self._reminded >= REMIND_MS:
            self._reminded = now
            LOG.warning("%s. Records that need a schema of it wait, and are processed once it answers", why)
        if self._down is None:
            self._down = now
            self.figures.up = False

    def _answered(self) -> None:
        self.figures.requests += 1
        if self._down is not None:
            down = format_duration((self._clock.monotonic() - self._down) // 1000 * 1000)
            LOG.info("the schema registry at %s answers again, after %s", self.client.url, down)
        self._down, self._why, self.figures.up = None, "", True

    def to_write(self, subject: str, schema: Schema | None, *, register: bool, key: bool) -> RegisteredSchema:
        """Return the schema to write with: the one given, or the latest of the subject.

        Waits for the answer. Raises Retryable if there is none, TopologyError if the schema cannot be used.
        """
        try:
            found = self._to_write(subject, schema, register=register, key=key)
        except Retryable:
            self.figures.failures += 1
            self.figures.up = False
            raise
        self._answered()
        return found

    def _with_needs(self, schema: Schema, register: bool) -> Schema:
        """Return a schema with references to what it needs, registered if that is wanted."""
        if not schema.needs:
            return schema
        references: list[Reference] = []
        for name, each in schema.needs:
            found = self._to_write(name, each, register=register, key=False)
            references.append(Reference(name, name, found.version))
        return replace(schema, references=tuple(references), needs=())

    def _to_write(self, subject: str, schema: Schema | None, *, register: bool, key: bool) -> RegisteredSchema:
        client = self.client
        if schema is None:
            found = client.latest(subject)
            if found is None:
                raise TopologyError(nothing_registered(subject, client.url))
            return found
        schema = self._with_needs(schema, register)
        found = client.look_up(subject, schema)
        if found is not None:
            return replace(found, schema=schema)
        if not register:
            raise TopologyError(not_registered(subject, client.url))
        before = client.latest(subject)
        if key and before is not None:
            raise TopologyError(key_conflict(subject, before, schema))
        try:
            return client.register(subject, schema)
        except self._refused as error:
            raise TopologyError(conflict(subject, before, schema, str(error))) from error
