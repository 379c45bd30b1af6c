"""Tests of the fault schedule: it follows from the seed, contains every fault, and can be carried out."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from .schedule import (
    BEGIN,
    BROKER_FAULTS,
    FEWEST,
    INSTANCE_FAULTS,
    SLOTS,
    SNAPSHOT_PLACES,
    STORE_FAULT,
    Act,
    make,
    plain,
)

EVERY = {*INSTANCE_FAULTS, *BROKER_FAULTS} - {"join"}
BEGINS = {"freeze": "thaw", "freeze-long": "thaw", "freeze-inside": "thaw", "cut": "heal", "cut-one-way": "heal"}
SEEDS = st.integers(0, 2**32 - 1)


def kinds(acts: list[Act]) -> set[str]:
    return {act.do for act in acts if act.fault}


@given(SEEDS, st.floats(20, 300))
def test_a_schedule_follows_from_its_seed(seed: int, duration: float) -> None:
    acts = make(seed, duration)
    assert acts == make(seed, duration)
    assert acts == sorted(acts)
    assert all(0 < act.at < duration for act in acts)
    assert plain(acts) != plain(make(seed + 1, duration))


@given(SEEDS)
@example(2847)
def test_a_schedule_of_three_minutes_has_every_fault(seed: int) -> None:
    assert kinds(make(seed, 180)) >= EVERY
    assert not kinds(make(seed, 180, brokers=False)) & set(BROKER_FAULTS)


@given(SEEDS)
def test_the_snapshot_storage_becomes_unavailable_and_available_again(seed: int) -> None:
    acts = make(seed, 180, snapshots=True)
    turns = [act.do for act in acts if act.do in (STORE_FAULT, "store-back")]
    assert turns[::2] == [STORE_FAULT] * (len(turns) // 2)
    assert turns[1::2] == ["store-back"] * (len(turns) // 2)
    assert len(turns) >= 2
    assert {act.how.partition(":")[0] for act in acts if act.do == "die"} <= {*SNAPSHOT_PLACES}
    assert STORE_FAULT not in kinds(make(seed, 180))


@given(SEEDS, st.floats(20, 300))
def test_a_schedule_can_be_carried_out(seed: int, duration: float) -> None:
    up = {slot: slot < BEGIN for slot in range(SLOTS)}
    ends: dict[int, str] = {}
    brokers_in_trouble = False
    for act in make(seed, duration):
        if act.slot < 0:
            if act.do != "kill-all":
                assert brokers_in_trouble == (act.do == "broker-back"), act
                brokers_in_trouble = not brokers_in_trouble
            else:
                up = dict.fromkeys(up, False)
            continue
        if act.do == "start":
            assert not up[act.slot], f"started twice: {act}"
            up[act.slot] = True
            continue
        assert up[act.slot], f"no instance is up: {act}"
        if act.do in ("thaw", "heal"):
            ends.pop(act.slot, None)
            continue
        assert act.slot not in ends, f"{act} during another fault that ends with {ends.get(act.slot)}"
        if act.do in BEGINS:
            ends[act.slot] = BEGINS[act.do]
        if act.do in ("kill", "stop"):
            up[act.slot] = False
            assert sum(up.values()) >= FEWEST - 1
    assert not ends
    assert not brokers_in_trouble
    assert any(up.values())
