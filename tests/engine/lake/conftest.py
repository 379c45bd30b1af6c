"""Tables for the tests of this folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.object_stores.places import Places

from .table_formats import OPEN, DeltaFormat, IcebergFormat


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def delta(tmp_path: Path) -> DeltaFormat:
    return DeltaFormat(f"file://{tmp_path}/lake/views")


@pytest.fixture
def iceberg(tmp_path: Path) -> IcebergFormat:
    return IcebergFormat({**catalog(tmp_path), "warehouse": f"file://{tmp_path}/lake"})


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path: Path, places: Places) -> DeltaFormat | IcebergFormat:
    """The place of a table, by its format and storage."""
    kind, _, storage = request.param.partition("-")
    if storage == "file":
        return request.getfixturevalue(kind)
    place = places.at("s3-apart" if kind == "delta" else "s3", f"{uuid.uuid4().hex}/views")
    if kind == "delta":
        return DeltaFormat(place.url, place.environment)
    access = {"s3.access-key-id": "a", "s3.secret-access-key": "b", "s3.region": "us-east-1"}
    server = {"warehouse": place.url, "s3.endpoint": place.environment["AWS_ENDPOINT_URL"]}
    return IcebergFormat({**catalog(tmp_path), **access, **server})


def catalog(folder: Path) -> dict[str, str]:
    return {"name": "lake", "type": "sql", "uri": f"sqlite:///{folder}/catalog.db"}
