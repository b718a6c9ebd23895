"""Load from reads: what a full one says of datastores becomes samples, and whose load is none of now any more."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.roles import Role
from drivers.types import GuestState
from hosts.models import Source
from hosts.services import remove_source
from inventory.models import Guest
from inventory.sync import apply_snapshot, apply_states
from metrics.models import DatastoreLoad, GuestLoad, LoadPoll
from storage.models import Datastore
from tests.factories import make_user
from tests.facts import at, datastore_fact, guest_fact, load_fact, make_source, snapshot, state_fact, states

pytestmark = pytest.mark.django_db


def test_active_datastores_are_measured_and_others_are_not() -> None:
    source = make_source()
    apply_snapshot(source, snapshot(0, datastores=(datastore_fact("fast"), datastore_fact("away", active=False))), 0)
    assert list(LoadPoll.objects.values_list("group_id", flat=True)) == [Datastore.objects.get(name="fast").pk]
    assert LoadPoll.objects.get().at == int(at(0).timestamp())


OTHER = "web-01"
BUSY = load_fact(10**9)


@pytest.fixture
def measured() -> Source:
    """Two running guests whose load was told at second 2."""
    source = make_source()
    apply_snapshot(source, snapshot(1, guest_fact(), guest_fact(OTHER)), 0)
    apply_states(source, states(2, state_fact(load=BUSY), state_fact(OTHER, load=BUSY)), 0)
    assert GuestLoad.objects.count() == 2
    return source


def loads() -> list[str]:
    """Names of guests with a load of now."""
    ids = GuestLoad.objects.values_list("pk", flat=True)
    return list(Guest.objects.filter(pk__in=ids).order_by("name").values_list("name", flat=True))


def test_a_guest_that_the_quick_read_misses_has_no_load_of_now(measured: Source) -> None:
    """Its row stays as it was known last until a full read, also as running: but nobody told what it does now."""
    for seconds in (30, 60):
        apply_states(measured, states(seconds, state_fact(OTHER, load=BUSY)), 0)
        assert Guest.objects.get(name="db-07").state == "running"
        assert loads() == [OTHER]


def test_one_whose_end_a_full_read_told_first_has_none_either(measured: Source) -> None:
    off = guest_fact(state=GuestState.OFF)
    apply_snapshot(measured, snapshot(30, off, guest_fact(OTHER)), 0)
    apply_states(measured, states(29, state_fact(state=GuestState.OFF), state_fact(OTHER, load=BUSY)), 0)
    assert loads() == [OTHER]


def test_nor_one_that_a_full_read_lists_no_more(measured: Source) -> None:
    apply_snapshot(measured, snapshot(30, guest_fact(OTHER)), 0)
    apply_states(measured, states(29, state_fact(OTHER, load=BUSY)), 0)
    assert Guest.objects.get(name="db-07").missing_since
    assert loads() == [OTHER]


def test_a_read_that_is_not_complete_ends_only_what_it_names(measured: Source) -> None:
    apply_states(measured, states(30, state_fact(state=GuestState.OFF), complete=False), 0)
    assert loads() == [OTHER]


def test_other_sources_say_nothing_of_it(measured: Source) -> None:
    beta = make_source("beta")
    apply_snapshot(beta, snapshot(30, host="beta"), 0)
    apply_states(beta, states(31), 0)
    assert loads() == ["db-07", OTHER]


def test_guests_that_are_off_cost_no_write(measured: Source) -> None:
    told = (state_fact(state=GuestState.OFF), state_fact(OTHER, state=GuestState.OFF))
    apply_states(measured, states(30, *told), 0)
    with CaptureQueriesContext(connection) as queries:
        apply_states(measured, states(60, *told), 0)
    touched = [query["sql"] for query in queries if "guestload" in query["sql"].lower()]
    assert [sql for sql in touched if not sql.lstrip().startswith("SELECT")] == []


def test_a_removed_datastore_leaves_no_load() -> None:
    source = make_source()
    apply_snapshot(source, snapshot(0, datastores=(datastore_fact("fast"),)), 0)
    assert DatastoreLoad.objects.count() == 1
    remove_source(source=source, confirmation=source.name, by=make_user(Role.ADMIN))
    assert (Datastore.objects.count(), DatastoreLoad.objects.count()) == (0, 0)
