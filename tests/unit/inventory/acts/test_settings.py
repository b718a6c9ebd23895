"""Settings of a guest: each set once, now or after the next start, and the way back."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from access.models import User
from access.roles import Role
from core.errors import Conflict, Forbidden, Invalid
from drivers.types import GuestState
from inventory.acts.pending import waiting_for_start
from inventory.acts.settings import edit_guest
from inventory.acts.undo import has_undo, undo_act, undo_reason
from inventory.models import Guest
from operations.errors import AlreadyOpen
from operations.models import Job
from operations.selectors import job_title
from tests.factories import make_guest, make_host, make_source
from tests.lives import Fate, live, strike_with
from tests.site import Site

GIB = 1 << 30


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create(username="ada", role=Role.MIGRATION_ADMIN)


def edit(site: Site, **changes: Any) -> Job:
    job = live(edit_guest(guest=site.guest(), changes=changes, by="test"))
    site.read()
    return job


def waiting(site: Site, user: User) -> list[str]:
    return [one.words for one in waiting_for_start(site.guest(), user=user)]


@pytest.mark.usefixtures("fate")
def test_everything_at_once_of_a_guest_that_is_off(site: Site) -> None:
    site.set_state(site.guest(), GuestState.OFF)
    changes = {
        "name": "a-name",
        "title": "the  title",
        "notes": "one\r\ntwo ",
        "autostart": False,
        "memory_bytes": 2 * GIB,
        "vcpus": 4,
    }
    job = edit(site, **changes)
    assert job.state == "succeeded", job.message
    really = site.really(site.guest())
    assert (really.name, really.title, really.notes, really.autostart) == ("a-name", "the title", "one\ntwo", False)
    assert (really.memory_bytes, really.vcpus) == (2 * GIB, 4)
    assert site.guest().name == "a-name"
    assert job.message.count("changed now.") == 5
    assert job_title(job) == ("Change Name to a-name, Title, Notes, Autostart to off, Memory to 2 GiB, vCPUs to 4")


@pytest.mark.usefixtures("fate")
def test_what_a_running_guest_cannot_take_waits_and_is_shown(site: Site, ada: User) -> None:
    job = edit(site, memory_bytes=4 * GIB, notes="more memory")
    assert job.message == "Notes: changed now. Memory: changed after the next start."
    assert waiting(site, ada) == ["Memory 4 GiB"]
    site.set_state(site.guest(), GuestState.OFF)
    assert waiting(site, ada) == []


@pytest.mark.usefixtures("fate")
def test_what_waits_can_be_taken_back(site: Site, ada: User) -> None:
    job = edit(site, memory_bytes=4 * GIB)
    assert waiting(site, ada) == ["Memory 4 GiB"]
    assert undo_reason(job, user=ada) == ""
    again = live(undo_act(job=job, by=ada))
    site.read()
    assert (again.state, again.parameters["changes"]) == ("succeeded", {"memory_bytes": GIB})
    assert waiting(site, ada) == []


@pytest.mark.usefixtures("fate")
def test_of_two_that_wait_the_newer_counts(site: Site, ada: User) -> None:
    edit(site, memory_bytes=4 * GIB, vcpus=8)
    edit(site, memory_bytes=6 * GIB)
    assert sorted(waiting(site, ada)) == ["Memory 6 GiB", "vCPUs 8"]


@pytest.mark.usefixtures("fate")
def test_what_was_asked_before_the_last_start_waits_no_more(site: Site, ada: User) -> None:
    edit(site, memory_bytes=4 * GIB)
    Job.objects.create(
        kind="power",
        state="succeeded",
        target_kind="guest",
        target_id=str(site.guest().pk),
        parameters={"action": "start"},
        submitted_by_name="test",
        submitted_at=Job.objects.latest("submitted_at").submitted_at.replace(year=2999),
    )
    assert waiting(site, ada) == []


@pytest.mark.usefixtures("fate")
def test_a_refusal_says_what_was_done_before_it(site: Site) -> None:
    site.world.add_fault("alpha", at="set_memory", do="rejected")
    job = edit(site, notes="x", memory_bytes=2 * GIB, vcpus=1)
    assert job.state == "failed"
    assert job.message == "Notes: changed now. Memory: The host refused this."
    assert site.really(site.guest()).vcpus == 2, "nothing after it was asked for"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, ""),
        ({"vcpus": 2}, ""),
        ({"vcpus": 0}, "vcpus"),
        ({"vcpus": 5000}, "vcpus"),
        ({"memory_bytes": 1000}, "memory_bytes"),
        ({"memory_bytes": 1 << 60}, "memory_bytes"),
        ({"memory_bytes": 4 * GIB, "most_memory_bytes": 2 * GIB}, "most_memory_bytes"),
        ({"vcpus": 4, "most_vcpus": 3}, "most_vcpus"),
        ({"name": "../etc"}, "name"),
        ({"name": "<script>"}, "name"),
        ({"title": "a\u202eb"}, "title"),
        ({"title": "x" * 256}, "title"),
        ({"notes": "\x00"}, "notes"),
        ({"notes": "x" * 8001}, "notes"),
        ({"uuid": "x"}, "uuid"),
    ],
)
def test_what_cannot_be_asked_for(site: Site, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        edit_guest(guest=site.guest(), changes=changes, by="test")
    assert caught.value.field == field
    assert not Job.objects.exists()


def test_a_guest_that_runs_keeps_its_name(site: Site) -> None:
    with pytest.raises(Conflict, match="power it off"):
        edit_guest(guest=site.guest(), changes={"name": "other"}, by="test")


def test_a_guest_with_snapshots_keeps_its_name(site: Site) -> None:
    site.set_state(site.guest(), GuestState.OFF)
    Guest.objects.update(snapshot_count=1)
    with pytest.raises(Conflict, match="snapshots"):
        edit_guest(guest=site.guest(), changes={"name": "other"}, by="test")


def test_a_transient_guest_has_no_autostart(site: Site) -> None:
    Guest.objects.update(persistent=False, autostart=False)
    with pytest.raises(Conflict, match="forgets"):
        edit_guest(guest=site.guest(), changes={"autostart": True}, by="test")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_who_may_not(site: Site, role: str) -> None:
    user = User.objects.create(username=role, role=role)
    with pytest.raises(Forbidden):
        edit_guest(guest=site.guest(), changes={"notes": "x"}, by=user)


# -- the way back


@pytest.mark.usefixtures("fate")
def test_undo_and_redo(site: Site, ada: User) -> None:
    first = edit(site, notes="x", autostart=False)
    undone = live(undo_act(job=first, by=ada))
    site.read()
    assert (site.guest().notes, site.guest().autostart) == ("", True)
    again = live(undo_act(job=undone, by=ada))
    site.read()
    assert again.state == "succeeded"
    assert site.guest().notes == "x"


@pytest.mark.usefixtures("fate")
def test_undo_does_not_take_away_what_came_after(site: Site, ada: User) -> None:
    first = edit(site, notes="x")
    edit(site, notes="y")
    assert "changed again" in undo_reason(first, user=ada)
    with pytest.raises(Conflict, match="changed again"):
        undo_act(job=first, by=ada)


@pytest.mark.usefixtures("fate")
def test_undo_by_whom_and_of_what(site: Site, ada: User) -> None:
    first = edit(site, notes="x")
    with pytest.raises(Forbidden):
        undo_act(job=first, by=User.objects.create(username="vic", role=Role.VIEWER))
    edit_guest(guest=site.guest(), changes={"notes": "z"}, by="test")
    with pytest.raises(AlreadyOpen):
        undo_act(job=first, by=ada)
    assert "open task" in undo_reason(first, user=ada)
    site.world.add_fault("alpha", at="set_notes", do="rejected")
    failed = live(Job.objects.get(state="queued"))
    assert not has_undo(failed)
    with pytest.raises(Conflict, match="cannot be undone"):
        undo_act(job=failed, by=ada)


# -- workers that die


def test_a_kill_at_every_call(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.set_state(site.guest(), GuestState.OFF)
    changes = {"name": "other", "notes": "x", "autostart": False, "memory_bytes": 2 * GIB, "vcpus": 1}
    as_it_was, number, struck = site.world.path.read_bytes(), 0, True
    while struck:
        number += 1
        for made in (False, True):
            site.world.path.write_bytes(as_it_was)
            with transaction.atomic():
                fate = strike_with(monkeypatch, Fate([(number, made)]))
                job = live(edit_guest(guest=site.guest(), changes=changes, by="test"))
                struck = not fate.kills
                assert job.state == "succeeded", (fate.calls, job.message)
                really = site.really(site.guest())
                assert {name: getattr(really, name) for name in changes} == changes
                transaction.set_rollback(True)
    assert number > 10


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "other"}, "libvirt cannot rename a container."),
        ({"vcpus": 3}, "libvirt gives containers no other number of virtual CPUs."),
        ({"title": "Box", "most_vcpus": 9}, "libvirt gives containers no other number of virtual CPUs."),
    ],
)
def test_what_containers_cannot_have_is_refused_before_their_host_is_asked(
    db: None, changes: dict[str, Any], sentence: str
) -> None:
    guest = make_guest("box-01", make_host("lxc-01", make_source("lxc-01", hypervisor="lxc")), state=GuestState.OFF)
    with pytest.raises(Conflict) as raised:
        edit_guest(guest=guest, changes=changes, by="test")
    assert raised.value.message == sentence
    assert edit_guest(guest=guest, changes={"title": "Box", "memory_bytes": GIB}, by="test").state == "queued"
