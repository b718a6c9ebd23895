"""As of a moment: exactly what was written down by then, under every order of changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.roles import Role
from history.models import GuestRevision, GuestStay, Kind, RecordedObject
from history.selectors import guests_as_of, revisions_of, stays_as_of
from history.services import add_guest_revisions, add_guest_stays, remember
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


@given(changes=changes, second=st.integers(-1, 21))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
