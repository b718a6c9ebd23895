"""Faults in the middle of a real move: one running copy, one usable definition, a true row."""

import pytest

from inventory.models import Guest
from inventory.power import submit_power
from lab.api import LabGuest
from migrations.services import submit_migration
from operations.models import Job
from operations.services import request_cancel
from tests.jobs import taken_over, wait_for_end, worker_of
from tests.stack import Product, wait_until

SLOW_MIB_PER_SECOND = 1  # an idle guest then takes about half a minute


class Move:
    """One move under way, slow enough to be hit."""

    def __init__(self, product: Product, guest: LabGuest) -> None:
        self.product = product
        self.guest = guest
        self.row = product.settle(guest)
        self.home = guest.host.name
        self.away = next(host.name for host in product.lab.hosts if host.name != self.home)
        self.boot = guest.boot_id
        wait_until(lambda: counts_anew(guest), "it is beyond what it counted before a snapshot was gone back to")
        self.beat, self.doubled = guest.wait_heartbeat(), guest.doubled_beats()
        guest.host.virsh("migrate-setspeed", guest.uuid, str(SLOW_MIB_PER_SECOND))
        self.migration = submit_migration(guest=self.row, target_host=product.host(self.away), by="test")
        copying = Job.objects.filter(pk=self.migration.pk, state="copying", progress__bytes_processed__gt=0)
        wait_until(copying.exists, "it copies")

    @property
    def job(self) -> Job:
        return Job.objects.get(pk=self.migration.pk)

    @property
    def worker(self) -> str:
        return worker_of(self.product.stack, self.job)

    def is_copying(self) -> bool:
        """Whether the hypervisor says so."""
        info = self.product.lab.host(self.home).virsh("domjobinfo", self.guest.uuid)
        return "Outgoing migration" in info

    def let_go(self) -> None:
        """Full speed from here on."""
        self.product.lab.host(self.home).virsh("migrate-setspeed", self.guest.uuid, "1000")

    def end(self) -> Job:
        return wait_for_end(self.job, 180)

    def taken_over(self) -> bool:
        return taken_over(self.job)

    def assert_on(self, where: str) -> None:
        """One running copy, one definition, the same boot, still counting, and the row says where."""
        assert self.guest.running_on == [where]
        wait_until(lambda: self.guest.defined_on == [where], "one definition is left")
        assert self.guest.boot_id == self.boot
        self.guest.wait_heartbeat(after=self.beat)
        assert self.guest.doubled_beats() == self.doubled
        row = Guest.objects.select_related("host__source").get(pk=self.row.pk)
        assert (row.host.source.name, row.state) == (where, "running")
        # Where it stayed, the stamp stops a late worker from beginning this attempt again.
        assert (self.migration.stamp in self.guest.host.virsh("dumpxml", self.guest.uuid)) is (where == self.home)


def counts_anew(guest: LabGuest) -> bool:
    """Whether it stands at the highest count that this start of it ever had, anywhere."""
    last, boot = guest.heartbeat(), guest.boot_id
    beats = [beat.count for host in guest.lab.hosts for beat in guest.beats(host) if beat.boot_id == boot]
    return last is not None and last.count == max(beats)


@pytest.fixture
def move(product: Product) -> Move:
    return Move(product, product.lab.guests[0])


def test_the_worker_is_killed(move: Move) -> None:
    assert move.is_copying()
    move.product.stack.kill(move.worker)
    assert move.is_copying(), "libvirt goes on by itself"
    wait_until(move.taken_over, "another worker watches")
    move.let_go()
    assert move.end().state == "succeeded", move.job.message
    move.assert_on(move.away)


def test_both_workers_are_killed_and_the_move_ends_meanwhile(move: Move) -> None:
    for name in ("worker-a", "worker-b"):
        move.product.stack.kill(name)
    assert move.is_copying()
    move.let_go()
    wait_until(lambda: move.guest.running_on == [move.away], "it arrived with nobody watching")
    assert move.job.is_open
    move.product.stack.mend()
    assert move.end().state == "succeeded", move.job.message
    move.assert_on(move.away)


def test_the_worker_sleeps_past_its_lease_and_wakes_in_mid_copy(move: Move) -> None:
    sleeper = move.worker
    move.product.stack.freeze(sleeper)
    wait_until(move.taken_over, "another worker watches")
    assert move.is_copying()
    move.product.stack.thaw(sleeper)
    wait_until(lambda: str(move.migration.pk) in _losses(move, sleeper), "the sleeper noticed")
    assert move.is_copying(), "and did nothing"
    move.let_go()
    assert move.end().state == "succeeded", move.job.message
    move.assert_on(move.away)
    assert move.job.steps.filter(message__contains="Another worker").count() == 1


def _losses(move: Move, worker: str) -> str:
    lines = move.product.stack.log(worker).splitlines()
    return "\n".join(line for line in lines if "another worker's now" in line)


def test_the_target_s_libvirtd_is_killed(move: Move) -> None:
    target = move.product.lab.host(move.away)
    assert move.is_copying()
    target.kill_libvirtd()
    wait_until(lambda: not move.is_copying(), "the hypervisor gave up")
    target.start_libvirtd()
    ended = move.end()
    assert ended.state == "failed", ended.message
    assert "The guest stayed on" in ended.message
    move.assert_on(move.home)
    move.let_go()
    again = submit_migration(guest=move.product.settle(move.guest), target_host=move.product.host(move.away), by="test")
    wait_for_end(again.job, 120)
    move.assert_on(move.away)


def test_the_source_s_libvirtd_is_killed(move: Move) -> None:
    source = move.product.lab.host(move.home)
    assert move.is_copying()
    source.kill_libvirtd()
    assert source.libvirtd_pid is None
    source.start_libvirtd()
    ended = move.end()
    assert ended.state == "failed", ended.message
    move.assert_on(move.home)


def test_the_broker_forgets_everything(move: Move) -> None:
    others = move.product.lab.guests[1:3]
    rows = [move.product.settle(guest) for guest in others]
    for name in ("worker-a", "worker-b"):
        move.product.stack.kill(name)  # one that merely slept would still be handed a message
    jobs = [submit_power(guest=row, action="suspend", by="test") for row in rows]
    assert move.product.stack.flush_broker() >= len(jobs), "the fault: messages were there"
    move.product.stack.mend()
    move.let_go()
    assert move.end().state == "succeeded", move.job.message
    for job in jobs:
        wait_until(Job.objects.filter(pk=job.pk, state="succeeded").exists, "a lost job was done")
    move.assert_on(move.away)
    for guest in others:
        guest.host.virsh("resume", guest.uuid)


def test_a_cancel_and_a_dead_worker(move: Move) -> None:
    move.product.stack.freeze(move.worker)
    request_cancel(job=move.job, by="test")
    assert move.end().state == "cancelled", move.job.message
    assert move.taken_over()
    move.assert_on(move.home)
