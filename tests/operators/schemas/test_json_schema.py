"""Tests of JSON Schema: round trips, and values that do not match a schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pydantic
import pytest
from hypothesis import given

import tidemill as tm
from tests.support.examples import examples
from tests.support.random_models import Case, models
from tidemill.operators.schemas.json_schema import JsonSchema
from tidemill.operators.schemas.schema import Schema


class Inner(msgspec.Struct):
    name: str


class Visit(msgspec.Struct):
    page: str
    seconds: float = 0.0
    inner: Inner | None = None


class Tree(msgspec.Struct):
    left: Tree | None = None


class Model(pydantic.BaseModel):
    page: str
    seconds: float = 0.0


def form(model: Any = Any, schema: Any = None, *, validate: bool = True) -> JsonSchema:
    return JsonSchema(model, schema, {}, validate=validate)


def schema_of(made: JsonSchema) -> Schema:
    assert made.schema is not None
    return made.schema


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (Visit, Visit("/", 1.5, Inner("x"))),
        (Tree, Tree(Tree())),
        (Model, Model(page="/")),
        (list[int], [1, 2]),
    ],
)
def test_models_of_each_kind(model: Any, value: Any) -> None:
    made = form(model)
    data = made.writer(schema_of(made))(value)
    assert made.reader(schema_of(made))(data) == value
    jsonschema.validate(json.loads(data), json.loads(schema_of(made).text))


@examples(50)
@given(models())
def test_values_of_random_models_fit_their_schema_and_come_back(case: Case) -> None:
    made = form(case.model)
    try:
        data = made.writer(schema_of(made))(case.value)
    except ValueError as error:
        assert "JSON has no" in str(error), "infinity"  # noqa: PT017
        return
    assert made.reader(schema_of(made))(data) == case.value


def test_the_name_of_the_record_is_the_title() -> None:
    assert form(Visit).name == "Visit"
    assert form(Tree).name == "Tree"
    assert form(schema={"type": "object"}).name is None


def test_a_value_that_does_not_fit_is_refused_in_both_directions() -> None:
    made = form(schema={"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}})
    with pytest.raises(ValueError, match=r"does not fit its schema at \['n'\]: -1 is less than"):
        made.writer(schema_of(made))({"n": -1})
    with pytest.raises(ValueError, match="does not fit its schema"):
        made.reader(schema_of(made))(b'{"n": "x"}')
    loose = form(schema=json.loads(schema_of(made).text), validate=False)
    assert loose.reader(schema_of(made))(b'{"n": "x"}') == {"n": "x"}


def test_references() -> None:
    city = {"type": "object", "required": ["name"]}
    schema = {"type": "object", "properties": {"city": {"$ref": "city.json"}}}
    made = JsonSchema(Any, schema, {"city.json": ("city", 1, json.dumps(city))}, validate=True)
    assert made.reader(schema_of(made))(b'{"city": {"name": "Ulm"}}') == {"city": {"name": "Ulm"}}
    with pytest.raises(ValueError, match='"name" is a required property'):
        made.reader(schema_of(made))(b'{"city": {}}')


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(tm.TopologyError, match="is no JSON Schema"):
        form(schema={"type": "nothing"})
