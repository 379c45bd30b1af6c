"""Parquet files in a real HDFS, with a name node that is in safe mode when the task is opened."""

from __future__ import annotations

import uuid

import pytest

import tidemill as tm
from tests.object_stores.hdfs import Hdfs
from tests.object_stores.places import Places
from tests.support.maven import Unavailable
from tidemill.engine.snapshots import fsspec_storage

from .table_formats import View, given, records, session

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hdfs")]


def test_a_name_node_in_safe_mode_is_unavailable_and_waited_for(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        place, cluster = places.at("hdfs", uuid.uuid4().hex), places.server("hdfs")
    except Unavailable as reason:
        pytest.skip(f"left out: {reason}")
    assert isinstance(cluster, Hdfs)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    target = tm.parquet(place.url).accept(given(tm.json(View)))
    first = session(target)
    first.write(records(*(View("ann", float(number)) for number in range(3))), 3)
    cluster.kill_data_nodes()
    cluster.stop_name_node()
    cluster.start_name_node()
    assert cluster.safe_mode
    with monkeypatch.context() as patch:
        patch.setattr(fsspec_storage, "STARTING_SECONDS", 1)
        with pytest.raises(tm.TargetUnavailable, match="safe mode"):
            session(target)
    cluster.start_data_nodes()
    second = session(target)
    assert second.position() == 3
    second.write(records(View("bob", 4.0), first=3), 4)
    with pytest.raises(tm.TargetFenced):
        first.position()
    storage = fsspec_storage.opened(place.url)
    shown = [path for path in storage.list("") if path.endswith(".parquet")]
    assert len(shown) == 2
