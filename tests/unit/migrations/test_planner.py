"""Each check: what makes it speak, and that it is silent otherwise."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from access.models import User
from access.roles import Role
from drivers.types import SwitchKind
from hosts.models import Datacenter, HostState, SourceState
from inventory.models import Guest, Nic, Placement
from inventory.power import submit_power
from migrations.planner import CHECKS, as_data, check_target
from migrations.selectors import targets_for
from networks.models import VirtualSwitch
from tests.world import Fleet

Break = Callable[[Fleet, Guest], Any]


def set_guest(**values: Any) -> Break:
    return lambda fleet, guest: Guest.objects.filter(pk=guest.pk).update(**values)


def set_host(name: str, **values: Any) -> Break:
    def change(fleet: Fleet, guest: Guest) -> None:
        for field, value in values.items():
            setattr(fleet.hosts[name], field, value)
        fleet.hosts[name].save()

    return change


def set_source(name: str, **values: Any) -> Break:
    def change(fleet: Fleet, guest: Guest) -> None:
        for field, value in values.items():
            setattr(fleet.hosts[name].source, field, value)
        fleet.hosts[name].source.save()

    return change


def set_disk(**values: Any) -> Break:
    return lambda fleet, guest: guest.disks.update(**values)


def set_mount(**values: Any) -> Break:
    return lambda fleet, guest: fleet.hosts["beta"].mounts.filter(datastore__name="shared").update(**values)


def use_switch(**there: Any) -> Break:
    """Plug the guest into a switch that both hosts have, and change the target's."""

    def change(fleet: Fleet, guest: Guest) -> None:
        name = fleet.hosts["alpha"].switches.filter(kind=SwitchKind.NAT).values_list("name", flat=True)[0]
        guest.nics.update(network=name, bridge="", kind="network")
        if there:
            VirtualSwitch.objects.filter(host=fleet.hosts["beta"], name=name).update(**there)

    return change


def set_bridge(**values: Any) -> None:
    """Change what the target says of the bridge the guest is plugged into."""
    VirtualSwitch.objects.filter(host__name="beta", bridge="br0").update(**values)


def namesake(**values: Any) -> Break:
    def change(fleet: Fleet, guest: Guest) -> None:
        other = Guest.objects.filter(host=fleet.hosts["beta"])[0]
        Guest.objects.filter(pk=other.pk).update(**{name: getattr(guest, name) for name in values}, twin=1)

    return change


def left_behind(*, read_since: bool) -> Break:
    """The target holds an old definition; whether it was read since the guest was seen on its host."""

    def change(fleet: Fleet, guest: Guest) -> None:
        beta, now = fleet.hosts["beta"], timezone.now()
        Placement.objects.create(guest=guest, host=beta, ref="old", state="off", evidence_at=guest.evidence_at)
        beta.source.inventory_read_at = now if read_since else guest.evidence_at - timedelta(seconds=1)
        beta.source.save()

    return change


def elsewhere(fleet: Fleet, guest: Guest) -> None:
    fleet.hosts["beta"].datacenter = Datacenter.objects.create(name="elsewhere")
    fleet.hosts["beta"].save()


ERRORS: dict[str, list[Break]] = {
    "datacenter": [elsewhere],
    "guest_missing": [set_guest(missing_since=timezone.now())],
    "guest_conflict": [set_guest(conflict="Two guests have this UUID.")],
    "guest_running": [set_guest(state="off"), set_guest(state="paused")],
    "snapshots": [set_guest(snapshot_count=2)],
    "passthrough": [set_guest(passthrough=["0000:3b:00.0"])],
    "open_task": [lambda fleet, guest: submit_power(guest=guest, action="reset", by="test")],
    "source_paused": [set_source("alpha", state=SourceState.PAUSED)],
    "source_connected": [set_source("alpha", state=SourceState.UNREACHABLE)],
    "target_paused": [set_source("beta", state=SourceState.PAUSED)],
    "target_connected": [
        set_host("beta", state=HostState.NOT_RESPONDING),
        set_host("beta", missing_since=timezone.now()),
        set_source("beta", state=SourceState.AUTH_FAILED),
        set_source("beta", state=SourceState.FAILING),
    ],
    "maintenance": [set_host("beta", maintenance=True)],
    "hypervisor_kind": [set_source("beta", kind="libvirt")],
    "peer_to_peer": [set_source("beta", transport="unix")],
    "architecture": [set_host("beta", architecture="aarch64")],
    "memory": [set_guest(memory_bytes=1 << 50)],
    "shared_disks": [
        set_disk(datastore=None),
        set_mount(active=False),
        set_mount(missing_since=timezone.now()),
        set_mount(path="/elsewhere"),
    ],
    "media": [set_disk(device="cdrom", datastore=None)],
    "networks": [
        use_switch(active=False),
        use_switch(kind=SwitchKind.ISOLATED),
        use_switch(name="other"),
        use_switch(managed=False),  # a bare bridge that has the network's name
        lambda fleet, guest: set_bridge(managed=False, active=False),
    ],
    "name_clash": [namesake(name=None)],
    "uuid_clash": [namesake(uuid=None), left_behind(read_since=True)],
}
CASES = [(check, number, change) for check, changes in ERRORS.items() for number, change in enumerate(changes)]


