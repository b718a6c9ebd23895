"""Virtual networks, and the bridges no network covers, become switches."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from drivers.isolation.wire import pack, unpack
from drivers.libvirt.parse.bridges import MOST_BRIDGES, bare_bridges
from drivers.libvirt.parse.guest import guest_fact
from drivers.libvirt.parse.network import guest_devices, switch_fact
from drivers.libvirt.raw import RawBridge, RawGuest, RawNetwork
from drivers.types import GuestFact, GuestState, NicFact, PortGroupFact, SwitchFact, SwitchKind

FIXTURES = Path(__file__).parent.parent.parent / "fixtures/networks"
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def read(name: str) -> str:
    return (FIXTURES / f"{name}.xml").read_text()


def switch(xml: str, *, bridge_xml: str = "", taps: frozenset[str] = frozenset()) -> SwitchFact:
    fact = switch_fact(RawNetwork(xml, True, False, bridge_xml), "host-1", taps)
    assert fact is not None
    return fact


def network(name: str, ports: str = "") -> SwitchFact:
    return switch(read(name), bridge_xml=read(ports) if ports else "", taps=frozenset({"vnet4", "tap-db"}))


@pytest.mark.parametrize(
    ("name", "kind", "mode", "bridge", "uplinks"),
    [
        ("nat", SwitchKind.NAT, "nat", "virbr0", ()),
        ("addresses", SwitchKind.NAT, "nat", "virbr5", ("eth1",)),
        ("routed", SwitchKind.ROUTED, "route", "virbr1", ("eth1",)),
        ("isolated", SwitchKind.ISOLATED, "", "virbr2", ()),
        ("open", SwitchKind.OPEN, "open", "virbr3", ()),
        ("bridged", SwitchKind.BRIDGED, "bridge", "br0", ("eth1", "bond0")),
        ("same-bridge", SwitchKind.BRIDGED, "bridge", "br0", ("eth1", "bond0")),
        ("openvswitch", SwitchKind.BRIDGED, "bridge", "ovsbr0", ()),
        ("midonet", SwitchKind.BRIDGED, "bridge", "", ()),
        ("macvtap", SwitchKind.MACVTAP, "bridge", "", ("eth3", "eth4")),
        ("private", SwitchKind.MACVTAP, "private", "", ("eth7",)),
        ("vepa", SwitchKind.MACVTAP, "vepa", "", ("eth5",)),
        ("passthrough", SwitchKind.MACVTAP, "passthrough", "", ("eth8",)),
        ("hostdev", SwitchKind.OTHER, "hostdev", "", ("eth6",)),
        ("hostdev-slots", SwitchKind.OTHER, "hostdev", "", ("0000:3b:10.0", "0000:3b:10.2")),
        ("odd", SwitchKind.OTHER, "teleport", "", ()),
    ],
)
def test_networks(name: str, kind: SwitchKind, mode: str, bridge: str, uplinks: tuple[str, ...]) -> None:
    fact = network(name, "br0-interface" if name in ("bridged", "same-bridge") else "")
    assert (fact.kind, fact.mode, fact.bridge, fact.uplinks) == (kind, mode, bridge, uplinks)
    assert (fact.active, fact.autostart, fact.managed, fact.ref) == (True, False, True, f"host-1/{fact.uuid}")


def test_every_network_of_the_fixtures_is_tested() -> None:
    tested = {arguments[0] for mark in test_networks.pytestmark for arguments in mark.args[1]}  # type: ignore[attr-defined]
    assert tested == {path.stem for path in FIXTURES.glob("*.xml") if not path.stem.endswith("-interface")}


def test_two_networks_on_one_bridge_are_two_switches() -> None:
    one, other = network("bridged"), network("same-bridge")
    assert one.bridge == other.bridge == "br0"
    assert one.ref != other.ref


def test_addresses_and_leases() -> None:
    fact = network("addresses")
    assert fact.addresses == (
        "192.0.2.1/25",
        "2001:db8::1/64",
        "10.24.10.1/8",
        "172.20.0.1/16",
        "203.0.113.1/24",
        "2001:db8:1::1/64",
    )
    assert fact.dhcp == ("192.0.2.2-192.0.2.9", "192.0.2.20-192.0.2.30", "2001:db8::100-2001:db8::1ff")
    assert (fact.dhcp_hosts, fact.domain, fact.mtu) == (3, "lab.example.org", None)


def test_vlans_and_port_groups() -> None:
    fact = network("openvswitch")
    assert (fact.virtual_port, fact.vlans, fact.native_vlan, fact.trunk) == ("openvswitch", (42, 47), 42, True)
    assert fact.mtu == 9000
    assert fact.port_groups == (
        PortGroupFact("vlan10", default=True, vlans=(10,)),
        PortGroupFact("trunk", default=False, vlans=(20,), native_vlan=20, trunk=True),
        PortGroupFact("vepa", default=False, virtual_port="802.1Qbg"),
    )
    one = network("hostdev-slots")
    assert (one.vlans, one.native_vlan, one.trunk) == ((42,), None, False)
    assert network("private").virtual_port == "802.1Qbh"


def test_a_bridged_network_has_what_its_bridge_has() -> None:
    fact = network("bridged", "br1-interface")
    assert (fact.addresses, fact.mtu) == (("198.51.100.7/24", "2001:db8:7::7/64"), 9000)
    assert (
        switch(read("bridged").replace("<bridge", "<mtu size='1400'/><bridge"), bridge_xml=read("br1-interface")).mtu
        == 1400
    )


def test_guests_own_ends_are_no_uplinks() -> None:
    """Neither those of guests we know, nor those of one that started since, nor libvirt's own dummy."""
    assert switch(
        read("bridged").replace("br0", "br1"), bridge_xml=read("br1-interface"), taps=frozenset({"tap-db"})
    ).uplinks == ("bond0.42",)


