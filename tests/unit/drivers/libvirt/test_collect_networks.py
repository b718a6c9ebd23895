"""Networks, leases and bridges are read in few round trips, and what a host does not tell is no error."""

from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from drivers.errors import Busy, DriverError, NotFound, NotSupported, Rejected
from drivers.libvirt import collect_networks
from drivers.libvirt.collect_networks import Networks
from drivers.libvirt.raw import RawBridge
from drivers.libvirt.reader import Reader
from tests.unit.drivers.libvirt.fakes import answer, reader_of

NAT = "<network><bridge name='virbr0'/><ip><dhcp><range/></dhcp></ip></network>"
BRIDGED = '<network connections="2"><forward dev="x" mode="bridge"/><bridge stp="on" name="br0"/></network>'


def network(xml: Any, leases: Any = (), *, active: bool = True) -> Any:
    return SimpleNamespace(
        UUIDString=answer(str(xml)), XMLDesc=answer(xml), DHCPLeases=answer(leases), active=active, autostart=False
    )


def host(*networks: Any, bridges: Any = None) -> Reader:
    def listed(flags: int) -> list[Any]:
        active = flags & libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE
        autostart = flags & libvirt.VIR_CONNECT_LIST_NETWORKS_AUTOSTART
        return [one for one in networks if (one.active or not active) and (one.autostart or not autostart)]

    def looked_up(name: str) -> Any:
        if isinstance(bridges, Exception):
            raise bridges
        if name not in (bridges or {}):
            raise NotFound("none")
        return SimpleNamespace(XMLDesc=answer(bridges[name]))

    return reader_of(listAllNetworks=listed, interfaceLookupByName=looked_up)


def plug(bridge: str) -> str:
    return f"<interface type='bridge'><mac address='x'/><source bridge='{bridge}' portid='y'/></interface>"


def test_networks_and_leases() -> None:
    leases = [
        {"mac": "52:54:00:AA:00:01", "ipaddr": "192.0.2.7"},
        {"mac": "52:54:00:aa:00:01", "ipaddr": "2001:db8::7"},
        {},
    ]
    networks = Networks(host(network(NAT, leases), network(NAT + " ", leases, active=False)))
    assert [(raw.active, raw.autostart) for raw in networks.read()] == [(True, False), (False, False)]
    assert networks.leases()["52:54:00:aa:00:01"] == ["192.0.2.7", "2001:db8::7"]


@pytest.mark.parametrize("error", [Rejected("no"), NotFound("gone"), NotSupported("no"), Busy("held")])
def test_leases_that_cannot_be_read_are_none(error: DriverError) -> None:
    reader = host(network(NAT, error))
    networks = Networks(reader)
    assert len(networks.read()) == 1
    assert (networks.leases(), reader.complete) == ({}, True)


def test_a_host_without_networks_is_whole() -> None:
    reader = reader_of(listAllNetworks=answer(NotSupported("no")))
    assert Networks(reader).read() == ()
    assert reader.complete


def test_a_network_that_cannot_be_read_makes_the_read_incomplete() -> None:
    reader = host(network(Rejected("no")), network(NotFound("gone")), network(NAT))
    assert len(Networks(reader).read()) == 1
    assert not reader.complete


def test_a_bridge_is_asked_for_once() -> None:
    reader = host(network(BRIDGED), network(BRIDGED + " "), bridges={"br0": "<i0/>", "br1": "<i1/>"})
    networks = Networks(reader)
    assert [raw.bridge_xml for raw in networks.read()] == ["<i0/>", "<i0/>"]
    before = reader.connection.calls  # type: ignore[attr-defined]
    assert networks.bridges([plug("br1"), plug("br0") + plug("br1"), plug("br9")]) == (
        RawBridge("br0", "<i0/>"),
        RawBridge("br1", "<i1/>"),
        RawBridge("br9", missing=True),
    )
    assert reader.connection.calls == before + 3, "two for br1, one for br9, none for br0"  # type: ignore[attr-defined]


def test_a_host_without_an_interface_driver_is_asked_once() -> None:
    reader = host(bridges=NotSupported("no"))
    assert Networks(reader).bridges([plug("br0"), plug("br1")]) == (RawBridge("br0"), RawBridge("br1"))
    assert reader.connection.calls == 1  # type: ignore[attr-defined]
    assert reader.complete


def test_bridges_are_bounded() -> None:
    found = Networks(host()).bridges(plug(f"br{number}") for number in range(collect_networks.MOST_BRIDGES + 5))
    assert len(found) == collect_networks.MOST_BRIDGES