@pytest.mark.parametrize(("check", "change"), [case[::2] for case in CASES], ids=[f"{c}-{n}" for c, n, _ in CASES])
def test_an_error_names_itself_and_says_why(fleet: Fleet, check: str, change: Break) -> None:
    guest = fleet.guest("alpha")
    change(fleet, guest)
    target = check_target(guest, fleet.hosts["beta"])
    assert [finding.check for finding in target.findings if finding.severity == "error"] == [check]
    assert not target.possible
    assert target.findings[0].message.endswith(".")


def test_a_sound_guest_may_move(fleet: Fleet) -> None:
    target = check_target(fleet.guest("alpha"), fleet.hosts["beta"])
    assert target.possible
    assert target.findings == ()


def test_where_it_is_nothing_else_matters(fleet: Fleet) -> None:
    (finding,) = check_target(fleet.guest("alpha"), fleet.hosts["alpha"]).findings
    assert finding.check == "same_host"


def test_equal_host_uuids_are_told(fleet: Fleet) -> None:
    set_host("beta", uuid=fleet.hosts["alpha"].uuid)(fleet, fleet.guest("alpha"))
    findings = check_target(fleet.guest("alpha"), fleet.hosts["beta"]).findings
    assert [finding.check for finding in findings] == ["host_uuid"]


@pytest.mark.parametrize(
    "change",
    [
        set_host("beta", memory_bytes=2 << 30),
        lambda fleet, guest: guest.nics.update(bridge="br9"),
        lambda fleet, guest: set_bridge(active=False),  # of a stopped network: whether it is there nobody says
        lambda fleet, guest: guest.nics.update(kind="direct", bridge=""),
        set_source("beta", transport="ssh"),
        left_behind(read_since=False),
    ],
)
def test_a_warning_does_not_stand_in_the_way(fleet: Fleet, change: Break) -> None:
    guest = fleet.guest("alpha")
    change(fleet, guest)
    target = check_target(guest, fleet.hosts["beta"])
    assert [finding.severity for finding in target.findings] == ["warning"] * max(1, len(target.findings))
    assert target.possible


def test_an_empty_drive_and_a_network_disk_are_no_obstacle(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    guest.disks.update(datastore=None, device="cdrom", source="")
    assert check_target(guest, fleet.hosts["beta"]).possible
    guest.disks.update(device="disk", source="pool/image", source_type="network")
    assert check_target(guest, fleet.hosts["beta"]).possible


def test_a_bridge_that_a_stopped_and_a_running_network_name_is_there(fleet: Fleet) -> None:
    """Two networks may stand on one bridge."""
    guest, beta = fleet.guest("alpha"), fleet.hosts["beta"]
    set_bridge(active=False)
    there = VirtualSwitch.objects.filter(host=beta, bridge="br0").get()
    VirtualSwitch.objects.create(
        host=beta, ref="two", uuid="two", name="two", kind="bridged", bridge="br0", active=True, autostart=True,
        evidence_at=there.evidence_at,
    )  # fmt: skip
    assert check_target(guest, beta).findings == ()


def test_a_nic_without_anything_to_plug_into_is_no_obstacle(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    Nic.objects.filter(guest=guest).update(kind="user", bridge="", network="")
    assert check_target(guest, fleet.hosts["beta"]).possible


def test_targets_are_all_hosts_possible_ones_first_in_a_constant_number_of_queries(
    fleet: Fleet, django_assert_max_num_queries: Any
) -> None:
    user = User.objects.create(username="vera", role=Role.VIEWER)
    guest = fleet.guest("alpha")
    with django_assert_max_num_queries(11):
        targets = targets_for(guest=guest, user=user)
    assert [(target.host.name, target.possible) for target in targets] == [("beta", True), ("alpha", False)]


def test_nobody_sees_targets_without_a_role(fleet: Fleet) -> None:
    assert targets_for(guest=fleet.guest("alpha"), user=None) == []


def test_findings_are_plain_data(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    set_guest(snapshot_count=1)(fleet, guest)
    (found,) = as_data(check_target(guest, fleet.hosts["beta"]).findings)
    assert set(found) == {"check", "severity", "message", "fix"}
    assert (found["check"], found["severity"]) == ("snapshots", "error")


def test_every_check_has_a_case() -> None:
    assert len(CHECKS) == 16
