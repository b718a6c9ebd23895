"""As of a moment: exactly what was written down by then, under every order of changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.roles import Role
from core.models import by_name
from history.models import GuestName, GuestRevision, GuestStay, Kind, RecordedObject
from history.selectors import guest_names_as_of, guests_as_of, revisions_at, revisions_of, stays_as_of
from history.services import add_guest_revisions, add_guest_stays, pull_back, remember
from tests.examples import examples
from tests.factories import make_user

START = datetime(2026, 1, 1, tzinfo=UTC)
SITE = uuid4()
GUESTS = [uuid4() for _number in range(3)]


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def write(guest: UUID, second: int, vcpus: int, *, gone: bool = False) -> None:
    add_guest_revisions([(guest, at(second), "db-07", SITE, vcpus, 1 << 30, {"machine": "pc"}, "")])
    add_guest_stays([(guest, at(second), gone, "running", SITE, "")])
    remember(Kind.GUEST, [(guest, at(second))])


@pytest.fixture
def viewer(db: None) -> object:
    return make_user(Role.VIEWER, "vera")


changes = st.lists(
    st.tuples(st.sampled_from(range(3)), st.integers(0, 20), st.integers(1, 8), st.booleans()), max_size=25
)

renames = st.lists(
    st.tuples(
        st.sampled_from(range(3)),
        st.integers(0, 20),
        st.sampled_from(["web", "Web-1", "db", ""]),
        st.booleans(),
        st.sampled_from(["running", "off"]),
    ),
    max_size=15,
)


@given(changes=renames, second=st.integers(-1, 21))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_in_order_are_those_of_the_revisions(
    viewer: object, changes: list[tuple[int, int, str, bool, str]], second: int
) -> None:
    """However often a guest is renamed, goes and comes back; on any page and under any condition of its stay."""
    for model in (GuestRevision, GuestName, GuestStay, RecordedObject):
        model._default_manager.all().delete()
    for guest, moment, name, gone, state in sorted(changes, key=lambda change: change[1]):
        add_guest_revisions([(GUESTS[guest], at(moment), name, SITE, 1, 1 << 30, {}, "")])
        add_guest_stays([(GUESTS[guest], at(moment), gone, state, SITE, "")])
        remember(Kind.GUEST, [(GUESTS[guest], at(moment))])
    conditions: list[dict[str, Any]] = [
        {},
        {"state": "running"},
        {"host_id": SITE, "state__in": ["off"]},
        {"host_id": GUESTS[0]},
    ]
    for of_stay in conditions:
        rows = guests_as_of(at(second), user=viewer, **of_stay)
        named = guest_names_as_of(at(second), user=viewer, **of_stay).order_by(by_name(), "pk")
        assert {row.object_id: row.name for row in named} == {row.object_id: row.name for row in rows}
        assert [row.name.lower() for row in named] == sorted(row.name.lower() for row in rows)
        then = revisions_at([row.object_id for row in rows], at(second), user=viewer)
        assert {row.pk for row in then.values()} == {row.pk for row in rows}


def test_names_of_a_moment_in_the_future_count_from_now_on(viewer: object) -> None:
    for second, name in ((1, "old"), (50, "new"), (60, "newest")):
        add_guest_revisions([(GUESTS[0], at(second), name, SITE, 1, 1 << 30, {}, "")])
    add_guest_stays([(GUESTS[0], at(1), False, "running", SITE, "")])
    remember(Kind.GUEST, [(GUESTS[0], at(1))])
    pull_back({Kind.GUEST: [GUESTS[0]]}, at(10))
    assert [row.name for row in guest_names_as_of(at(9), user=viewer)] == ["old"]
    assert [row.name for row in guest_names_as_of(at(10), user=viewer)] == ["newest"]


def test_a_name_is_written_only_when_it_is_another(viewer: object) -> None:
    for second, name in enumerate(["a", "a", "b", "b", "a"]):
        write_named(second, name)
    assert list(GuestName.objects.order_by("valid_from").values_list("valid_from", "name")) == [
        (at(0), "a"),
        (at(2), "b"),
        (at(4), "a"),
    ]


def write_named(second: int, name: str) -> None:
    add_guest_revisions([(GUESTS[0], at(second), name, SITE, second, 1 << 30, {}, "")])


def test_names_are_made_of_what_history_had(viewer: object) -> None:
    """The schema change that brings the table fills it."""
    for second, name in enumerate(["a", "a", "b", "a"]):
        write_named(second, name)
    expected = list(GuestName.objects.order_by("valid_from").values_list("object_id", "valid_from", "name"))
    GuestName.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(import_module("history.schema.0004_guest_names").NAMES)
    assert list(GuestName.objects.order_by("valid_from").values_list("object_id", "valid_from", "name")) == expected


@given(changes=changes, second=st.integers(-1, 21))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_held_then(viewer: object, changes: list[tuple[int, int, int, bool]], second: int) -> None:
    GuestRevision.objects.all().delete()
    GuestStay.objects.all().delete()
    RecordedObject.objects.all().delete()
    expected: dict[tuple[int, int], tuple[int, bool]] = {}
    for guest, moment, vcpus, gone in changes:
        write(GUESTS[guest], moment, vcpus, gone=gone)
        expected[guest, moment] = (vcpus, gone)  # the last word of one moment
    then = {}
    for (guest, moment), value in sorted(expected.items(), key=lambda item: item[0][1]):
        if moment <= second:
            then[GUESTS[guest]] = value
    found = guests_as_of(at(second), user=viewer)
    assert {row.object_id: row.vcpus for row in found} == {one: v for one, (v, gone) in then.items() if not gone}


def test_a_guest_that_went_and_came_back(viewer: object) -> None:
    guest = GUESTS[0]
    write(guest, 1, 2)
    write(guest, 5, 2, gone=True)
    write(guest, 9, 4)
    shown = [guests_as_of(at(second), user=viewer).values_list("vcpus", flat=True) for second in (0, 1, 5, 8, 9)]
    assert [list(one) for one in shown] == [[], [2], [], [], [4]]
    assert [row.vcpus for row in revisions_of(guest, user=viewer)] == [4, 2, 2]


def test_state_and_host_at_a_moment(viewer: object) -> None:
    first, second = uuid4(), uuid4()
    remember(Kind.GUEST, [(GUESTS[0], at(1))])
    stays = [(GUESTS[0], at(moment), False, "running", host, "") for moment, host in ((1, first), (4, second))]
    add_guest_stays(stays)
    assert [row.host_id for row in stays_as_of(at(3), user=viewer)] == [first]
    assert [row.host_id for row in stays_as_of(at(4), user=viewer)] == [second]


def test_nobody_sees_history_without_the_right_to(viewer: object) -> None:
    write(GUESTS[0], 1, 2)
    assert guests_as_of(at(2), user=viewer).count() == 1
    assert guests_as_of(at(2), user=None).count() == 0


def test_a_known_guest_keeps_its_first_moment(viewer: object) -> None:
    write(GUESTS[0], 1, 2)
    write(GUESTS[0], 3, 4)
    assert RecordedObject.objects.get().since == at(1)
