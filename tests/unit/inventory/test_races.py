"""Two workers at once: on PostgreSQL rows are locked in one order, so that neither waits for the other for ever.

SQLite has one writer at a time: there nobody can meet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from msgspec.structs import replace

from access.models import User
from access.roles import Role
from core import bulk, queue
from drivers.types import GuestHardware, GuestState
from history.models import GuestBuild, GuestRevision, GuestStay, Kind, RecordedObject
from hosts import owners, services, sync
from hosts.lease import Lease, LeaseLost, renew
from hosts.models import Datacenter, Host, Source
from hosts.polling import dispatch_due
from hosts.services import pause_source, remove_source
from inventory import relocation, store
from inventory.models import Disk, Guest, Placement
from inventory.relocation import move_source
from inventory.sync import apply_snapshot
from search.models import Kind as Searched
from search.models import SearchRow
from tests.factories import make_user
from tests.facts import guest_fact, make_source, snapshot
from tests.together import LOOK_S, LOOKS, Meeting, database_for_threads, together, until_blocked

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL has row locks"),
]


def read(source: Source, seconds: float, *guests: Any, host: str = "alpha") -> None:
    fresh = Source.objects.get(pk=source.pk)
    apply_snapshot(fresh, snapshot(seconds, *guests, host=host), fresh.lease_token)


def test_two_sources_with_guests_of_the_same_two_templates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each writes the hardware of both templates, the one in small parts from the front, the other from the back."""
    names = ("alpha", "beta")
    sources = {name: make_source(name) for name in names}
    machines = [GuestHardware(cpu_shares=number) for number in (1, 2)]

    def read_with(name: str, seconds: float, hardware: list[GuestHardware]) -> None:
        guests = [guest_fact(f"{name}-{n}", host=name, hardware=one) for n, one in enumerate(hardware)]
        read(sources[name], seconds, *guests, host=name)

    for name in names:
        read_with(name, 1, [GuestHardware(), GuestHardware()])
    monkeypatch.setattr(bulk, "BATCH", 1)  # guests written at once
    monkeypatch.setattr(store, "ATTEMPTS", 1)
    monkeypatch.setattr(store._Batch, "_write_plain", Meeting().after(store._Batch._write_plain))
    with database_for_threads(tmp_path):
        both = together(2, lambda number: read_with(names[number], 2, machines if number else machines[::-1]))
        assert both == [None, None]
        assert GuestBuild.objects.count() == 3
        assert Guest.objects.filter(missing_since=None).count() == 4


def test_what_another_source_moved_meanwhile_is_in_history_as_in_the_inventory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Alpha changes a guest that is off; before that is written, beta tells that it runs there."""
    sources = {name: make_source(name) for name in ("alpha", "beta")}
    off = guest_fact("g", host="alpha", state=GuestState.OFF)
    read(sources["alpha"], 1, off)
    read(sources["beta"], 1, host="beta")
    loaded, moved, load = threading.Event(), threading.Event(), store._load_plain

    def load_and_wait(ids: list[str], read_at: Any) -> Any:
        rows = load(ids, read_at)
        if rows and not loaded.is_set():
            loaded.set()
            until_blocked(moved)
        return rows

    def tell(number: int) -> None:
        if number:
            assert loaded.wait(LOOKS * LOOK_S)
            read(sources["beta"], 2, guest_fact("g", host="beta", vcpus=4), host="beta")
            moved.set()
        else:
            read(sources["alpha"], 3, replace(off, vcpus=8))

    monkeypatch.setattr(store, "_load_plain", load_and_wait)
    with database_for_threads(tmp_path):
        assert together(2, tell) == [None, None]
        guest, stay, made = Guest.objects.get(), GuestStay.objects.last(), GuestRevision.objects.last()
        assert stay is not None
        assert made is not None
        assert (stay.state, stay.host_id, made.vcpus) == (guest.state, guest.host_id, guest.vcpus)


def pause(source: Source, boss: User) -> None:
    pause_source(source=source, by=boss)


def remove(source: Source, boss: User) -> None:
    remove_source(source=source, confirmation=source.name, by=boss)


def relocate(source: Source, boss: User) -> None:
    north = Datacenter.objects.get(name="North")
    move_source(source=source, datacenter=north, confirmation=source.name, by=boss)


@pytest.mark.parametrize("act", [pause, remove, relocate])
@pytest.mark.parametrize("first", ["owner", "heir"])
def test_a_host_is_taken_over_while_its_owner_gives_it_away(
    act: Callable[[Source, User], None], first: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The heir's poll takes a host that its owner does not show any more; a person pauses the owner meanwhile."""
    Datacenter.objects.create(name="North")
    names = {"owner": ("heir", "owner"), "heir": ("owner", "heir")}[first]
    by_name = {name: make_source(name) for name in reversed(names)}
    owner, heir, boss = by_name["owner"], by_name["heir"], make_user(Role.ADMIN)
    read(owner, 1, guest_fact())
    read(heir, 2, guest_fact())
    read(owner, 3, host="another")
    assert Host.objects.get(source=owner, name="alpha").missing_since
    meeting = Meeting()
    monkeypatch.setattr(owners, "renew", meeting.after(renew))
    monkeypatch.setattr(owners, "_take", meeting.after(owners._take))
    with database_for_threads(tmp_path):
        both = together(2, lambda number: act(owner, boss) if number else read(heir, 4, guest_fact()))
        assert both == [None, None]
        host = Host.objects.get(name="alpha")
        assert (host.source_id, Host.objects.filter(uuid=host.uuid).count()) == (heir.pk, 1)


