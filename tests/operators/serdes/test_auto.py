"""Tests of Tidemill's own encoding: exact round trips, and decoding only creates data."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support import models
from tests.support.examples import examples
from tidemill.operators.serdes.auto import CLASS, auto_key
from tidemill.operators.serdes.classes import from_parts, to_parts

text = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=5)
atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | text
    | st.binary(max_size=5)
    | st.datetimes(timezones=st.none() | st.just(dt.timezone.utc) | st.just(dt.timezone(dt.timedelta(minutes=-90))))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
    | st.sampled_from([models.Colour.RED, models.Colour.BLUE, models.Level.LOW, models.Word.YES])
)


def containers(inner: Any) -> Any:
    return st.tuples(inner, inner) | st.frozensets(inner, max_size=3) | st.builds(models.Frozen, inner)


hashables = atoms | containers(atoms) | containers(containers(atoms))
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(text, inner, max_size=3)
        | st.dictionaries(hashables, inner, max_size=2)
        | st.sets(hashables, max_size=3)
        | st.builds(models.Open, inner, st.lists(inner, max_size=2))
        | st.builds(models.KeywordOnly, long_name=inner)
        | st.builds(models.Plain, inner)
        | st.builds(models.Slotted, inner)
        | st.builds(models.Pair, inner, inner)
        | st.builds(models.Outer.Inner, inner)
    ),
    max_leaves=6,
)


def types(value: Any) -> Any:
    """Return the types in a value, recursively."""
    if isinstance(value, dict):
        return dict, [(types(key), types(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [types(item) for item in value]
    return type(value)


@given(values)
def test_there_and_back(value: Any) -> None:
    found = tm.auto.decode(tm.auto.encode(value))
    assert found == value
    assert types(found) == types(value)


@given(hashables)
def test_a_key_comes_back_equal(key: Any) -> None:
    assert auto_key.decode(auto_key.encode(key)) == key


numbers = st.integers(-3, 3) | st.sampled_from([0.0, -0.0, 1.0, 1.5, decimal.Decimal("1.0"), decimal.Decimal("-2.00")])
words = st.sampled_from(["yes", models.Word.YES, "no", b"yes", models.Level.LOW])
zones = st.sampled_from([dt.timezone.utc, dt.timezone(dt.timedelta(hours=1))])
moments = st.builds(lambda hour, zone: dt.datetime(2024, 1, 1, hour, tzinfo=zone), st.integers(10, 12), zones)
alike = numbers | words | moments
alike = alike | st.tuples(alike) | st.frozensets(alike, max_size=2)


@examples(500)
@given(alike, alike)
def test_two_keys_have_the_same_bytes_just_when_they_are_equal(one: Any, other: Any) -> None:
    assert (auto_key.encode(one) == auto_key.encode(other)) == (one == other)


@given(text)
def test_text_keys_are_what_any_program_writes(key: str) -> None:
    assert auto_key.encode(key) == key.encode()


def test_a_key_that_is_not_text_is_never_decoded_as_text() -> None:
    assert auto_key.encode(5)[0] == 0xFF
    assert auto_key.encode(b"abc")[0] == 0xFF


def test_numbers_of_any_length() -> None:
    for value in (10**6000, -(10**6000), 2**64, -(2**63) - 1, 255 << 64):
        assert tm.auto.decode(tm.auto.encode(value)) == value
    long = decimal.Decimal("0." + "1" * 60)
    assert auto_key.decode(auto_key.encode(long)) == long
    for value in ("Infinity", "-1E+900", "1E+5000", "0E-5", "1.500"):
        assert auto_key.decode(auto_key.encode(decimal.Decimal(value))) == decimal.Decimal(value)


def test_equal_numbers_are_one_key() -> None:
    assert auto_key.encode(2.0) == auto_key.encode(2)
    assert auto_key.encode((1.0, "a")) == auto_key.encode((1, "a"))
    with pytest.raises(ValueError, match="NaN is not equal to itself"):
        auto_key.encode(float("nan"))


@pytest.mark.parametrize("key", [[1], {"a": 1}, {1}, ([],)])
def test_keys_must_be_hashable(key: Any) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        auto_key.encode(key)


def test_time_zones_by_name() -> None:
    for fold in (0, 1):
        value = dt.datetime(2024, 10, 27, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin"))
        found = tm.auto.decode(tm.auto.encode(value))
        assert found == value
        assert (found.fold, found.tzinfo, found.utcoffset()) == (fold, value.tzinfo, value.utcoffset())


def test_nan() -> None:
    found = tm.auto.decode(tm.auto.encode([float("nan")]))
    assert found[0] != found[0]


@pytest.mark.parametrize("bad", [object(), [object()], {"a": (object(),)}, {1: object()}, print, ValueError("x")])
def test_what_is_no_data_is_refused_with_advice(bad: Any) -> None:
    with pytest.raises(TypeError, match="cannot be written: give the step a serde with value="):
        tm.auto.encode(bad)


def test_a_class_inside_a_function_is_refused() -> None:
    import msgspec  # noqa: PLC0415

    class Local(msgspec.Struct):
        a: int

    with pytest.raises(TypeError, match="move it to the module"):
        tm.auto.encode(Local(1))


def test_a_class_can_gain_and_lose_fields() -> None:
    name = to_parts(models.Frozen(1))[0]
    assert from_parts([name, {"a": 1, "gone": 2}]) == models.Frozen(1, 5)
    name = to_parts(models.Plain(1))[0]
    assert from_parts([name, {"a": 1, "gone": 2}]).b == []


@pytest.mark.parametrize("name", ["subprocess:Popen", "builtins:eval", "os:system", "builtins:object"])
def test_only_data_classes_are_ever_made(name: str) -> None:
    data = ormsgpack.packb(ormsgpack.Ext(CLASS, ormsgpack.packb([name, ["echo"]])))
    with pytest.raises((TypeError, ValueError)):
        tm.auto.decode(data)


def test_reading_imports_nothing() -> None:
    assert "this" not in sys.modules
    data = ormsgpack.packb(ormsgpack.Ext(CLASS, ormsgpack.packb(["this:Zen", {}])))
    with pytest.raises(ValueError, match="import the module that defines it"):
        tm.auto.decode(data)
    assert "this" not in sys.modules


def test_an_extension_of_a_later_version_is_named() -> None:
    with pytest.raises(ValueError, match="extension type 99"):
        tm.auto.decode(ormsgpack.packb(ormsgpack.Ext(99, ormsgpack.packb(1))))


SCRIPT = """
import sys, msgspec, tidemill as tm
class View(msgspec.Struct):
    a: int
if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*[tm.auto.decode(bytes.fromhex(data)) for data in sys.argv[1:]])
    else:
        print(tm.auto.encode(View(1)).hex())
"""


@pytest.mark.slow
def test_a_script_and_the_module_it_is_imported_as_understand_each_other(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "views.py").write_text(SCRIPT)
    (tmp_path / "shop" / "views.py").write_text(SCRIPT)

    def python(*arguments: str) -> str:
        run = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    imported = "import sys, {0}, tidemill as tm; print({1})"
    written = [
        python("views.py"),
        python("-m", "shop.views"),
        python("-c", imported.format("views", "tm.auto.encode(views.View(1)).hex()")),
        python("-c", imported.format("shop.views", "tm.auto.encode(shop.views.View(1)).hex()")),
    ]
    assert written[0] == written[2]
    read = "*[tm.auto.decode(bytes.fromhex(data)) for data in sys.argv[1:]]"
    for reader in (["views.py"], ["-m", "shop.views"], ["-c", imported.format("views", read)]):
        assert python(*reader, *written) == " ".join(["View(a=1)"] * 4)
