"""A source goes to another datacenter: what goes along, what stays, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.models import User
from access.roles import Role
from audit.models import AuditRow
from core.errors import Conflict, Forbidden, Invalid
from drivers.types import GuestState, Technology
from history.models import DatastoreRevision, GuestRevision, GuestStay, HostRevision
from history.selectors import datastores_as_of, guests_as_of, hosts_as_of
from hosts.lease import LeaseLost
from hosts.models import Cluster, Datacenter, Host, HostSighting, Source
from inventory.models import Disk, Folder, FolderEntry, Guest, Placement, Watch
from inventory.relocation import Relocation, move_source, plan_relocation
from inventory.sync import apply_snapshot
from operations.models import Job
from storage.models import Datastore, DatastoreMount
from tests.factories import make_user
from tests.facts import at, datastore_fact, guest_fact, make_source, snapshot, switch_fact, uuid_of

pytestmark = pytest.mark.django_db

NFS: dict[str, Any] = {"technology": Technology.NFS, "source": "filer:/x", "path": "/srv/shared", "uuid": ""}
DB = "db-07"


@pytest.fixture
def boss() -> User:
    return make_user(Role.ADMIN)


@pytest.fixture
def source() -> Source:
    """One host with two guests, in `dc`."""
    source = make_source("alpha")
    read(source, 1, guest_fact(), guest_fact("web-01"))
    return source


@pytest.fixture
def target() -> Datacenter:
    return Datacenter.objects.create(name="North")


def read(source: Source, seconds: float, *guests: Any, host: str = "", stores: tuple[Any, ...] | None = None) -> None:
    source.refresh_from_db()
    host = host or source.name
    own = datastore_fact("own", host, uuid=uuid_of(f"own {host}"))
    facts: dict[str, Any] = {"datastores": (own,) if stores is None else stores, "switches": (switch_fact(host=host),)}
    apply_snapshot(source, snapshot(seconds, *guests, host=host, **facts), source.lease_token)


def plan(source: Source, target: Datacenter, boss: User) -> Relocation:
    return plan_relocation(source=source, datacenter=target, by=boss)


def move(source: Source, target: Datacenter, boss: User) -> Source:
    return move_source(source=source, datacenter=target, confirmation=source.name, by=boss)


def test_everything_goes_along_as_it_is(source: Source, target: Datacenter, boss: User) -> None:
    cluster = Cluster.objects.create(name="c", datacenter=source.datacenter)
    folder = Folder.objects.create(name="f", datacenter=source.datacenter)
    Host.objects.update(cluster=cluster)
    FolderEntry.objects.create(guest=Guest.objects.get(name=DB), folder=folder)
    before = set(Guest.objects.values_list("pk", "name")), Host.objects.get().pk, Datastore.objects.get().pk
    said = plan(source, target, boss)
    assert (said.possible, said.hosts, said.guests) == (True, 1, 2)
    move(source, target, boss)
    host = Host.objects.get()
    assert (host.datacenter, host.cluster, FolderEntry.objects.count()) == (target, None, 0)
    assert (set(Guest.objects.values_list("pk", "name")), host.pk, Datastore.objects.get().pk) == before
    rows: list[Guest | Datastore] = [*Guest.objects.all(), *Datastore.objects.all()]
    assert {row.datacenter for row in rows} == {target}
    read(source, 2, guest_fact(), guest_fact("web-01", title="new"))
    assert set(Guest.objects.values_list("pk", "name")) == before[0]
    assert Guest.objects.filter(missing_since=None, conflict="", datacenter=target).count() == 2
    assert Datastore.objects.get().pk == before[2]
    row = AuditRow.objects.get(action="source.relocated")
    assert (row.detail["before"], row.detail["after"], row.detail["guests"]) == ("dc", "North", 2)


def test_it_is_read_at_once_and_nothing_old_is_written(source: Source, target: Datacenter, boss: User) -> None:
    Watch.objects.create(source=source, token=4, since=timezone.now())
    late = source.lease_token
    move(source, target, boss)
    fresh = Source.objects.get()
    assert fresh.next_inventory_at <= timezone.now()
    watch = Watch.objects.get()
    assert (watch.token, watch.since) == (5, None)
    with pytest.raises(LeaseLost):
        apply_snapshot(fresh, snapshot(2, guest_fact("late")), late)
    assert not Guest.objects.filter(name="late").exists()


def test_what_others_know_too_stays_with_them(source: Source, target: Datacenter, boss: User) -> None:
    beta = make_source("beta")
    read(beta, 2, guest_fact(host="beta", state=GuestState.OFF))
    known = Guest.objects.get(name=DB)
    assert known.placements.count() == 2
    said = plan(source, target, boss)
    assert said.guests == 1
    assert any(DB in effect for effect in said.effects)
    move(source, target, boss)
    known.refresh_from_db()
    assert (known.host.name, known.state, known.datacenter.name) == ("beta", "off", "dc")
    read(source, 3, guest_fact(), guest_fact("web-01"))
    read(beta, 4, guest_fact(host="beta", state=GuestState.OFF))
    rows = Guest.objects.filter(name=DB).order_by("datacenter__name")
    assert [(row.datacenter.name, row.host.name, row.pk == known.pk) for row in rows] == [
        ("North", "alpha", False),
        ("dc", "beta", True),
    ]
    assert not Guest.objects.exclude(conflict="").exists()


def test_it_is_as_many_queries_however_many_guests_there_are(source: Source, target: Datacenter, boss: User) -> None:
    """Of those that go along and of those that stay."""
    beta, counts = make_source("beta"), []
    for round_, number in enumerate((2, 3, 30)):  # the first of all has its datastore to take along
        both = [(f"{number}-{one}", uuid_of(f"{number}-{one}")) for one in range(number)]
        own = [guest_fact(f"own-{number}-{one}") for one in range(number)]
        read(source, 10 * round_ + 2, *own, *(guest_fact(name, uuid=uuid) for name, uuid in both))
        off = [guest_fact(name, host="beta", uuid=uuid, state=GuestState.OFF) for name, uuid in both]
        read(beta, 10 * round_ + 3, *off)
        with CaptureQueriesContext(connection) as queries:
            move(Source.objects.get(name="alpha"), target, boss)
        counts.append(len(queries))
        assert Guest.objects.filter(host__name="beta", state="off", missing_since=None).count() == number
        Host.objects.filter(name="beta").delete()
        target = Datacenter.objects.create(name=f"South {number}")
    assert counts[1] == counts[2]


def test_an_equal_guest_there_is_never_taken_over(source: Source, target: Datacenter, boss: User) -> None:
    other = make_source("gamma", datacenter="North")
    read(other, 2, guest_fact(host="gamma", state=GuestState.OFF))
    (blocker,) = plan(source, target, boss).blockers
    assert DB in blocker
    before = list(Guest.objects.order_by("pk").values_list("pk", "datacenter", "host"))
    with pytest.raises(Conflict, match=DB):
        move(source, target, boss)
    assert list(Guest.objects.order_by("pk").values_list("pk", "datacenter", "host")) == before
    assert Source.objects.get(name="alpha").datacenter.name == "dc"


def test_not_even_one_that_is_missing(source: Source, target: Datacenter, boss: User) -> None:
    other = make_source("gamma", datacenter="North")
    read(other, 2, guest_fact(host="gamma"))
    read(other, 3)
    assert Guest.objects.exclude(missing_since=None).count() == 1
    assert not plan(source, target, boss).possible


def test_a_host_that_is_read_there_is_a_blocker(source: Source, target: Datacenter, boss: User) -> None:
    read(make_source("twice", datacenter="North"), 2, host="alpha")
    (blocker,) = plan(source, target, boss).blockers
    assert "alpha" in blocker


def test_a_conflict_is_solved_before(source: Source, target: Datacenter, boss: User) -> None:
    Guest.objects.filter(name=DB).update(conflict="2 guests with this UUID")
    (blocker,) = plan(source, target, boss).blockers
    assert DB in blocker


def test_a_host_that_another_source_sees_too_stays(source: Source, target: Datacenter, boss: User) -> None:
    other = make_source("by-ssh")
    read(other, 2, guest_fact(), guest_fact("web-01"), host="alpha")
    said = plan(source, target, boss)
    assert (said.hosts, said.guests) == (0, 0)
    assert any("alpha" in effect for effect in said.effects)
    pks = set(Guest.objects.values_list("pk", flat=True))
    move(source, target, boss)
    host = Host.objects.get()
    assert (host.source, host.datacenter.name, HostSighting.objects.count()) == (other, "dc", 0)
    read(other, 3, guest_fact(), guest_fact("web-01"), host="alpha")
    read(source, 4, guest_fact(), guest_fact("web-01"))
    assert set(Guest.objects.filter(datacenter__name="dc").values_list("pk", flat=True)) == pks
    assert Guest.objects.filter(datacenter=target).count() == 2
    assert Host.objects.count() == 2


def test_a_datastore_that_others_see_becomes_two(
    source: Source, target: Datacenter, boss: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "django.utils.timezone.now", lambda: at(3)
    )  # reads begun before the move tell nothing of guests
    beta = make_source("beta")
    for one, seconds in ((source, 2), (beta, 3)):
        guests = (guest_fact(host=one.name),) if one == source else ()
        read(one, seconds, *guests, stores=(datastore_fact("nfs", one.name, **NFS),))
    shared = Datastore.objects.get(source="filer:/x")
    assert shared.shared
    assert Disk.objects.get(guest__name=DB).datastore == shared
    move(source, target, boss)
    shared.refresh_from_db()
    assert (shared.shared, shared.datacenter.name) == (False, "dc")
    assert Disk.objects.get(guest__name=DB).datastore is None
    read(source, 4, guest_fact(), stores=(datastore_fact("nfs", "alpha", **NFS),))
    fresh = Datastore.objects.get(source="filer:/x", datacenter=target)
    assert Disk.objects.get(guest__name=DB).datastore == fresh
    assert DatastoreMount.objects.filter(datastore=shared, missing_since=None).get().host.name == "beta"


def test_it_joins_a_datastore_that_is_there(source: Source, target: Datacenter, boss: User) -> None:
    there = make_source("gamma", datacenter="North")
    read(there, 2, stores=(datastore_fact("nfs", "gamma", **NFS),))
    read(source, 3, guest_fact(), stores=(datastore_fact("nfs", "alpha", **NFS),))
    move(source, target, boss)
    read(source, 4, guest_fact(), stores=(datastore_fact("nfs", "alpha", **NFS),))
    store = Datastore.objects.get(source="filer:/x")
    assert (store.datacenter, store.shared) == (target, True)


def test_there_and_back_again(source: Source, target: Datacenter, boss: User) -> None:
    home = source.datacenter
    before = set(Guest.objects.values_list("pk", flat=True))
    move(source, target, boss)
    read(source, 2, guest_fact(), guest_fact("web-01"))
    move(Source.objects.get(), home, boss)
    read(source, 3, guest_fact(), guest_fact("web-01"))
    assert set(Guest.objects.values_list("pk", flat=True)) == before
    assert set(Guest.objects.values_list("datacenter__name", flat=True)) == {"dc"}


@pytest.mark.parametrize("kind", ["guest", "host", "source"])
def test_not_while_a_task_is_open(source: Source, target: Datacenter, boss: User, kind: str) -> None:
    ids = {"guest": Guest.objects.get(name=DB).pk, "host": Host.objects.get().pk, "source": source.pk}
    Job.objects.create(
        kind="power", target_kind=kind, target_id=str(ids[kind]), submitted_at=timezone.now(), submitted_by_name="x"
    )
    with pytest.raises(Conflict, match="task is open"):
        move(source, target, boss)
    assert Placement.objects.filter(host__datacenter__name="dc").count() == 2


def test_where_it_is_already_is_no_target(source: Source, boss: User) -> None:
    assert not plan(source, source.datacenter, boss).possible


def test_its_name_is_the_confirmation(source: Source, target: Datacenter, boss: User) -> None:
    with pytest.raises(Invalid):
        move_source(source=source, datacenter=target, confirmation="yes", by=boss)
    assert Source.objects.get().datacenter.name == "dc"


def test_only_an_administrator_plans_and_moves(source: Source, target: Datacenter) -> None:
    for role in (Role.VIEWER, Role.OPERATOR, Role.MIGRATION_ADMIN, Role.AUDITOR):
        user = make_user(role)
        with pytest.raises(Forbidden):
            plan(source, target, user)
        with pytest.raises(Forbidden):
            move(source, target, user)


def test_history_tells_the_move_when_it_happened(
    source: Source, target: Datacenter, boss: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only from the next full read on, which a source that does not answer may keep us waiting for."""
    old = source.datacenter.pk
    monkeypatch.setattr("django.utils.timezone.now", lambda: at(10))
    move(source, target, boss)
    assert places_at(9, boss) == {"guests": {old}, "hosts": {old}, "datastores": {old}}
    assert places_at(10, boss) == {"guests": {target.pk}, "hosts": {target.pk}, "datastores": {target.pk}}
    assert [row.name for row in guests_as_of(at(10), user=boss).order_by("name")] == [DB, "web-01"]
    before = number_of_rows()
    read(source, 11, guest_fact(), guest_fact("web-01"))
    assert number_of_rows() == before, "the next read says nothing new"
    read(source, 12, guest_fact(vcpus=7), guest_fact("web-01"))
    assert guests_as_of(at(12), user=boss).get(name=DB).vcpus == 7
    assert guests_as_of(at(11), user=boss).get(name=DB).vcpus == 2
    assert {row.datacenter_id for row in guests_as_of(at(12), user=boss)} == {target.pk}


