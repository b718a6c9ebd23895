"""Virtual networks: made, stopped, started and deleted, and never from under a guest."""

import uuid as uuids
from collections.abc import Callable, Iterator

import pytest

from drivers.errors import NotFound, Rejected
from drivers.isolation import RemoteSession, SessionPool
from drivers.requests import NetworkMode, NetworkRequest, PortGroupRequest
from drivers.types import SwitchFact, SwitchKind
from tests.contract.subjects import DEADLINE_S, Subject
from tests.contract.test_reads import UNKNOWN

RANGE = ("198.51.100.10", "198.51.100.20")


def request(mode: NetworkMode = NetworkMode.ISOLATED, **values: object) -> NetworkRequest:
    number = uuids.uuid4().hex
    return NetworkRequest(str(uuids.UUID(number)), f"t-{number[:8]}", mode, **values)  # type: ignore[arg-type]


def switch_of(session: RemoteSession, uuid: str) -> SwitchFact | None:
    return next((switch for switch in session.snapshot().switches if switch.uuid == uuid), None)


@pytest.fixture
def session(operable: Subject, pool: SessionPool) -> Iterator[RemoteSession]:
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        yield session
        for switch in session.snapshot().switches:
            if switch.name.startswith("t-"):
                session.delete_network(switch.uuid)


def test_made_once_stopped_started_deleted(session: RemoteSession) -> None:
    wanted = request(address="198.51.100.1/24", dhcp=RANGE)
    for _again in range(2):
        session.create_network(wanted)
        switch = switch_of(session, wanted.uuid)
        assert switch is not None
        assert (switch.name, switch.kind, switch.active, switch.autostart) == (
            wanted.name,
            SwitchKind.ISOLATED,
            True,
            True,
        )
    assert switch is not None
    assert (switch.addresses, switch.dhcp) == (("198.51.100.1/24",), ("-".join(RANGE),))
    for _again in range(2):
        session.stop_network(wanted.uuid)
    session.autostart_network(wanted.uuid, False)
    switch = switch_of(session, wanted.uuid)
    assert switch is not None
    assert (switch.active, switch.autostart) == (False, False)
    for _again in range(2):
        session.start_network(wanted.uuid)
    switch = switch_of(session, wanted.uuid)
    assert switch is not None
    assert switch.active
    for _again in range(2):
        session.delete_network(wanted.uuid)
        assert switch_of(session, wanted.uuid) is None


def test_a_stopped_one_is_started_by_whoever_takes_over(session: RemoteSession) -> None:
    wanted = request()
    session.create_network(wanted)
    session.stop_network(wanted.uuid)
    session.create_network(wanted)
    switch = switch_of(session, wanted.uuid)
    assert switch is not None
    assert switch.active


def test_names_and_uuids_that_are_taken(session: RemoteSession) -> None:
    first = request()
    session.create_network(first)
    other = NetworkRequest(str(uuids.uuid4()), first.name, NetworkMode.ISOLATED)
    with pytest.raises(Rejected, match="name"):
        session.create_network(other)
    with pytest.raises(Rejected, match="UUID"):
        session.create_network(NetworkRequest(first.uuid, "t-other", NetworkMode.ISOLATED))


@pytest.mark.parametrize(
    "wrong",
    [
        request(NetworkMode.NAT),
        request(NetworkMode.BRIDGED),
        request(NetworkMode.ISOLATED, port_groups=(PortGroupRequest("a", (10,)),)),
        request(NetworkMode.OPEN_VSWITCH, bridge="ovs0", port_groups=(PortGroupRequest("a", (4095,)),)),
        NetworkRequest(str(uuids.uuid4()), "a/b", NetworkMode.ISOLATED),
        NetworkRequest(str(uuids.uuid4()), "", NetworkMode.ISOLATED),
    ],
    ids=["no address", "no bridge", "tags without Open vSwitch", "no such tag", "a slash", "no name"],
)
def test_what_is_no_network(session: RemoteSession, wrong: NetworkRequest) -> None:
    before = session.snapshot().switches
    with pytest.raises(Rejected):
        session.create_network(wrong)
    assert session.snapshot().switches == before


def test_a_guests_network_stays(session: RemoteSession) -> None:
    snapshot = session.snapshot()
    plugged = {nic.network: guest for guest in snapshot.guests for nic in guest.nics if nic.network}
    switch = next((one for one in snapshot.switches if one.name in plugged), None)
    if switch is None:
        pytest.skip("no guest is plugged into a network")
    with pytest.raises(Rejected, match="plugged"):
        session.delete_network(switch.uuid)
    if plugged[switch.name].state == "running":
        with pytest.raises(Rejected, match="plugged"):
            session.stop_network(switch.uuid)


@pytest.mark.parametrize("uuid", [UNKNOWN, "", "../x"])
def test_a_network_that_is_not_there(operable: Subject, pool: SessionPool, uuid: str) -> None:
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        calls: list[Callable[[], object]] = [
            lambda: session.start_network(uuid),
            lambda: session.stop_network(uuid),
            lambda: session.autostart_network(uuid, True),
        ]
        for call in calls:
            with pytest.raises(NotFound):
                call()
