"""A host without power and one without network for longer than a task waits for them."""

from __future__ import annotations

from django.utils import timezone

from hosts.models import Host, HostState, Source, SourceState
from inventory.acts.snapshots import find_snapshot
from inventory.models import Guest
from storage.models import Volume
from tests.faults.scene import Scene, go_on
from tests.faults.under_way import Clone, Snapshot, require_others_are_read, state_of
from tests.stack import Product, wait_until


def test_a_host_without_power_and_one_without_network_leave_their_tasks_to_a_person(product: Product) -> None:
    dark, cut = (Scene(product, host) for host in product.lab.hosts[1:3])
    lost = {g.uuid for g in product.lab.guests if g.running_on == [dark.real.name]}
    snapshot, clone = Snapshot(cut), Clone(dark)
    dark.real.pull_plug()
    cut.real.cut_cable()
    go_on(cut, snapshot.guest)
    assert not dark.real.is_on
    for name in (dark.real.name, cut.real.name):
        wait_until(lambda name=name: state_of(name) == SourceState.UNREACHABLE, f"{name} is not reached")  # type: ignore[misc]
        assert Host.objects.get(source__name=name).state == HostState.NOT_RESPONDING
    require_others_are_read(product, dark.real.name, cut.real.name)

    ended = dark.end(clone.job, "needs_attention")
    assert f"{dark.host.name} was asked and then did not answer any more" in ended.message
    assert clone.volume in ended.message, "what may be left has its name"
    ended = cut.end(snapshot.job, "needs_attention")
    assert f"{cut.host.name} was asked and then did not answer any more" in ended.message
    require_others_are_read(product, dark.real.name, cut.real.name)

    dark.real.plug_in()
    cut.real.join_cable()
    # Each is tried again by itself, later and later; no need to sit through it.
    Source.objects.update(next_states_at=timezone.now(), next_inventory_at=timezone.now())
    for name in (dark.real.name, cut.real.name):
        wait_until(lambda name=name: state_of(name) == SourceState.OK, f"{name} is read by itself")  # type: ignore[misc]
    wait_until(lambda: states_of(lost) == {"off"}, "its guests are off, as they are")
    wait_until(Volume.objects.filter(name=clone.volume).exists, "what is left is shown")
    assert clone.copy_name not in dark.real.guests()
    wait_until(lambda: find_snapshot(snapshot.row, snapshot.name), "the host did it alone, and that is shown")
    assert snapshot.guest.boot_id == snapshot.boot
    clone.tidy()
    snapshot.tidy()


def states_of(uuids: set[str]) -> set[str]:
    return set(Guest.objects.filter(uuid__in=uuids, missing_since=None).values_list("state", flat=True))