def test_history_tells_two_moves_of_one_moment(
    source: Source, target: Datacenter, boss: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = source.datacenter
    monkeypatch.setattr("django.utils.timezone.now", lambda: at(10))
    move(source, target, boss)
    move(Source.objects.get(), old, boss)
    assert set(places_at(10, boss)["guests"]) == {old.pk}


def test_what_is_missing_stays_missing_in_history(
    source: Source, target: Datacenter, boss: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(source, 2, guest_fact())
    monkeypatch.setattr("django.utils.timezone.now", lambda: at(10))
    move(source, target, boss)
    assert [row.name for row in guests_as_of(at(10), user=boss)] == [DB]


def test_no_read_begun_before_the_move_tells_anything_after_it(
    source: Source, target: Datacenter, boss: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a worker whose clock is behind: else history would have it before the move, and never again."""
    monkeypatch.setattr("django.utils.timezone.now", lambda: at(10))
    move(source, target, boss)
    for seconds in (9, 11):
        read(source, seconds, guest_fact(vcpus=7), guest_fact("web-01"))
    rows = GuestRevision.objects.filter(name=DB).order_by("valid_from").values_list("valid_from", "vcpus")
    assert list(rows) == [(at(1), 2), (at(10), 2), (at(11), 7)]


def places_at(seconds: float, boss: User) -> dict[str, set[Any]]:
    rows: dict[str, Any] = {
        "guests": guests_as_of(at(seconds), user=boss),
        "hosts": hosts_as_of(at(seconds), user=boss),
        "datastores": datastores_as_of(at(seconds), user=boss),
    }
    return {name: {row.datacenter_id for row in found} for name, found in rows.items()}


def number_of_rows() -> tuple[int, ...]:
    models: tuple[Any, ...] = (GuestRevision, GuestStay, HostRevision, DatastoreRevision)
    return tuple(model.objects.count() for model in models)
