"""The simulated world: deterministic, shared by processes through its file, faults that are counted."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from drivers.errors import AuthFailed, Busy, DriverError, NotFound, Rejected, Unreachable
from drivers.fake.build import make_host
from drivers.fake.session import open_session
from drivers.fake.world import FakeWorld, find_world
from drivers.isolation.process import HOME
from drivers.types import Endpoint, GuestState, PowerAction, Transport


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    return FakeWorld.create(tmp_path / "world.json", guests=5, seed=3)


def fleet(uri: str) -> Endpoint:
    return Endpoint(kind="fake", transport=Transport.FAKE, uri=uri)


def test_a_seed_gives_the_same_host_again() -> None:
    assert make_host("h", guests=20, seed=1) == make_host("h", guests=20, seed=1)
    assert make_host("h", guests=20, seed=1) != make_host("h", guests=20, seed=2)
    states = {guest.state for guest in make_host("h", guests=50).guests.values()}
    assert states == {GuestState.RUNNING, GuestState.OFF}


def test_hosts_are_built_from_something() -> None:
    built = [make_host(f"h-{number}", guests=0).hardware for number in range(40)]
    assert built == [make_host(f"h-{number}", guests=0).hardware for number in range(40)]
    assert {one.white_box for one in built} == {True, False}
    assert {any(adapter.kind == "fc" for adapter in one.adapters) for one in built} == {True, False}
    for one in built:
        cards = {card.address for card in one.pci}
        assert {nic.pci_address for nic in one.nics} | {adapter.pci_address for adapter in one.adapters} <= cards | {""}
        (bond,) = (nic for nic in one.nics if nic.kind == "bond")
        assert set(bond.ports) <= {nic.name for nic in one.nics}
        assert sorted(cpu for cell in one.numa for cpu in cell.cpus) == list(range(64))
        assert sum(nic.kind == "vf" for nic in one.nics) == sum(card.virtual_functions for card in one.pci)
        assert one.white_box == (one.serial == "")


def test_a_generated_host_reads_the_same_twice() -> None:
    session = open_session(fleet("fake://fleet/17?guests=20&seed=3"))
    first, second = session.snapshot(), session.snapshot()
    assert len(first.guests) == 20
    assert msgspec.structs.replace(first, read_started_at=second.read_started_at) == second


def test_hosts_of_a_fleet_differ() -> None:
    one, two = (open_session(fleet(f"fake://fleet/{number}?guests=3")).snapshot() for number in (1, 2))
    assert not {guest.uuid for guest in one.guests} & {guest.uuid for guest in two.guests}
    assert one.hosts[0].ref != two.hosts[0].ref


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "fake://",
        "fake://fleet/",
        "fake://fleet/1?guests=many",
        "fake://world/alpha",
        "fake://other/x",
        "file:///etc/passwd",
    ],
)
def test_what_means_nothing_is_rejected(uri: str) -> None:
    with pytest.raises(Rejected):
        find_world(uri)


def test_a_world_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        find_world(f"fake://world/alpha?file={tmp_path}/none.json")


def test_a_host_that_is_not_there(world: FakeWorld) -> None:
    with pytest.raises(NotFound):
        open_session(world.endpoint("omega"))


def test_only_its_own_transport(world: FakeWorld) -> None:
    with pytest.raises(Rejected):
        open_session(replace(world.endpoint("alpha"), transport=Transport.TCP))


def test_processes_share_a_world(world: FakeWorld) -> None:
    guest = next(guest for guest in world.guests("alpha").values() if guest.state is GuestState.RUNNING)
    code = (
        "from drivers.fake.session import open_session; from drivers.fake.world import FakeWorld;"
        "from drivers.types import PowerAction; import sys;"
        "open_session(FakeWorld(sys.argv[1]).endpoint('alpha')).power(sys.argv[2], PowerAction.OFF)"
    )
    subprocess.run([sys.executable, "-c", code, str(world.path), guest.uuid], cwd=HOME, check=True)
    assert world.guests("alpha")[guest.uuid].state is GuestState.OFF


@pytest.mark.parametrize(
    ("do", "kind"),
    [
        ("unreachable", Unreachable),
        ("auth_failed", AuthFailed),
        ("rejected", Rejected),
        ("busy", Busy),
        ("not_found", NotFound),
    ],
)
def test_a_fault_strikes_as_often_as_told(world: FakeWorld, do: str, kind: type[DriverError]) -> None:
    session = open_session(world.endpoint("alpha"))
    world.add_fault("alpha", at="read_states", do=do, times=2)
    for _ in range(2):
        with pytest.raises(kind):
            session.read_states()
    session.read_states()
    assert world.fired("alpha", at="read_states") == 2


def test_an_unknown_fault_is_refused(world: FakeWorld) -> None:
    with pytest.raises(ValueError, match="earthquake"):
        world.add_fault("alpha", at="open", do="earthquake")


def test_faults_can_be_cleared(world: FakeWorld) -> None:
    world.add_fault("alpha", at="open", do="unreachable", times=-1)
    world.clear_faults("alpha")
    assert open_session(world.endpoint("alpha")).is_alive()


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        (GuestState.OFF, PowerAction.START, GuestState.RUNNING),
        (GuestState.RUNNING, PowerAction.SHUTDOWN, GuestState.OFF),
        (GuestState.RUNNING, PowerAction.RESET, GuestState.RUNNING),
        (GuestState.PAUSED, PowerAction.OFF, GuestState.OFF),
        (GuestState.RUNNING, PowerAction.SUSPEND, GuestState.PAUSED),
        (GuestState.PAUSED, PowerAction.RESUME, GuestState.RUNNING),
        (GuestState.RUNNING, PowerAction.START, None),
        (GuestState.OFF, PowerAction.OFF, None),
        (GuestState.PAUSED, PowerAction.SHUTDOWN, None),
        (GuestState.RUNNING, PowerAction.RESUME, None),
    ],
)
def test_power(world: FakeWorld, before: GuestState, action: PowerAction, after: GuestState | None) -> None:
    uuid = next(iter(world.guests("alpha")))
    with world.open() as state:
        state.hosts["alpha"].guests[uuid].state = before
    session = open_session(world.endpoint("alpha"))
    if after is None:
        with pytest.raises(Rejected):
            session.power(uuid, action)
    else:
        session.power(uuid, action)
    assert world.guests("alpha")[uuid].state is (after or before)


def test_power_on_a_guest_that_is_gone(world: FakeWorld) -> None:
    with pytest.raises(NotFound):
        open_session(world.endpoint("alpha")).power("00000000-0000-4000-8000-000000000000", PowerAction.START)
