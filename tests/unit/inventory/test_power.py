"""Power actions on simulated guests: asked once, verified, written with the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from access.models import User
from access.roles import Role
from core.errors import Conflict, Forbidden, Invalid
from drivers.types import GuestState, PowerAction
from hosts.models import SourceState
from inventory import power, power_runner
from inventory.models import Guest
from inventory.power import power_choices, submit_power
from operations.errors import AlreadyOpen
from operations.handle import JobHandle
from operations.leases import LEASE_SECONDS, heartbeat
from operations.models import Job
from operations.runtime import run
from operations.selectors import job_title
from operations.services import request_cancel
from tests.factories import make_guest, make_user
from tests.world import Fleet, make_fleet, open_here


@pytest.fixture
def in_process(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_runner.PowerRun.__init__, "__defaults__", (open_here,))
    monkeypatch.setattr(power_runner, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "_ensure_thread", lambda: None)


@pytest.fixture
def fleet(in_process: None, tmp_path: Path) -> Fleet:
    return make_fleet(tmp_path / "world.json", "alpha", guests=2)


def short(monkeypatch: Any, action: str, seconds: float = 0.05) -> None:
    wanted = PowerAction(action)
    rule = power.RULES[wanted]
    changed = {name: getattr(rule, name) for name in rule.__slots__} | {"wait_seconds": seconds}
    monkeypatch.setitem(power.RULES, wanted, power.PowerRule(**changed))


def set_state(fleet: Fleet, guest: Guest, state: GuestState, *, row: bool = True) -> None:
    with fleet.world.open() as world:
        world.hosts["alpha"].guests[guest.uuid].state = state
    if row:
        Guest.objects.filter(pk=guest.pk).update(state=state.value)


def really(fleet: Fleet, guest: Guest) -> str:
    return fleet.world.guests("alpha")[guest.uuid].state.value


def go(job: Job) -> Job:
    run(str(job.pk))
    return Job.objects.get(pk=job.pk)


def at_call(monkeypatch: Any, method: str, *, before: Any = None, after: Any = None) -> None:
    """Act around the runner's first call of a session's method."""
    acts = {"before": before, "after": after}

    @contextmanager
    def opened(*args: Any, **options: Any) -> Iterator[Any]:
        with open_here(*args, **options) as session:
            original = getattr(session, method)

            def called(*arguments: Any) -> Any:
                if acts["before"]:
                    acts.pop("before")()
                    acts["before"] = None
                answer = original(*arguments)
                if acts["after"]:
                    act, acts["after"] = acts["after"], None
                    act()
                return answer

            setattr(session, method, called)
            yield session

    monkeypatch.setattr(power_runner.PowerRun.__init__, "__defaults__", (opened,))


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        (GuestState.OFF, "start", "running"),
        (GuestState.RUNNING, "shutdown", "off"),
        (GuestState.RUNNING, "reset", "running"),
        (GuestState.RUNNING, "off", "off"),
        (GuestState.PAUSED, "off", "off"),
        (GuestState.RUNNING, "suspend", "paused"),
        (GuestState.PAUSED, "resume", "running"),
    ],
)
def test_each_action_does_what_it_says(fleet: Fleet, before: GuestState, action: str, after: str) -> None:
    guest = fleet.guest("alpha")
    set_state(fleet, guest, before)
    job = go(submit_power(guest=guest, action=action, by="test"))
    assert job.state == "succeeded", job.message
    assert really(fleet, guest) == after
    assert Guest.objects.get(pk=guest.pk).state == after, "the row says so with the job's end"


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        ("off", {"start"}),
        ("running", {"shutdown", "reset", "off", "suspend"}),
        ("paused", {"off", "resume"}),
        ("unknown", set()),
    ],
)
def test_what_makes_sense_in_each_state(fleet: Fleet, state: str, possible: set[str]) -> None:
    guest = fleet.guest("alpha")
    Guest.objects.filter(pk=guest.pk).update(state=state)
    guest.refresh_from_db()
    user = User.objects.create(username="olga", role=Role.OPERATOR)
    choices = power_choices(guest, user=user)
    assert {choice.action for choice in choices if choice.possible} == possible
    for choice in choices:
        if not choice.possible:
            assert choice.reason.endswith(".")
            with pytest.raises(Conflict):
                submit_power(guest=guest, action=choice.action, by=user)
    assert not Job.objects.exists()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR])
def test_who_may_not(fleet: Fleet, role: str) -> None:
    user = User.objects.create(username=role, role=role)
    assert not any(choice.possible for choice in power_choices(fleet.guest("alpha"), user=user))
    with pytest.raises(Forbidden):
        submit_power(guest=fleet.guest("alpha"), action="off", by=user)


def test_an_unknown_action_and_a_paused_source(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    with pytest.raises(Invalid):
        submit_power(guest=guest, action="explode", by="test")
    fleet.hosts["alpha"].source.state = SourceState.PAUSED
    fleet.hosts["alpha"].source.save()
    with pytest.raises(Conflict, match="paused"):
        submit_power(guest=guest, action="off", by="test")


def test_off_and_reset_overrule_a_shutdown_and_nothing_else(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    shutdown = submit_power(guest=guest, action="shutdown", by="ada")
    with pytest.raises(AlreadyOpen, match="Shut down"):
        submit_power(guest=guest, action="suspend", by="bob")
    reset = submit_power(guest=guest, action="reset", by="bob")
    assert Job.objects.get(pk=shutdown.pk).message == "Overruled by Reset, asked by bob."
    with pytest.raises(AlreadyOpen, match="Reset"):
        submit_power(guest=guest, action="off", by="bob")
    assert job_title(reset) == "Reset"


def test_a_shutdown_that_is_not_heard_ends_with_advice(fleet: Fleet, monkeypatch: Any) -> None:
    guest = fleet.guest("alpha")
    short(monkeypatch, "shutdown")
    at_call(monkeypatch, "power", after=lambda: set_state(fleet, guest, GuestState.RUNNING))
    job = go(submit_power(guest=guest, action="shutdown", by="test"))
    assert job.state == "failed"
    assert "Power it off." in job.message


def test_what_changed_since_the_click_is_seen(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    job = submit_power(guest=guest, action="suspend", by="test")
    set_state(fleet, guest, GuestState.OFF, row=False)
    ended = go(job)
    assert (ended.state, ended.message) == ("failed", "alpha says that the guest is off.")


def test_what_is_so_already_is_not_asked(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    job = submit_power(guest=guest, action="off", by="test")
    set_state(fleet, guest, GuestState.OFF, row=False)
    fleet.world.add_fault("alpha", at="power", do="broken")
    assert go(job).state == "succeeded"
    assert Guest.objects.get(pk=guest.pk).state == "off"


@pytest.mark.parametrize("fault", ["rejected", "busy", "not_found"])
def test_a_refusal_is_told(fleet: Fleet, fault: str) -> None:
    fleet.world.add_fault("alpha", at="power", do=fault)
    job = go(submit_power(guest=fleet.guest("alpha"), action="off", by="test"))
    assert job.state == "failed"
    assert job.message.endswith(".")


def test_a_silent_host_is_told(fleet: Fleet) -> None:
    fleet.world.add_fault("alpha", at="sight_guest", do="unreachable")
    job = go(submit_power(guest=fleet.guest("alpha"), action="off", by="test"))
    assert (job.state, "does not answer" in job.message) == ("failed", True)


@pytest.mark.parametrize(("action", "state"), [("reset", "needs_attention"), ("off", "needs_attention")])
def test_a_call_that_did_not_answer_is_never_repeated_blindly(
    fleet: Fleet, monkeypatch: Any, action: str, state: str
) -> None:
    short(monkeypatch, action)
    guest = fleet.guest("alpha")
    fleet.world.add_fault("alpha", at="power", do="unreachable")
    job = go(submit_power(guest=guest, action=action, by="test"))
    assert (job.state, really(fleet, guest)) == (state, "running")
    assert "cannot be told" in job.message


class Killed(BaseException):
    """Stands for kill -9."""


def kill() -> None:
    raise Killed


def die(job: Job) -> None:
    with pytest.raises(Killed):
        run(str(job.pk))
    Job.objects.filter(pk=job.pk).update(lease_until=None)


@pytest.mark.parametrize(
    ("action", "when", "state", "calls"),
    [
        ("reset", "before", "needs_attention", 0),
        ("reset", "after", "needs_attention", 1),
        ("off", "before", "needs_attention", 0),
        ("off", "after", "succeeded", 1),
        ("suspend", "before", "succeeded", 1),
        ("suspend", "after", "succeeded", 1),
        ("shutdown", "before", "succeeded", 1),
        ("start", "before", "needs_attention", 0),
        ("start", "after", "succeeded", 1),
    ],
)
def test_whoever_takes_over_never_does_it_twice(
    fleet: Fleet, monkeypatch: Any, action: str, when: str, state: str, calls: int
) -> None:
    short(monkeypatch, action)
    guest = fleet.guest("alpha")
    if action == "start":
        set_state(fleet, guest, GuestState.OFF)
    counted: list[int] = []
    job = submit_power(guest=guest, action=action, by="test")
    at_call(monkeypatch, "power", **{when: kill})
    die(job)
    done_before = when == "after"
    at_call(monkeypatch, "power", before=lambda: counted.append(1))
    ended = go(job)
    assert ended.state == state, ended.message
    assert len(counted) + done_before == calls
    row = Guest.objects.get(pk=guest.pk)
    assert row.state == really(fleet, guest)


def test_a_shutdown_can_be_given_up(fleet: Fleet, monkeypatch: Any) -> None:
    guest = fleet.guest("alpha")
    job = submit_power(guest=guest, action="shutdown", by="test")

    def ask_and_stay_on() -> None:
        set_state(fleet, guest, GuestState.RUNNING)
        request_cancel(job=job, by="ada")

    at_call(monkeypatch, "power", after=ask_and_stay_on)
    ended = go(job)
    assert ended.state == "cancelled"
    assert "may still follow" in ended.message


@pytest.mark.parametrize("moment", ["sight_guest", "prepare_power"])
def test_a_cancel_before_the_call_does_nothing(fleet: Fleet, monkeypatch: Any, moment: str) -> None:
    """Also while the host lets us in."""
    guest = fleet.guest("alpha")
    job = submit_power(guest=guest, action="off", by="test")
    at_call(monkeypatch, moment, after=lambda: request_cancel(job=job, by="ada"))
    ended = go(job)
    assert (ended.state, really(fleet, guest)) == ("cancelled", "running")


# -- a guest that may be somewhere else, too


@pytest.fixture
def left_behind(in_process: None, tmp_path: Path) -> tuple[Fleet, Guest]:
    """Two hosts; alpha says that the guest is off since it was migrated away."""
    pair = make_fleet(tmp_path / "pair.json", "alpha", "beta", guests=2)
    guest = pair.guest("alpha")
    with pair.world.open() as world:
        left = world.hosts["alpha"].guests[guest.uuid]
        world.hosts["beta"].guests[guest.uuid] = copy(left)
        left.state, left.state_reason = GuestState.OFF, "migrated"
    Guest.objects.filter(pk=guest.pk).update(state="off")
    return pair, guest


def test_a_copy_left_behind_is_not_started_while_the_guest_runs_elsewhere(left_behind: tuple[Fleet, Guest]) -> None:
    fleet, guest = left_behind
    job = go(submit_power(guest=guest, action="start", by="test"))
    assert (job.state, really(fleet, guest)) == ("failed", "off")
    assert job.message == "beta has this guest, too, and there it is running."


def test_a_copy_left_behind_is_not_started_while_the_other_host_is_silent(left_behind: tuple[Fleet, Guest]) -> None:
    fleet, guest = left_behind
    fleet.world.add_fault("beta", at="sight_guest", do="unreachable")
    job = go(submit_power(guest=guest, action="start", by="test"))
    assert (job.state, really(fleet, guest)) == ("failed", "off")
    assert "could run it twice" in job.message


def pause_for_a_move(fleet: Fleet, guest: Guest) -> None:
    with fleet.world.open() as world:
        here = world.hosts["alpha"].guests[guest.uuid]
        here.state, here.state_reason = GuestState.PAUSED, "migration"
    Guest.objects.filter(pk=guest.pk).update(state="paused")


def test_a_guest_that_a_move_paused_does_not_go_on_while_it_runs_elsewhere(left_behind: tuple[Fleet, Guest]) -> None:
    fleet, guest = left_behind
    pause_for_a_move(fleet, guest)
    job = go(submit_power(guest=guest, action="resume", by="test"))
    assert (job.state, really(fleet, guest)) == ("failed", "paused")
    assert job.message == "beta has this guest, too, and there it is running."


def test_a_guest_that_a_move_paused_does_not_go_on_while_the_other_is_silent(left_behind: tuple[Fleet, Guest]) -> None:
    fleet, guest = left_behind
    pause_for_a_move(fleet, guest)
    fleet.world.add_fault("beta", at="sight_guest", do="unreachable")
    job = go(submit_power(guest=guest, action="resume", by="test"))
    assert (job.state, really(fleet, guest)) == ("failed", "paused")
    assert "could run it twice" in job.message


def test_a_copy_that_a_move_paused_can_be_powered_off(left_behind: tuple[Fleet, Guest]) -> None:
    """That is how a person ends it."""
    fleet, guest = left_behind
    pause_for_a_move(fleet, guest)
    job = go(submit_power(guest=guest, action="off", by="test"))
    assert (job.state, really(fleet, guest)) == ("succeeded", "off")


def test_a_guest_that_a_move_paused_goes_on_when_nobody_else_has_it(left_behind: tuple[Fleet, Guest]) -> None:
    fleet, guest = left_behind
    pause_for_a_move(fleet, guest)
    with fleet.world.open() as world:
        del world.hosts["beta"].guests[guest.uuid]
    job = go(submit_power(guest=guest, action="resume", by="test"))
    assert (job.state, really(fleet, guest)) == ("succeeded", "running")


def test_a_copy_left_behind_is_started_when_nobody_else_has_the_guest(left_behind: tuple[Fleet, Guest]) -> None:
    fleet, guest = left_behind
    with fleet.world.open() as world:
        del world.hosts["beta"].guests[guest.uuid]
    job = go(submit_power(guest=guest, action="start", by="test"))
    assert (job.state, really(fleet, guest)) == ("succeeded", "running")


# -- a host that falls silent after it was asked


@pytest.mark.parametrize(("times", "state"), [(2, "succeeded"), (-1, "needs_attention")])
def test_silence_after_the_request_is_waited_out_and_never_called_a_failure(
    fleet: Fleet, monkeypatch: Any, times: int, state: str
) -> None:
    short(monkeypatch, "off", 0.3)
    guest = fleet.guest("alpha")

    def fall_silent() -> None:
        fleet.world.add_fault("alpha", at="sight_guest", do="unreachable", times=times)

    at_call(monkeypatch, "power", after=fall_silent)
    job = go(submit_power(guest=guest, action="off", by="test"))
    assert job.state == state, job.message
    assert really(fleet, guest) == "off"
    assert ("does not answer since" in job.message) == (state == "needs_attention")


@pytest.mark.parametrize("worker_dies", [False, True])
def test_a_transient_guest_is_off_when_it_has_vanished(fleet: Fleet, monkeypatch: Any, worker_dies: bool) -> None:
    guest = fleet.guest("alpha")

    class Transient(power_runner.PowerRun):
        def look(self) -> Any:
            return replace(super().look(), persistent=False)

    def vanish() -> None:
        with fleet.world.open() as world:
            del world.hosts["alpha"].guests[guest.uuid]
        if worker_dies:
            kill()

    at_call(monkeypatch, "power", after=vanish)
    monkeypatch.setattr(power_runner, "PowerRun", Transient)
    job = submit_power(guest=guest, action="off", by="test")
    if worker_dies:
        die(job)
    ended = go(job)
    assert ended.state == "succeeded", ended.message
    assert Guest.objects.get(pk=guest.pk).state == "off"


@pytest.mark.parametrize("action", ["off", "shutdown"])
def test_a_guest_that_was_migrated_away_is_not_called_off(fleet: Fleet, action: str) -> None:
    """Its old host says "off", and it runs on another."""
    guest = fleet.guest("alpha")
    job = submit_power(guest=guest, action=action, by="test")
    set_state(fleet, guest, GuestState.OFF, row=False)
    with fleet.world.open() as world:
        world.hosts["alpha"].guests[guest.uuid].state_reason = "migrated"
    ended = go(job)
    assert ended.state == "failed"
    assert ended.message.startswith("alpha says that the guest was migrated away.")
    assert Guest.objects.get(pk=guest.pk).state == "running", "the next reads tell where"


def test_a_host_that_is_slow_to_let_us_in_costs_no_lease(fleet: Fleet, monkeypatch: Any) -> None:
    """The connection for the call is opened before the right to make it is counted."""
    guest, ahead, real = fleet.guest("alpha"), [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead[0])

    def take_long() -> None:
        ahead[0] += 3 * LEASE_SECONDS

    at_call(monkeypatch, "prepare_power", before=take_long)
    job = go(submit_power(guest=guest, action="off", by="test"))
    assert ahead[0], "it was slow"
    assert (job.state, really(fleet, guest)) == ("succeeded", "off"), job.message


def test_a_host_that_does_not_let_us_in_was_asked_nothing(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    fleet.world.add_fault("alpha", at="prepare_power", do="unreachable")
    job = go(submit_power(guest=guest, action="off", by="test"))
    assert (job.state, really(fleet, guest)) == ("failed", "running")
    assert "asked" not in job.checkpoint


def test_a_call_past_the_lease_does_nothing(fleet: Fleet, monkeypatch: Any) -> None:
    """The worker was stopped between its last look at the lease and the hypervisor's work."""
    guest = fleet.guest("alpha")
    job = submit_power(guest=guest, action="off", by="test")
    monkeypatch.setattr(JobHandle, "lease_ends", property(lambda _handle: time.monotonic() - 1))
    ended = go(job)
    assert (ended.state, ended.message) == ("failed", "The time to do this is over; nothing was done.")
    assert really(fleet, guest) == "running"


def test_a_container_cannot_be_reset(db: None) -> None:
    guest = make_guest("box-01")
    source = guest.host.source
    source.kind, source.hypervisor = "libvirt", "lxc"
    source.save()
    choices = {choice.action: choice.reason for choice in power_choices(guest, user=make_user(Role.OPERATOR))}
    assert "cannot be reset" in choices["reset"]
    assert not choices["off"]
    with pytest.raises(Conflict, match="cannot be reset"):
        submit_power(guest=guest, action="reset", by=make_user(Role.OPERATOR, "second"))
