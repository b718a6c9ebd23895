"""One host that several sources show."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from access.models import User
from access.roles import Role
from audit.models import AuditRow
from hosts import owners
from hosts.lease import Lease
from hosts.models import Host, HostSighting, Source
from hosts.owners import without_seen
from hosts.services import pause_source, remove_source, resume_source
from inventory.models import Guest, Placement
from inventory.sync import apply_look, apply_snapshot, apply_states
from tests.factories import make_user
from tests.facts import datastore_fact, guest_fact, host_fact, make_source, snapshot, state_fact, states, switch_fact

pytestmark = pytest.mark.django_db

WHOLE: dict[str, Any] = {"datastores": (datastore_fact(),), "switches": (switch_fact(),)}


@pytest.fixture
def tcp() -> Source:
    return make_source("by-tcp")


@pytest.fixture
def ssh(tcp: Source) -> Source:
    """It came second, and was read second."""
    ssh = make_source("by-ssh")
    read(tcp, 1)
    read(ssh, 2)
    return ssh


@pytest.fixture
def boss() -> User:
    return make_user(Role.ADMIN)


def read(source: Source, seconds: float, *guests: Any, token: int = 0, **values: Any) -> None:
    source.refresh_from_db()
    facts = guests or (guest_fact(), guest_fact("web-01"))
    apply_snapshot(source, snapshot(seconds, *facts, **(WHOLE | values)), token or source.lease_token)


def owner() -> str:
    return Host.objects.select_related("source").get(missing_since=None).source.name


def standing_by() -> list[str]:
    return list(HostSighting.objects.order_by("source__name").values_list("source__name", flat=True))


def test_the_first_owns_it_and_nothing_is_doubled(ssh: Source) -> None:
    assert (owner(), standing_by()) == ("by-tcp", ["by-ssh"])
    assert (Host.objects.count(), Guest.objects.count(), Placement.objects.count()) == (1, 2, 2)
    ssh.refresh_from_db()
    (finding,) = ssh.findings
    assert "by-tcp" in finding["message"]


def test_whoever_is_read_first_owns_it_though_it_was_added_later() -> None:
    early, late = make_source("early"), make_source("late")
    read(late, 1)
    read(early, 2)
    assert (owner(), standing_by(), Host.objects.count()) == ("late", ["early"], 1)


def test_reading_both_again_writes_nothing(tcp: Source, ssh: Source) -> None:
    before = list(HostSighting.objects.values_list("pk", "host"))
    for seconds in (3, 5):
        read(tcp, seconds)
        read(ssh, seconds + 1)
    assert list(HostSighting.objects.values_list("pk", "host")) == before
    assert Guest.objects.count() == 2


def test_the_next_one_takes_over_when_the_owner_is_removed(tcp: Source, ssh: Source, boss: User) -> None:
    host, guests = Host.objects.get().pk, set(Guest.objects.values_list("pk", flat=True))
    remove_source(source=tcp, confirmation="by-tcp", by=boss)
    assert (owner(), standing_by()) == ("by-ssh", [])
    assert Source.objects.filter(pk=ssh.pk, next_inventory_at__lte=timezone.now()).exists()
    assert AuditRow.objects.get(action="source.removed").detail["handed_over"] == {"alpha": "by-ssh"}
    read(ssh, 3)
    assert Host.objects.get().pk == host
    assert set(Guest.objects.values_list("pk", flat=True)) == guests
    assert not Guest.objects.exclude(missing_since=None, conflict="").exists()
    ssh.refresh_from_db()
    assert ssh.findings == []


def test_the_next_one_takes_over_when_the_owner_is_paused_and_keeps_it(tcp: Source, ssh: Source, boss: User) -> None:
    host = Host.objects.get().pk
    pause_source(source=tcp, by=boss)
    assert (owner(), standing_by()) == ("by-ssh", ["by-tcp"])
    read(ssh, 3)
    resume_source(source=tcp, by=boss)
    read(tcp, 4)
    assert (owner(), standing_by(), Host.objects.get().pk) == ("by-ssh", ["by-tcp"], host)
    assert Guest.objects.filter(missing_since=None, conflict="").count() == 2


def test_a_source_added_beside_a_paused_one_takes_its_host_over(tcp: Source, boss: User) -> None:
    read(tcp, 1)
    host = Host.objects.get().pk
    pause_source(source=tcp, by=boss)
    other = make_source("by-ssh")
    read(other, 2)
    assert (owner(), standing_by(), Host.objects.get().pk) == ("by-ssh", ["by-tcp"], host)


def test_of_several_that_stand_by_the_oldest_takes_over(tcp: Source, ssh: Source, boss: User) -> None:
    third = make_source("by-tls")
    read(third, 3)
    remove_source(source=tcp, confirmation="by-tcp", by=boss)
    read(third, 4)
    read(ssh, 5)
    assert (owner(), standing_by()) == ("by-ssh", ["by-tls"])
    assert Host.objects.count() == 1


def test_with_nobody_standing_by_the_host_goes_with_its_source(tcp: Source, boss: User) -> None:
    read(tcp, 1)
    remove_source(source=tcp, confirmation="by-tcp", by=boss)
    assert not Host.objects.exists()
    assert not Guest.objects.exists()


def test_one_that_shows_it_no_more_stands_by_no_more(ssh: Source) -> None:
    apply_snapshot(ssh, snapshot(3, hosts=(host_fact("other"),), host="other"), 0)
    assert standing_by() == []
    assert sorted(Host.objects.values_list("name", flat=True)) == ["alpha", "other"]


def test_a_partial_read_takes_no_sighting_back(ssh: Source) -> None:
    apply_snapshot(ssh, snapshot(3, hosts=(), complete=False), 0)
    assert standing_by() == ["by-ssh"]


def test_an_owner_that_shows_it_no_more_loses_it_to_the_next_read(tcp: Source, ssh: Source) -> None:
    host = Host.objects.get().pk
    apply_snapshot(tcp, snapshot(3, hosts=(), host="alpha"), 0)
    assert Host.objects.get().missing_since is not None
    read(ssh, 4)
    assert (owner(), Host.objects.get().pk) == ("by-ssh", host)
    assert Guest.objects.filter(missing_since=None).count() == 2


def test_what_it_tells_of_a_host_it_merely_sees_is_not_news(tcp: Source, ssh: Source) -> None:
    off = state_fact(state=guest_fact().state.OFF)
    for outcome in (
        apply_states(ssh, states(5, off, state_fact("web-01")), 0),
        apply_look(ssh, states(6, off), [off.ref], Standing(ssh.pk, 0)),
    ):
        assert outcome.mismatch == ""
    assert set(Guest.objects.values_list("state", flat=True)) == {"running"}
    assert without_seen(tcp, states(6, off)).guests == (off,)


class Standing(Lease):
    def prove(self) -> bool:
        return True


@pytest.mark.parametrize("change", [{"uuid": "0" * 8}, {"name": "else"}, {"hypervisor": "LXC"}])
def test_another_uuid_name_or_hypervisor_is_another_host(tcp: Source, change: dict[str, str]) -> None:
    read(tcp, 1)
    other = make_source("other")
    apply_snapshot(other, snapshot(2, hosts=(host_fact(**change),)), 0)
    assert (Host.objects.count(), standing_by()) == (2, [])


@pytest.mark.parametrize("change", [{"uuid": "6d0e9a2c-6a64-4bb4-9b0e-6a0a4f2f7c11"}, {"name": "renamed"}], ids=str)
@pytest.mark.parametrize("first", ["by-tcp", "by-ssh"])
def test_a_host_that_calls_itself_otherwise_stays_one_row(
    tcp: Source, ssh: Source, change: dict[str, str], first: str
) -> None:
    """Whichever of its two sources is read first after the change."""
    host, guests = Host.objects.get().pk, set(Guest.objects.values_list("pk", flat=True))
    order = (tcp, ssh) if first == "by-tcp" else (ssh, tcp)
    for seconds in (3, 5, 7):
        for number, source in enumerate(order):
            read(source, seconds + number, hosts=(host_fact(**change),))
            assert Guest.objects.filter(missing_since=None, conflict="").count() == 2
    row = Host.objects.get()
    assert (row.pk, row.missing_since, owner(), standing_by()) == (host, None, "by-tcp", ["by-ssh"])
    assert {name: getattr(row, name) for name in change} == change
    assert set(Guest.objects.values_list("pk", flat=True)) == guests
    assert not HostSighting.objects.exclude(differs_since=None).exists()
    ssh.refresh_from_db()
    assert "already reads it" in ssh.findings[0]["message"]


def test_the_owner_is_asked_at_once_what_the_host_is_called(tcp: Source, ssh: Source) -> None:
    Source.objects.update(next_inventory_at=timezone.now() + timedelta(hours=1))
    read(ssh, 3, hosts=(host_fact(name="renamed"),))
    assert Source.objects.filter(next_inventory_at__lte=timezone.now()).get() == tcp
    assert Host.objects.get().name == "alpha"
    ssh.refresh_from_db()
    assert "renamed" in ssh.findings[0]["message"]
    Source.objects.update(next_inventory_at=timezone.now() + timedelta(hours=1))
    read(ssh, 4, hosts=(host_fact(name="renamed"),))
    assert not Source.objects.filter(next_inventory_at__lte=timezone.now()).exists(), "asked once"


def test_where_the_owner_says_that_it_is_called_as_before_the_other_shows_another_host(
    tcp: Source, ssh: Source
) -> None:
    for seconds in (3, 4):
        read(ssh, seconds, guest_fact("stranger"), hosts=(host_fact(name="other"),))
        assert not Guest.objects.filter(name="stranger").exists()
    read(tcp, 5)
    read(ssh, 6, guest_fact("stranger"), hosts=(host_fact(name="other"),))
    rows = Host.objects.filter(missing_since=None).order_by("name")
    assert [(row.name, row.source.name) for row in rows] == [("alpha", "by-tcp"), ("other", "by-ssh")]
    assert standing_by() == []
    assert Guest.objects.filter(missing_since=None).count() == 3


def test_when_its_owner_is_paused_a_host_is_taken_over_whatever_it_is_called_now(
    tcp: Source, ssh: Source, boss: User
) -> None:
    host = Host.objects.get().pk
    read(ssh, 3, hosts=(host_fact(name="renamed"),))
    pause_source(source=tcp, by=boss)
    read(ssh, 4, hosts=(host_fact(name="renamed"),))
    row = Host.objects.get()
    assert (row.pk, row.name, owner(), standing_by()) == (host, "renamed", "by-ssh", ["by-tcp"])
    resume_source(source=tcp, by=boss)
    read(tcp, 5, hosts=(host_fact(name="renamed"),))
    assert (Host.objects.get().pk, owner()) == (host, "by-ssh")


def test_an_owner_that_shows_it_no_more_loses_it_whatever_it_is_called_now(tcp: Source, ssh: Source) -> None:
    host = Host.objects.get().pk
    apply_snapshot(tcp, snapshot(3, hosts=(), host="alpha"), 0)
    read(ssh, 4, hosts=(host_fact(name="renamed"),))
    assert (Host.objects.get().pk, Host.objects.get().name, owner()) == (host, "renamed", "by-ssh")


def test_the_same_host_in_another_datacenter_is_another_one(tcp: Source) -> None:
    read(tcp, 1)
    stranger = make_source("stranger", datacenter="elsewhere")
    read(stranger, 2)
    assert (Host.objects.count(), Guest.objects.count(), standing_by()) == (2, 4, [])


def test_two_that_meet_it_at_once_have_one_row(tcp: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the insert of the one, the other inserts."""
    other = make_source("other")
    look = owners._rivals
    looked: list[bool] = []

    def overtaken(source: Source, facts: Any) -> Any:
        found = look(source, facts)
        if source == other and not looked:
            looked.append(True)
            read(tcp, 1)
        return found

    monkeypatch.setattr(owners, "_rivals", overtaken)
    read(other, 2)
    assert looked
    assert (owner(), standing_by(), Host.objects.count()) == ("by-tcp", ["other"], 1)


