"""Virtual switches and their port groups from what hosts tell."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from msgspec.structs import replace

from drivers.types import PortGroupFact, SwitchFact, SwitchKind
from hosts.models import Source
from inventory.models import Nic
from inventory.sync import apply_snapshot
from networks.models import PortGroup, VirtualSwitch
from tests.facts import guest_fact, make_source, nic_fact, snapshot, switch_fact

pytestmark = pytest.mark.django_db

OFFICE = PortGroupFact("office", True, (20,), None, "openvswitch")
ROUTERS = PortGroupFact("routers", False, (20, 30), 30, "", True)


@pytest.fixture
def source() -> Source:
    return make_source()


def read(source: Source, seconds: float, *switches: SwitchFact, guests: Any = ()) -> list[str]:
    """Apply a read; what it wrote to tables of switches."""
    with CaptureQueriesContext(connection) as captured:
        apply_snapshot(source, snapshot(seconds, *guests, switches=switches), 0)
    statements = [query["sql"] for query in captured.captured_queries]
    return [one for one in statements if "networks_" in one and one.startswith(("INSERT", "UPDATE", "DELETE"))]


def groups() -> list[tuple[Any, ...]]:
    columns = ("name", "default", "vlans", "native_vlan", "trunk", "virtual_port")
    return list(PortGroup.objects.order_by("name").values_list(*columns))


def test_a_switch_is_kept_with_all_that_was_told(source: Source) -> None:
    told = switch_fact(
        kind=SwitchKind.MACVTAP,
        mode="vepa",
        virtual_port="802.1Qbg",
        managed=True,
        vlans=(7,),
        addresses=("192.0.2.1/24",),
        dhcp=("192.0.2.2-192.0.2.254",),
        dhcp_hosts=3,
        domain="example.net",
        mtu=9000,
        port_groups=(OFFICE, ROUTERS),
    )
    read(source, 1, told)
    switch = VirtualSwitch.objects.get()
    assert (switch.mode, switch.virtual_port, switch.managed) == ("vepa", "802.1Qbg", True)
    assert switch.details == {
        "vlans": [7],
        "addresses": ["192.0.2.1/24"],
        "dhcp": ["192.0.2.2-192.0.2.254"],
        "dhcp_hosts": 3,
        "domain": "example.net",
        "mtu": 9000,
    }
    assert groups() == [
        ("office", True, [20], None, False, "openvswitch"),
        ("routers", False, [20, 30], 30, True, ""),
    ]
    assert read(source, 2, told) == []


def test_a_trunk_of_every_vlan_is_kept_whole(source: Source) -> None:
    every = tuple(range(1, 4095))
    read(source, 1, switch_fact(vlans=every, port_groups=(replace(OFFICE, vlans=every),)))
    assert VirtualSwitch.objects.get().details["vlans"] == list(every)
    assert PortGroup.objects.get().vlans == list(every)


def test_port_groups_come_change_and_go(source: Source) -> None:
    read(source, 1, switch_fact(port_groups=(OFFICE, ROUTERS)))
    kept = PortGroup.objects.get(name="office").pk
    read(source, 2, switch_fact(port_groups=(replace(OFFICE, vlans=(21,)), replace(ROUTERS, name="backup"))))
    assert [name for name, *_rest in groups()] == ["backup", "office"]
    assert PortGroup.objects.get(pk=kept).vlans == [21]
    read(source, 3, switch_fact())
    assert groups() == []


def test_port_groups_stay_with_a_switch_that_is_missing(source: Source) -> None:
    read(source, 1, switch_fact(port_groups=(OFFICE,)))
    read(source, 2)
    assert VirtualSwitch.objects.get().missing_since
    assert len(groups()) == 1
    read(source, 3, switch_fact(port_groups=(OFFICE,)))
    assert len(groups()) == 1


def test_a_port_group_told_twice_is_one(source: Source) -> None:
    read(source, 1, switch_fact(port_groups=(OFFICE, OFFICE)))
    assert len(groups()) == 1


def test_a_read_asks_no_more_for_more_port_groups(source: Source) -> None:
    def queries(seconds: float, *names: str) -> int:
        told = switch_fact(port_groups=tuple(replace(OFFICE, name=name) for name in names))
        with CaptureQueriesContext(connection) as captured:
            apply_snapshot(source, snapshot(seconds, switches=(told,)), 0)
        return len(captured)

    queries(1, "a")
    assert queries(2, "a", "b") == queries(3, *"abcdefgh")


def test_hostile_port_groups_are_stored_cut(source: Source) -> None:
    odd = "\x00\ud800" + "x" * 5000
    wrong = PortGroupFact(odd, True, (-1, 1 << 40, 5), 1 << 40, odd)
    read(source, 1, switch_fact(mode=odd, virtual_port=odd, domain=odd, mtu=1 << 70, dhcp=(odd,), port_groups=(wrong,)))
    assert groups()[0][2:4] == ([5], None)
    assert len(VirtualSwitch.objects.get().details["domain"]) == 255


def test_a_bare_bridge_is_not_the_network_of_its_name(source: Source) -> None:
    bare = switch_fact("lan", ref="bare", kind=SwitchKind.BRIDGED, bridge="lan", managed=False)
    network = switch_fact("lan", ref="network", bridge="br7")
    on_network = guest_fact("a", nics=(nic_fact(network="lan"),))
    on_bridge = guest_fact("b", nics=(nic_fact("52:54:00:00:00:02", kind="bridge", network="", bridge="lan"),))
    read(source, 1, bare, network, guests=(on_network, on_bridge))
    plugged = dict(Nic.objects.values_list("guest__name", "switch__ref"))
    assert plugged == {"a": "network", "b": "bare"}


def test_a_nic_on_a_network_is_on_no_bare_bridge_of_that_name(source: Source) -> None:
    bare = switch_fact("lan", bridge="lan", managed=False)
    read(source, 1, bare, guests=(guest_fact("a", nics=(nic_fact(network="lan"),)),))
    assert Nic.objects.get().switch is None
