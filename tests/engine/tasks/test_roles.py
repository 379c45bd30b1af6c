"""The role of an application in the metadata of its offsets."""

from __future__ import annotations

from tidemill.engine.tasks.roles import ACTIVE, Role, role_in, role_of, why_retired, why_standing, with_role
from tidemill.engine.tasks.topic_ids import restarted, unfinished

SHADOW = Role("views", "before-upgrade")


def test_a_role_is_read_back() -> None:
    role = SHADOW
    metadata = "t=5;n=5;a=-1;i=abc" + role.metadata
    assert role_in(metadata) == role
    assert role_of(["t=1", metadata]) == role
    assert role_in(restarted(metadata, "new")) == role
    assert role_in(unfinished("kept") + role.metadata) == role


def test_an_application_without_a_role_is_active() -> None:
    assert role_in("t=5;i=abc") == ACTIVE
    assert role_in("b=unknown,x,y") == ACTIVE
    assert role_of([]) == role_of(["t=5"]) == ACTIVE
    assert not ACTIVE.shadow
    assert ACTIVE.metadata == ""


def test_a_role_takes_the_place_of_another_one() -> None:
    metadata = with_role("t=5;i=abc" + SHADOW.metadata, Role("sales", "kept"))
    assert metadata == "t=5;i=abc;b=shadow,sales,kept"
    assert with_role(metadata, ACTIVE) == "t=5;i=abc"


def test_a_cut_over_changes_the_roles_of_both_forwards_or_back() -> None:
    arriving, leaving = SHADOW.stands("views", "a1"), ACTIVE.stands("views-2", "a1")
    assert (arriving.standing, arriving.shadow, leaving.standing, leaving.shadow) == (True, True, True, False)
    for role in (arriving, leaving, arriving.switched(7), leaving.switched(7)):
        assert role_in("t=5" + role.metadata) == role
    assert (arriving.undone(), leaving.undone()) == (SHADOW, ACTIVE)
    promoted, retired = arriving.switched(7), leaving.switched(7)
    assert (promoted.promoted, promoted.shadow, promoted.standing) == (True, False, False)
    assert (retired.retired, retired.standing) == (True, False)
    assert role_of([SHADOW.metadata, arriving.metadata]) == arriving, "one that stands still counts for all"
    assert "views-2 has taken the place of views" in why_retired("views", retired)
    assert why_standing("views", leaving) == why_standing("views-2", arriving)