def test_nonsense_is_left_out() -> None:
    fact = network("odd")
    assert fact.name == fact.uuid
    assert (fact.vlans, fact.native_vlan, fact.trunk, fact.mtu, fact.domain) == ((), None, False, None, "")
    assert fact.addresses == ("192.0.2.1", "fe80::1")
    assert fact.dhcp == ()
    assert fact.port_groups == (PortGroupFact("", default=False),)


@pytest.mark.parametrize("uuid", ["", "x", "3f2504e0-4f89", "{}", "../../etc"])
def test_what_has_no_uuid_is_no_switch(uuid: str) -> None:
    xml = f"<network><name>a</name><uuid>{uuid}</uuid></network>"
    assert switch_fact(RawNetwork(xml, active=True, autostart=True), "h", frozenset()) is None


# Bare bridges


def plugged(*bridges: str, state: GuestState = GuestState.RUNNING, **fields: str) -> GuestFact:
    nics = tuple(NicFact("", "virtio", "bridge", "", name, link_up=True, **fields) for name in bridges)  # type: ignore[arg-type]
    return replace(guest_fact(RawGuest(UUID, "g"), "host-1"), state=state, nics=nics)


def bare(guests: list[GuestFact], *raw: RawBridge, networks: tuple[SwitchFact, ...] = ()) -> tuple[SwitchFact, ...]:
    return bare_bridges(guests, networks, raw, "host-1", guest_devices(guests))


def test_a_bridge_that_guests_name_and_no_network_covers_is_a_switch() -> None:
    covered = network("bridged")
    guests = [plugged("br1", "br0", device="tap-db"), plugged("br1")]
    (fact,) = bare(guests, RawBridge("br1", read("br1-interface")), networks=(covered,))
    assert (fact.name, fact.bridge, fact.kind, fact.managed) == ("br1", "br1", SwitchKind.BRIDGED, False)
    assert (fact.uplinks, fact.mtu) == (("bond0.42",), 9000)
    assert fact.addresses == ("198.51.100.7/24", "2001:db8:7::7/64")
    assert (fact.active, fact.autostart, fact.virtual_port) == (True, False, "")


def test_a_bridge_of_open_vswitch_is_told_by_its_guests() -> None:
    (fact,) = bare([plugged("ovsbr0"), plugged("ovsbr0", virtual_port="openvswitch")])
    assert (fact.virtual_port, fact.uplinks, fact.active) == ("openvswitch", (), True)


def test_a_bare_bridge_keeps_its_reference() -> None:
    (one,), (again,) = bare([plugged("br1")]), bare([plugged("br1", state=GuestState.OFF)], RawBridge("br1"))
    assert (one.ref, one.uuid) == (again.ref, again.uuid) == (f"host-1/{one.uuid}", one.uuid)
    (elsewhere,) = bare_bridges([plugged("br1")], (), (), "host-2", frozenset())
    assert elsewhere.uuid != one.uuid


@pytest.mark.parametrize(
    ("missing", "state", "active"),
    [
        (True, GuestState.OFF, False),
        (True, GuestState.RUNNING, True),
        (False, GuestState.OFF, True),
    ],
)
def test_a_bare_bridge_is_there_unless_the_host_says_no(*, missing: bool, state: GuestState, active: bool) -> None:
    (fact,) = bare([plugged("br1", state=state)], RawBridge("br1", missing=missing))
    assert fact.active is active


@pytest.mark.parametrize("nic", [{"kind": "direct"}, {"kind": "network", "network": "lan"}, {"bridge": ""}])
def test_other_plugs_make_no_bridge(nic: dict[str, str]) -> None:
    guest = plugged("br1")
    assert bare([replace(guest, nics=(replace(guest.nics[0], **nic),))]) == ()


def test_bare_bridges_are_bounded() -> None:
    assert len(bare([plugged(*(f"br{number}" for number in range(MOST_BRIDGES + 9)))])) == MOST_BRIDGES


TEXT = st.text(st.characters(codec=None), max_size=40)


@settings(deadline=None)
@given(a=TEXT, b=TEXT, number=st.one_of(st.integers().map(str), TEXT))
def test_whatever_comes_can_be_sent_on(a: str, b: str, number: str) -> None:
    """Facts must fit the message format: valid text, 64-bit numbers."""
    xml = (
        f"<network><uuid>{UUID}</uuid><forward mode='{a}' dev='{b}'><pf dev='{a}'/><address slot='{number}'/></forward>"
        f"<mtu size='{number}'/><vlan trunk='{a}'><tag id='{number}' nativeMode='{b}'/></vlan><domain name='{a}'/>"
        f"<ip address='{a}' prefix='{number}'><dhcp><range start='{a}' end='{b}'/></dhcp></ip>"
        f"<ip address='192.0.2.1' netmask='{b}' prefix='{number}'/><portgroup name='{a}' default='{b}'/></network>"
    )
    fact = switch_fact(
        RawNetwork(xml, True, True, f"<i><bridge><interface name='{a}'/></bridge></i>"), "h", frozenset()
    )
    if fact:
        assert unpack(pack(fact), SwitchFact) == fact
