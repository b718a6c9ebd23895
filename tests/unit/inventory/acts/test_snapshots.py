"""Snapshots: taken, gone back to, deleted; each once, whatever happens to the worker."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from access.models import User
from access.roles import Role
from core.errors import Conflict, Forbidden, Invalid
from drivers.types import GuestState
from hosts.models import SourceState
from inventory.acts.snapshots import children_of, create_snapshot, delete_snapshot, revert_snapshot, snapshots_of
from inventory.models import Guest
from operations.errors import AlreadyOpen
from operations.models import Job
from operations.selectors import job_title
from tests.lives import Fate, live, strike_with
from tests.site import Site

MOST_CALLS = 12


def take(site: Site, *names: str, **options: Any) -> None:
    for name in names:
        job = live(create_snapshot(guest=site.guest(), name=name, by="test", **options))
        assert job.state == "succeeded", job.message
        site.read()


def names(site: Site) -> list[str]:
    return [one.name for one in site.really(site.guest()).snapshots]


def change(site: Site, **values: Any) -> None:
    with site.world.open() as world:
        guest = world.hosts["alpha"].guests[site.guest().uuid]
        for name, value in values.items():
            setattr(guest, name, value)


@pytest.mark.usefixtures("fate")
def test_a_snapshot_is_taken_and_shown(site: Site) -> None:
    take(site, "before the update", notes="as it was")
    (found,) = snapshots_of(site.guest())
    assert (found["name"], found["notes"], found["memory"], found["current"]) == (
        "before the update",
        "as it was",
        True,
        True,
    )
    assert site.guest().snapshot_count == 1
    assert job_title(Job.objects.get()) == "Take snapshot before the update"


@pytest.mark.usefixtures("fate")
def test_without_memory_it_is_taken_of_the_disks_and_says_what_that_means(site: Site) -> None:
    job = live(create_snapshot(guest=site.guest(), name="a", memory=False, by="test"))
    assert job.state == "succeeded"
    assert "no way back" in job.message, "the driver's warning"
    assert site.really(site.guest()).snapshots[0].external


@pytest.mark.usefixtures("fate")
def test_what_the_host_finds_against_it_fails_it_before_anything_is_asked(site: Site) -> None:
    with site.world.open() as world:
        world.hosts["alpha"].guests[site.guest().uuid].disks[0].format = "raw"
    job = live(create_snapshot(guest=site.guest(), name="a", by="test"))
    assert job.state == "failed"
    assert "qcow2" in job.message
    assert "asked" not in job.checkpoint


@pytest.mark.usefixtures("fate")
def test_going_back(site: Site) -> None:
    take(site, "a")
    change(site, notes="newer")
    job = live(revert_snapshot(guest=site.guest(), name="a", by="test"))
    assert job.state == "succeeded", job.message
    assert site.really(site.guest()).notes == ""
    assert site.really(site.guest()).claim == ""


@pytest.mark.usefixtures("fate")
def test_there_is_no_way_back_to_an_external_one(site: Site) -> None:
    take(site, "a", memory=False)
    job = live(revert_snapshot(guest=site.guest(), name="a", by="test"))
    assert job.state == "failed"
    assert "no way back" in job.message
    assert "asked" not in job.checkpoint, "the guest was not even claimed"


@pytest.mark.usefixtures("fate")
@pytest.mark.parametrize(("children", "left"), [(False, ["b", "c"]), (True, [])])
def test_deleting_alone_or_with_its_children(site: Site, children: bool, left: list[str]) -> None:
    take(site, "a", "b", "c")
    assert children_of(site.guest(), "a") == ["b", "c"]
    job = live(delete_snapshot(guest=site.guest(), name="a", children=children, by="test"))
    assert job.state == "succeeded"
    assert names(site) == left
    assert ("children" in job_title(job)) == children


@pytest.mark.parametrize("name", ["", " ", "../a", "a/b", "-a", "a\nb", "x" * 200, "<b>", "=1+1", "\u202ea"])
def test_names_that_are_none(site: Site, name: str) -> None:
    with pytest.raises(Invalid) as caught:
        create_snapshot(guest=site.guest(), name=name, by="test")
    assert caught.value.field == "name"
    assert not Job.objects.exists()


@pytest.mark.usefixtures("fate")
def test_a_name_that_is_taken(site: Site) -> None:
    take(site, "a")
    with pytest.raises(Invalid, match="already"):
        create_snapshot(guest=site.guest(), name="a", by="test")


@pytest.mark.parametrize(
    ("memory", "state", "words"),
    [
        (True, GuestState.RUNNING, "without its memory"),
        (False, GuestState.OFF, "running guest"),
        (False, GuestState.RUNNING, "agent"),
    ],
)
def test_when_flushing_makes_no_sense(site: Site, memory: bool, state: GuestState, words: str) -> None:
    site.set_state(site.guest(), state)
    with pytest.raises(Invalid, match=words):
        create_snapshot(guest=site.guest(), name="a", memory=memory, quiesce=True, by="test")


@pytest.mark.usefixtures("fate")
def test_a_snapshot_that_is_not_there_or_another(site: Site) -> None:
    take(site, "a")
    with pytest.raises(Conflict, match="no such snapshot"):
        revert_snapshot(guest=site.guest(), name="b", by="test")
    with pytest.raises(Conflict, match="no such snapshot"):
        delete_snapshot(guest=site.guest(), name="a", created_at="2020-01-01T00:00:00+00:00", by="test")
    made_at = snapshots_of(site.guest())[0]["created_at"]
    assert live(delete_snapshot(guest=site.guest(), name="a", created_at=made_at, by="test")).state == "succeeded"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_who_may_not(site: Site, role: str) -> None:
    user = User.objects.create(username=role, role=role)
    for act in (create_snapshot, revert_snapshot, delete_snapshot):
        with pytest.raises(Forbidden):
            act(guest=site.guest(), name="a", by=user)


def test_one_at_a_time(site: Site) -> None:
    first = create_snapshot(guest=site.guest(), name="a", by="test")
    with pytest.raises(AlreadyOpen) as caught:
        create_snapshot(guest=site.guest(), name="b", by="test")
    assert caught.value.job == first
    assert create_snapshot(guest=site.guest(1), name="a", by="test").state == "queued", "another guest is free"


@pytest.mark.parametrize(
    ("values", "words"),
    [({"missing_since": "2026-01-01T00:00Z"}, "not found"), ({"conflict": "Two of them."}, "identity")],
)
def test_guests_that_are_not_to_be_touched(site: Site, values: dict[str, Any], words: str) -> None:
    Guest.objects.filter(pk=site.guest().pk).update(**values)
    with pytest.raises(Conflict, match=words):
        create_snapshot(guest=site.guest(), name="a", by="test")


def test_a_paused_source(site: Site) -> None:
    site.source.state = SourceState.PAUSED
    site.source.save()
    with pytest.raises(Conflict, match="paused"):
        create_snapshot(guest=site.guest(), name="a", by="test")


# -- workers that die


@pytest.mark.parametrize("seconds", [0.0, 0.03])
@pytest.mark.parametrize("act", ["create", "revert", "delete"])
def test_a_kill_at_every_call(site: Site, monkeypatch: pytest.MonkeyPatch, act: str, seconds: float) -> None:
    """A worker dies once, before or after any of its calls: what was asked is done, once, and the job says so."""
    strike_with(monkeypatch)
    take(site, "a")
    change(site, notes="newer")
    site.read()
    with site.world.open() as world:
        world.task_seconds = seconds
        world.hosts["alpha"].tasks.clear()
    as_it_was, number, struck = site.world.path.read_bytes(), 0, True
    while struck and number < MOST_CALLS:
        number += 1
        for made in (False, True):
            site.world.path.write_bytes(as_it_was)
            with transaction.atomic():
                struck = one_story(site, monkeypatch, act, Fate([(number, made)]))
                transaction.set_rollback(True)
    assert number > 3


def one_story(site: Site, monkeypatch: pytest.MonkeyPatch, act: str, fate: Fate) -> bool:
    """Whether the worker was struck."""
    acts: dict[str, Any] = {"create": create_snapshot, "revert": revert_snapshot, "delete": delete_snapshot}
    job = acts[act](guest=site.guest(), name="b" if act == "create" else "a", by="test")
    strike_with(monkeypatch, fate)
    ended = live(job)
    assert ended.state == "succeeded", (fate.calls, ended.message)
    check_world(site, act)
    return not fate.kills


def check_world(site: Site, act: str) -> None:
    guest = site.really(site.guest())
    assert [one.name for one in guest.snapshots] == {"create": ["a", "b"], "revert": ["a"], "delete": []}[act]
    assert guest.notes == ("" if act == "revert" else "newer")
    with site.world.open() as world:
        assert len(world.hosts["alpha"].tasks) == 1, "done once"


def test_reverting_half_way_is_not_done_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim is gone, and the guest is not what the snapshot says: a person looks, nobody reverts again."""
    strike_with(monkeypatch)
    take(site, "a")
    fate = strike_with(monkeypatch, Fate())
    job = revert_snapshot(guest=site.guest(), name="a", by="test")

    def break_off(_number: int, name: str) -> None:
        if name == "revert_snapshot":
            change(site, claim="", state=GuestState.OFF)
            site.world.add_fault("alpha", at="revert_snapshot", do="unreachable")

    fate.before_call = break_off
    ended = live(job)
    assert ended.state == "needs_attention"
    assert "look at the guest" in ended.message
    assert fate.calls.count("revert_snapshot") == 1