def test_a_source_brings_a_new_host_while_it_goes_to_another_datacenter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Datacenter.objects.create(name="North")
    source, boss, meeting = make_source(), make_user(Role.ADMIN), Meeting()
    monkeypatch.setattr(sync, "renew", meeting.after(renew))
    monkeypatch.setattr(relocation, "_locked", meeting.after(relocation._locked))
    with database_for_threads(tmp_path):
        both = together(2, lambda number: relocate(source, boss) if number else read(source, 1, guest_fact()))
        assert both[1] is None
        assert both[0] is None or isinstance(both[0], LeaseLost)
        places = {*Host.objects.values_list("datacenter__name"), *Guest.objects.values_list("datacenter__name")}
        assert places <= {("North",)}
        assert Source.objects.get().datacenter.name == "North"


@pytest.mark.parametrize("clock", ["as usual", "set back"])
def test_others_are_sent_while_a_source_goes_to_another_datacenter(
    clock: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The dispatcher neither waits for the source that goes, nor sends it."""
    Datacenter.objects.create(name="North")
    source, boss = make_source(), make_user(Role.ADMIN)
    others = [make_source(f"other-{number}") for number in range(3)]
    if clock == "set back":
        ahead = timezone.now() + timedelta(hours=1)
        Source.objects.update(next_states_at=ahead, next_inventory_at=ahead, states_read_at=ahead)
    held, sent, messages = threading.Event(), threading.Event(), list[str]()
    monkeypatch.setattr(queue, "_send", lambda _task, ids, *_rest: messages.append(ids[0]))
    tell, waited = relocation._tell, list[bool]()

    def hold(*args: Any, **kwargs: Any) -> None:
        held.set()
        until_blocked(sent)
        waited.append(not sent.is_set())
        tell(*args, **kwargs)

    def dispatch() -> None:
        assert held.wait(LOOKS * LOOK_S)
        dispatch_due()
        sent.set()

    monkeypatch.setattr(relocation, "_tell", hold)
    with database_for_threads(tmp_path):
        assert together(2, lambda number: dispatch() if number else relocate(source, boss)) == [None, None]
        assert waited == [False]
        assert sorted(messages) == sorted(str(one.pk) for one in others)


def test_a_source_begins_to_stand_by_while_the_owner_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever is first, neither fails, and the host is read by the one that is left."""
    owner, heir, boss, meeting = make_source("owner"), make_source("heir"), make_user(Role.ADMIN), Meeting()
    read(owner, 1, guest_fact())
    monkeypatch.setattr(owners, "renew", meeting.after(renew))
    monkeypatch.setattr(services, "lock_with_heirs", meeting.after(owners.lock_with_heirs))
    with database_for_threads(tmp_path):
        both = together(2, lambda number: remove(owner, boss) if number else read(heir, 2, guest_fact()))
        assert both == [None, None]
        read(heir, 3, guest_fact())
        assert [host.source_id for host in Host.objects.all()] == [heir.pk]
        assert Guest.objects.filter(missing_since=None, conflict="").count() == 1


def test_who_came_to_stand_by_while_the_owner_was_waited_for_inherits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The host and its guests keep their rows."""
    owner, heir, boss, begun = make_source("owner"), make_source("heir"), make_user(Role.ADMIN), threading.Event()
    read(owner, 1, guest_fact())
    before = Host.objects.get().pk, Guest.objects.get().pk

    def waits_for_the_other(lease: Lease) -> None:
        renew(lease)
        begun.set()
        until_blocked()

    def remove_then(number: int) -> None:
        assert begun.wait(30)
        remove(owner, boss)

    monkeypatch.setattr(owners, "renew", waits_for_the_other)
    with database_for_threads(tmp_path):
        assert together(2, lambda n: remove_then(n) if n else read(heir, 2, guest_fact())) == [None, None]
        host = Host.objects.get()
        assert (host.pk, host.source_id) == (before[0], heir.pk)
        read(heir, 3, guest_fact())
        assert (Host.objects.get().pk, Guest.objects.get().pk) == before


def test_a_source_is_removed_while_a_read_of_it_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was not written by then is dropped, and nothing of it is left."""
    source, boss, meeting = make_source(), make_user(Role.ADMIN), Meeting()
    read(source, 1, guest_fact())
    monkeypatch.setattr(store, "renew", meeting.after(renew))
    monkeypatch.setattr(services, "lock_with_heirs", meeting.after(owners.lock_with_heirs))
    guests = [guest_fact(f"web-{number}") for number in range(5)]
    with database_for_threads(tmp_path):
        both = together(2, lambda number: remove(source, boss) if number else read(source, 2, *guests))
        assert both[1] is None
        assert both[0] is None or isinstance(both[0], LeaseLost)
        for model in (Source, Host, Guest, Placement, Disk):
            assert not model._default_manager.exists(), model
        assert not SearchRow.objects.exclude(kind=Searched.DATACENTER).exists()
        assert set(GuestStay.objects.filter(gone=True).values_list("object_id", flat=True)) == set(
            RecordedObject.objects.filter(kind=Kind.GUEST).values_list("object_id", flat=True)
        )
