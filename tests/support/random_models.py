"""Random data models with values: structs with fields of Avro types, and evolved versions of them."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Optional

import msgspec
from hypothesis import strategies as st

__all__ = ["Case", "Colour", "evolutions", "models"]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct, frozen=True):
    x: int
    y: float = 0.0


class Line(msgspec.Struct, frozen=True):
    points: list[Point]


@dataclass(frozen=True)
class Field:
    kind: Any
    values: st.SearchStrategy[Any]


EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
TIMES = st.integers(-(2**51), 2**52).map(lambda us: EPOCH + dt.timedelta(microseconds=us))
DECIMALS = st.integers(-(10**9), 10**9).map(lambda n: decimal.Decimal(n).scaleb(-2))
POINTS = st.builds(Point, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
ATOMS = (
    Field(bool, st.booleans()),
    Field(int, st.integers(-(2**63), 2**63 - 1)),
    Field(float, st.floats(allow_nan=False)),
    Field(str, st.text()),
    Field(bytes, st.binary()),
    Field(dt.datetime, TIMES),
    Field(dt.date, st.dates(dt.date(1600, 1, 1))),
    Field(uuid.UUID, st.uuids()),
    Field(Annotated[decimal.Decimal, msgspec.Meta(extra={"precision": 12, "scale": 2})], DECIMALS),
    Field(Colour, st.sampled_from(Colour)),
    Field(Point, POINTS),
)


def lists(of: Field) -> Field:
    return Field(list[of.kind], st.lists(of.values, max_size=4))


def maps(of: Field) -> Field:
    return Field(dict[str, of.kind], st.dictionaries(st.text(), of.values, max_size=4))


def optional(of: Field) -> Field:
    return Field(Optional[of.kind], st.none() | of.values)  # noqa: UP045  # of a type that is known later


FIELDS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(inner.map(lists), inner.map(maps), inner.map(optional)),
    max_leaves=3,
)
NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)


@dataclass(frozen=True)
class Case:
    """A model, its fields, and a value."""

    model: Any
    fields: dict[str, Field]
    value: Any


def struct(fields: dict[str, Field], defaults: dict[str, Any], name: str = "Model") -> Any:
    ordered = [(n, f.kind) for n, f in fields.items() if n not in defaults]
    ordered += [(n, f.kind, defaults[n]) for n, f in fields.items() if n in defaults]
    return msgspec.defstruct(name, ordered, frozen=True)


@st.composite
def models(draw: st.DrawFn) -> Case:
    """Draw a model and one of its values."""
    fields = {name: draw(FIELDS) for name in draw(NAMES)}
    model = struct(fields, {})
    return Case(model, fields, model(**{name: draw(field.values) for name, field in fields.items()}))


SIMPLE = st.sampled_from([Field(int, st.integers(0, 9)), Field(str, st.text(max_size=3)), Field(bool, st.booleans())])


@st.composite
def evolutions(draw: st.DrawFn) -> tuple[Case, Any, dict[str, Any]]:
    """Draw a case, an evolved model with fields added and removed, and the defaults of the added fields."""
    case = draw(models())
    kept = {name: field for name, field in case.fields.items() if draw(st.booleans())}
    added = {f"new_{name}": draw(SIMPLE) for name in draw(NAMES)}
    defaults = {name: draw(field.values) for name, field in added.items()}
    return case, struct({**kept, **added}, defaults, draw(st.sampled_from(["Model", "Renamed"]))), defaults
