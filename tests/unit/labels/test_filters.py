"""Filtering by tags, and what a negation leaves out: everything that is found without it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.models import User
from access.roles import Role
from console.tables.datastores import datastore_spec
from console.tables.guests import guest_spec
from console.tables.hosts import host_spec
from console.tables.switches import switch_spec
from core.lists import ListSpec
from core.search import fold
from hosts.models import Host
from hosts.selectors import host_list
from inventory.models import FolderEntry, Guest
from inventory.selectors import guest_list
from labels.models import OBJECTS, Tagged
from labels.services import change_tags
from networks.selectors import switch_list
from storage.selectors import datastore_list
from tests.examples import examples
from tests.factories import make_cluster, make_datastore, make_folder, make_guest, make_host, make_switch, make_user

pytestmark = pytest.mark.django_db

LISTS: dict[Tagged, tuple[Callable[..., ListSpec[Any]], Callable[..., Any]]] = {
    Tagged.GUEST: (guest_spec, guest_list),
    Tagged.HOST: (host_spec, host_list),
    Tagged.DATASTORE: (datastore_spec, datastore_list),
    Tagged.SWITCH: (switch_spec, switch_list),
}
VALUES = ("web", "Web", "kvm-1", "compute", "running", "off", "Berlin", "", "2", "no such thing", "%", "berlin")


@pytest.fixture
def boss() -> User:
    return make_user(Role.ADMIN)


def fill(boss: User) -> None:
    """Some of each kind: with tags and without, in a cluster or a folder and in none, missing and there."""
    hosts = [make_host(f"kvm-{number}", state="connected") for number in range(3)]
    Host.objects.filter(pk=hosts[1].pk).update(cluster=make_cluster("compute"), white_box=True)
    guests = [make_guest(f"web-{number}", hosts[number % 3], vcpus=number) for number in range(6)]
    Guest.objects.filter(pk=guests[1].pk).update(state="off", addresses="", missing_since=guests[1].evidence_at)
    for guest, name in ((guests[2], "web"), (guests[3], "db")):
        FolderEntry.objects.create(guest=guest, folder=make_folder(name))
    stores = [make_datastore(f"web-{number}", tuple(hosts[: number + 1])) for number in range(3)]
    switches = [make_switch(f"s-{number}", hosts[number], bridge=f"br{number}") for number in range(3)]
    objects: tuple[list[Any], ...] = (guests, hosts, stores, switches)
    for kind, rows in zip(Tagged, objects, strict=True):
        change_tags(kind=kind, ids=[row.pk for row in rows[:2]], add=["web", "running"], by=boss)
        change_tags(kind=kind, ids=[rows[1].pk], add=["Straße 2"], by=boss)


@pytest.mark.parametrize("kind", Tagged)
def test_each_filter_of_each_list_parts_it_in_two(boss: User, kind: Tagged) -> None:
    fill(boss)
    spec_of, rows_of = LISTS[kind]
    spec, rows = spec_of(user=boss), rows_of(user=boss)
    everything = sorted(str(row.pk) for row in rows)
    assert "tag" in {one.name for one in spec.filters}
    tried = 0
    for one in spec.filters:
        for value in [str(value) for value, _label in one.choices] or VALUES:
            if one.name == "vcpus" and not value.isdigit():
                continue
            met = [str(row.pk) for row in spec.narrow(rows, f'{one.name}:"{value}"')]
            others = [str(row.pk) for row in spec.narrow(rows, f'-{one.name}:"{value}"')]
            assert sorted([*met, *others]) == everything, (one.name, value)
            tried += bool(met and others)
    assert tried > 3


@pytest.mark.parametrize("kind", Tagged)
def test_by_a_tag_and_by_none(boss: User, kind: Tagged) -> None:
    fill(boss)
    spec_of, rows_of = LISTS[kind]

    def found(text: str) -> list[str]:
        return sorted(row.name for row in spec_of(user=boss).narrow(rows_of(user=boss), text))

    every = sorted(row.name for row in OBJECTS[kind].objects.all())
    assert found("tag:web") == found("tag:WEB") == found("tag:web tag:web") == every[:2]
    assert found('tag:"STRASSE  2"') == every[1:2]
    assert found('tag:web -tag:"straße 2"') == every[:1]
    assert found('tag:"straße 2" tag:nothing') == every[1:2]
    assert found("-tag:web") == found('tag:""') == every[2:]
    assert found('-tag:""') == every[:2]
    assert found('tag:web tag:""') == every
    assert found("tag:we") == []


TAGS = ("web", "db", "test")
STATES = ("running", "off", "paused")
a_guest = st.tuples(st.sampled_from(STATES), st.frozensets(st.sampled_from(TAGS)), st.booleans())
a_term = st.tuples(
    st.booleans(),
    st.one_of(
        st.tuples(st.just("tag"), st.sampled_from((*TAGS, "WEB", ""))),
        st.tuples(st.just("state"), st.sampled_from(STATES)),
        st.tuples(st.just("folder"), st.sampled_from(("inside", ""))),
    ),
)


def meets(guest: tuple[str, frozenset[str], bool], field: str, value: str) -> bool:
    state, tags, in_folder = guest
    if field == "tag":
        return fold(value) in tags if value else not tags
    if field == "state":
        return state == value
    return in_folder is bool(value)


def wanted(guest: Any, terms: list[tuple[bool, tuple[str, str]]]) -> bool:
    asked = {field: [meets(guest, *term) for negated, term in terms if term[0] == field and not negated]
             for field in ("tag", "state", "folder")}  # fmt: skip
    unwanted = [meets(guest, *term) for negated, term in terms if negated]
    return not any(unwanted) and all(any(found) for found in asked.values() if found)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(a_guest, max_size=5), st.lists(a_term, max_size=5))
def test_any_filter_finds_what_it_says(guests: list[Any], terms: list[Any]) -> None:
    with transaction.atomic():
        boss, host = make_user(Role.ADMIN), make_host()
        folder = make_folder("inside")
        for number, (state, tags, in_folder) in enumerate(guests):
            guest = make_guest(f"g{number}", host, state=state)
            if tags:
                change_tags(kind="guest", ids=[guest.pk], add=tags, by=boss)
            if in_folder:
                FolderEntry.objects.create(guest=guest, folder=folder)
        text = " ".join(f'{"-" * negated}{field}:"{value}"' for negated, (field, value) in terms)
        rows = guest_spec(user=boss).narrow(guest_list(user=boss), text)
        expected = [f"g{number}" for number, guest in enumerate(guests) if wanted(guest, terms)]
        assert sorted(row.name for row in rows) == expected
        transaction.set_rollback(True)