def test_two_rows_of_one_host_end_with_the_one_added_first(tcp: Source) -> None:
    """It was named alike only later."""
    other = make_source("other")
    read(tcp, 1)
    apply_snapshot(other, snapshot(2, hosts=(host_fact(name="alias"),)), 0)
    assert Host.objects.filter(missing_since=None).count() == 2
    read(other, 3)
    read(tcp, 4)
    assert (owner(), standing_by()) == ("by-tcp", ["other"])
    assert Guest.objects.filter(missing_since=None).count() == 2


def test_a_guest_of_a_handed_over_host_is_still_what_it_was(tcp: Source, ssh: Source, boss: User) -> None:
    remove_source(source=tcp, confirmation="by-tcp", by=boss)
    read(ssh, 3, guest_fact(title="new"), guest_fact("web-01"))
    assert sorted(Guest.objects.values_list("title", flat=True)) == ["", "new"]
    assert Guest.objects.get(title="new").host.source == ssh


def test_a_guest_without_a_usable_uuid_keeps_its_row_when_its_host_is_handed_over(
    tcp: Source, ssh: Source, boss: User
) -> None:
    nameless = guest_fact("odd", uuid="", ref="odd")
    read(tcp, 3, nameless)
    read(ssh, 4, nameless)
    before = Guest.objects.get(name="odd").pk
    remove_source(source=tcp, confirmation="by-tcp", by=boss)
    read(ssh, 5, nameless)
    assert Guest.objects.get(name="odd").pk == before
