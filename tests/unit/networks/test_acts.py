"""Networks are made, switched and deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from access.models import User
from access.roles import Role
from core.errors import Conflict, Forbidden, Invalid
from drivers.fake.model import FakeSwitch
from networks.acts import NetworkAct, NewNetwork, PortGroup, submit_network_create, submit_network_switch
from networks.models import VirtualSwitch
from operations.errors import AlreadyOpen
from operations.models import Job
from tests.factories import make_user
from tests.lives import Fate, live, strike_with
from tests.world import Fleet, make_fleet


@pytest.fixture
def fleet(db: None, tmp_path: Path) -> Fleet:
    return make_fleet(tmp_path / "world.json", "alpha", guests=1)


@pytest.fixture
def admin(db: None) -> User:
    return make_user(Role.ADMIN, "boss")


def switches(fleet: Fleet) -> dict[str, FakeSwitch]:
    with fleet.world.open() as state:
        return {switch.name: switch for switch in state.hosts["alpha"].switches}


def create(fleet: Fleet, by: Any, **values: Any) -> Job:
    usual: dict[str, Any] = {"host": fleet.hosts["alpha"], "name": "lab", "mode": "nat", "address": "192.0.2.1/24"}
    return submit_network_create(new=NewNetwork(**(usual | values)), by=by)


KINDS: list[dict[str, Any]] = [
    {"dhcp_first": "192.0.2.10", "dhcp_last": "192.0.2.99", "domain": "lab.example"},
    {"mode": "isolated", "address": ""},
    {"mode": "bridged", "address": "", "bridge": "br0"},
    {
        "mode": "open_vswitch",
        "address": "",
        "bridge": "ovs0",
        "port_groups": (PortGroup("office", (20,), default=True), PortGroup("trunk", (20, 30))),
    },
]


@pytest.mark.parametrize("values", KINDS, ids=lambda values: str(values.get("mode", "nat")))
def test_each_mode_is_made(fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]) -> None:
    strike_with(monkeypatch)
    job = live(create(fleet, admin, **values))
    assert (job.state, job.message) == ("succeeded", "lab is created and started.")
    made = switches(fleet)["lab"]
    assert (made.active, made.autostart, made.bridge == values.get("bridge", made.bridge)) == (True, True, True)
    assert [(one.name, one.vlans) for one in made.port_groups] == [
        (one.name, list(one.vlans)) for one in values.get("port_groups", ())
    ]


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, 4))
def test_it_is_made_once_whoever_dies(
    fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch, number: int, made: bool
) -> None:
    before = len(switches(fleet))
    strike_with(monkeypatch, Fate([(number, made)]))
    assert live(create(fleet, admin)).state == "succeeded"
    assert len(switches(fleet)) == before + 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "<b>"}, "name"),
    ({"name": "default"}, "name"),
    ({"mode": "vepa"}, "mode"),
    ({"address": ""}, "address"),
    ({"address": "192.0.2.1"}, "address"),
    ({"address": "192.0.2.0/24"}, "address"),
    ({"address": "192.0.2.1/32"}, "address"),
    ({"address": "x/24"}, "address"),
    ({"dhcp_first": "192.0.2.10"}, "dhcp_first"),
    ({"dhcp_first": "192.0.2.99", "dhcp_last": "192.0.2.10"}, "dhcp_first"),
    ({"dhcp_first": "198.51.100.1", "dhcp_last": "198.51.100.9"}, "dhcp_first"),
    ({"mode": "isolated", "address": "", "dhcp_first": "192.0.2.1", "dhcp_last": "192.0.2.9"}, "address"),
    ({"domain": "-x-"}, "domain"),
    ({"mode": "bridged", "bridge": ""}, "bridge"),
    ({"mode": "bridged", "bridge": "br 0"}, "bridge"),
    ({"mode": "bridged", "bridge": "b" * 16}, "bridge"),
    ({"port_groups": (PortGroup("office", (20,)),)}, "port_groups"),
    ({"port_groups": (PortGroup("../x"),)}, "port_groups"),
    ({"port_groups": (PortGroup("a"), PortGroup("a"))}, "port_groups"),
    ({"port_groups": (PortGroup("a", default=True), PortGroup("b", default=True))}, "port_groups"),
    ({"mode": "open_vswitch", "bridge": "ovs0", "port_groups": (PortGroup("a", (4095,)),)}, "port_groups"),
]


@pytest.mark.parametrize(("values", "field"), WRONG, ids=str)
def test_what_no_network_can_be(fleet: Fleet, admin: User, values: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        create(fleet, admin, **values)
    assert caught.value.field == field


def test_one_of_many_at_once(fleet: Fleet, admin: User) -> None:
    create(fleet, admin)
    with pytest.raises(AlreadyOpen):
        create(fleet, admin)
    with pytest.raises(Forbidden):
        create(fleet, make_user(Role.MIGRATION_ADMIN))


@pytest.mark.parametrize("action", list(NetworkAct))
def test_a_network_is_switched(fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch, action: NetworkAct) -> None:
    strike_with(monkeypatch)
    switch = VirtualSwitch.objects.select_related("host__source").get(name="default")
    job = live(submit_network_switch(switch=switch, action=action, confirmation="default", by=admin))
    assert job.state == "succeeded", job.message
    found = switches(fleet).get("default")
    assert (found is None) is (action is NetworkAct.DELETE)
    if found is not None:
        assert found.active is (action is not NetworkAct.STOP)
        assert found.autostart is (action is not NetworkAct.AUTOSTART_OFF)


def test_what_is_plugged_in_stays(fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    strike_with(monkeypatch)
    with fleet.world.open() as state:
        for guest in state.hosts["alpha"].guests.values():
            guest.nics[0].network = "default"
    switch = VirtualSwitch.objects.select_related("host__source").get(name="default")
    job = live(submit_network_switch(switch=switch, action="delete", confirmation="default", by=admin))
    assert (job.state, "plug it elsewhere first" in job.message) == ("failed", True)


def test_what_speaks_against_it(fleet: Fleet, admin: User) -> None:
    switch = VirtualSwitch.objects.select_related("host__source").get(name="default")
    with pytest.raises(Invalid, match="as it is written"):
        submit_network_switch(switch=switch, action="delete", confirmation="x", by=admin)
    with pytest.raises(Invalid, match="Use one of"):
        submit_network_switch(switch=switch, action="explode", by=admin)
    with pytest.raises(Forbidden):
        submit_network_switch(switch=switch, action="stop", by=make_user(Role.OPERATOR))
    switch.managed = False
    with pytest.raises(Conflict, match="bridge of the host"):
        submit_network_switch(switch=switch, action="stop", by=admin)