def test_an_attempt_that_comes_in_between_the_two_calls_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked about it was not done, asked for again it is refused: it is done all the same, once."""
    strike_with(monkeypatch)
    take(site, "a")
    fate = strike_with(monkeypatch, Fate())
    job = revert_snapshot(guest=site.guest(), name="a", by="test")
    asked: list[str] = []

    def come_late(_number: int, name: str) -> None:
        if name != "revert_snapshot":
            return
        asked.append(name)
        if len(asked) == 1:
            site.world.add_fault("alpha", at="revert_snapshot", do="unreachable")
        else:  # what libvirt does, first to last
            change(site, claim="", current_snapshot="a", state=GuestState.RUNNING)

    fate.before_call = come_late
    ended = live(job)
    assert (ended.state, len(asked)) == ("succeeded", 2)


def test_another_worker_that_wakes_up_late_reverts_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    strike_with(monkeypatch)
    take(site, "a")
    fate = strike_with(monkeypatch, Fate())
    job = revert_snapshot(guest=site.guest(), name="a", by="test")
    ran: list[str] = []

    def sleep(_number: int, name: str) -> None:
        if name == "revert_snapshot" and not ran:
            ran.append(name)
            live(job)  # another worker does it all
            change(site, notes="newer")

    fate.before_call = sleep
    live(job)
    assert fate.calls.count("revert_snapshot") == 2
    assert site.really(site.guest()).notes == "newer", "the late call was refused"
    assert Job.objects.get(pk=job.pk).state == "succeeded"
