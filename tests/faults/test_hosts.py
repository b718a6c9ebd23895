"""A host loses its power or its network, or falls silent, in the middle of what is done with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from hosts.models import Source, SourceState
from hosts.polling import read_now
from inventory.models import Guest, Watch
from inventory.power import submit_power
from lab.api import LabHost
from tests.faults.scene import LOCAL, Scene, go_on, names_of_snapshots, scene_on, sum_of
from tests.faults.under_way import Clone, Snapshot, require_others_are_read, running_on, state_of
from tests.relay import Procedure, Trap
from tests.stack import Product, wait_until

# -- power and cable


@pytest.mark.whole
def test_a_short_loss_of_power_or_network_costs_nothing(product: Product) -> None:
    dark, cut = (Scene(product, host) for host in product.lab.hosts[1:3])
    snapshot, clone = Snapshot(cut), Clone(dark)
    cut.real.cut_cable()
    dark.real.pull_plug()
    go_on(cut, snapshot.guest)
    wait_until(lambda: state_of(cut.real.name) == SourceState.UNREACHABLE, "it is not reached")
    dark.real.plug_in()
    cut.real.join_cable()
    dark.end(clone.job)
    cut.end(snapshot.job)
    assert dark.real.guests()[clone.copy_name] == "shutoff"
    assert sum_of(dark, f"{LOCAL}/{clone.volume}") == sum_of(dark, clone.source) == clone.content
    assert names_of_snapshots(cut, snapshot.guest) == [snapshot.name]
    assert snapshot.guest.boot_id == snapshot.boot
    clone.tidy()
    snapshot.tidy()


# -- silence


@pytest.fixture
def scene(product: Product) -> Iterator[Scene]:
    with ExitStack() as undo:
        scene = undo.enter_context(scene_on(product))
        undo.callback(product.lab.hosts[0].mend)
        yield scene


def is_heard(name: str, *, since: Any) -> bool:
    return Watch.objects.filter(source__name=name, since__gt=since).exists()


def require_is_told(host: LabHost, row: Guest) -> None:
    """What somebody does on the guest's host is written; nobody reads that host meanwhile."""
    Source.objects.filter(name=host.name).update(next_states_at=far(), next_inventory_at=far())
    for act, becomes in (("suspend", "paused"), ("resume", "running")):
        host.virsh(act, row.uuid)
        wait_until(lambda becomes=becomes: state_of_guest(row) == becomes, "its event is written")  # type: ignore[misc]


def far() -> Any:
    return timezone.now() + timedelta(minutes=5)


def state_of_guest(row: Guest) -> str:
    return str(Guest.objects.values_list("state", flat=True).get(pk=row.pk))


def test_a_host_that_falls_silent_while_it_is_read_watched_and_asked(scene: Scene) -> None:
    product, name = scene.product, scene.real.name
    began = timezone.now()
    scene.stack.start_watcher()
    wait_until(lambda: Watch.objects.filter(since__gt=began).count() == len(product.lab.hosts), "all are watched")
    guest, host = product.settle(running_on(scene)), product.lab.hosts[1]
    other = product.settle(next(made for made in product.lab.guests if made.running_on == [host.name]))
    trap = scene.relay.arm(Trap(Procedure.CONNECT_LIST_ALL_STORAGE_POOLS, strike=scene.real.freeze_libvirtd))
    read_now(scene.source.pk, inventory=True)
    wait_until(trap.sprung.is_set, "it falls silent in the middle of a read")
    assert scene.source.lease_until is not None, "which goes on"
    asked = submit_power(guest=guest, action="suspend", by="test")

    # Nobody else waits for it: they are read, told of, and asked.
    require_others_are_read(product, name)
    require_is_told(host, other)
    for action, becomes in (("suspend", "paused"), ("resume", "running")):
        scene.end(submit_power(guest=fresh(other), action=action, by="test"))
        wait_until(lambda becomes=becomes: state_of_guest(other) == becomes, "it is read")  # type: ignore[misc]

    ended = scene.end(asked, "failed", "needs_attention")
    assert "did not answer" in ended.message
    wait_until(lambda: scene.source.failures >= 2, "it is tried again, later and later")
    silent = scene.source
    assert (silent.state, silent.suspect) == (SourceState.UNREACHABLE, True)
    assert silent.state_message
    assert state_of_guest(guest) == "running", "the last known state stays"
    assert not Watch.objects.filter(source=silent, since__isnull=False).exists()

    thawed = timezone.now()
    scene.real.thaw_libvirtd()
    wait_until(lambda: scene.is_read_since(thawed), "it is read by itself", seconds=240)
    assert not scene.source.suspect
    wait_until(lambda: is_heard(name, since=thawed), "it is watched again", seconds=240)
    require_is_told(scene.real, product.settle(product.lab.guest(guest.name)))


def fresh(row: Guest) -> Guest:
    return Guest.objects.select_related("host__source").get(pk=row.pk)
