"""The subjects. The real ones share a lab of two hosts per test worker."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.fake.model import FakeGuest
from drivers.fake.world import FakeWorld
from drivers.isolation import SessionPool
from drivers.types import Endpoint, GuestState, Hypervisor, Transport
from lab.api import Lab, LabGuest, LabHost
from lab.containers import CONTAINER
from lab.processes import NotPossible, require_machine
from lab.state import ROOT
from tests.conftest import WHOLE
from tests.contract.subjects import CONTAINERS, EVERYTHING, POWER, TEST_DRIVER, Movable, Subject

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
SLOW_MIB_PER_S = "4"
FAST_MIB_PER_S = "8796093022207"  # libvirt's own default: no limit
ON_THE_LAB = [pytest.mark.lab, pytest.mark.xdist_group("lab")]
CLOSED_PORT = 9


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--dist loadgroup` one worker has all that needs the lab, and starts one.

    Of a test's list of values a real host gets the first, unless all is asked for.
    """
    for item in items:
        if {"lab", "wide_lab"} & set(getattr(item, "fixturenames", ())):
            for mark in ON_THE_LAB:
                item.add_marker(mark)
    if WHOLE:
        return
    left_out = set(_left_out(items))
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def _left_out(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    seen: set[str] = set()
    for item in items:
        if item.get_closest_marker("lab") is None:
            continue
        test = item.nodeid.partition("[")[0]
        again = item.get_closest_marker("parametrize") is not None and test in seen
        seen.add(test)
        if again:
            yield item


@pytest.fixture(scope="session")
def session_lab() -> Iterator[Lab]:
    try:
        require_machine()
    except NotPossible as error:
        pytest.skip(str(error))
    os.environ.setdefault("GUESTHOUSE_LAB_CACHE", str(ROOT / "var" / "cache" / "lab"))
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-lab-"))
    own = hashlib.sha256(str(folder).encode()).hexdigest()[:6]
    lab = Lab.start(2, name=f"t-drv-{WORKER}-{own}", data=folder)
    lab.add_guest("power", kind="tiny", host=lab.hosts[0].name)
    yield lab
    lab.stop()
    shutil.rmtree(folder)


@pytest.fixture
def lab(session_lab: Lab) -> Iterator[Lab]:
    """Two hosts with two guests each, mended after each test."""
    yield session_lab
    session_lab.mend()


@pytest.fixture(scope="session")
def wide_lab() -> Iterator[Lab]:
    """A host that listens by TLS, too, and one that runs a container."""
    try:
        require_machine()
    except NotPossible as error:
        pytest.skip(str(error))
    os.environ.setdefault("GUESTHOUSE_LAB_CACHE", str(ROOT / "var" / "cache" / "lab"))
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-lab-"))
    own = hashlib.sha256(str(folder).encode()).hexdigest()[:6]
    lab = Lab.start(1, name=f"t-wide-{WORKER}-{own}", data=folder, extras=("tls", "lxc"))
    yield lab
    lab.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def pool() -> Iterator[SessionPool]:
    pool = SessionPool(processes=1)
    yield pool
    pool.close()


def lab_endpoint(host: LabHost) -> Endpoint:
    return Endpoint(kind="libvirt", transport=Transport.TCP, address=host.address, key=host.name)


def lab_movable(guest: LabGuest, other: LabGuest) -> Movable:
    """A guest of the lab, from where it runs now to another host."""
    source = guest.host
    target = next(host for host in guest.lab.hosts if host.name != source.name)

    def speed(value: str) -> None:
        guest.host.virsh("migrate-setspeed", guest.name, value)

    def refuse() -> Endpoint:
        return Endpoint(kind="libvirt", transport=Transport.TCP, address=target.address, port=CLOSED_PORT)

    return Movable(
        source=lab_endpoint(source),
        target=lab_endpoint(target),
        guest_uuid=guest.uuid,
        other_host=lab_endpoint(other.host),
        other_uuid=other.uuid,
        slow=lambda: speed(SLOW_MIB_PER_S),
        fast=lambda: speed(FAST_MIB_PER_S),
        refuse=refuse,
        running_on=lambda: guest.running_on,
    )


def fake_movable(world: FakeWorld, guest: FakeGuest, other: FakeGuest) -> Movable:
    def pace(seconds: float) -> None:
        with world.open() as state:
            state.migration_seconds = seconds

    def refuse() -> Endpoint:
        world.add_fault("alpha", at="migration", do="refused")
        return world.endpoint("beta")

    return Movable(
        source=world.endpoint("alpha"),
        target=world.endpoint("beta"),
        guest_uuid=guest.uuid,
        other_host=world.endpoint("alpha"),
        other_uuid=other.uuid,
        slow=lambda: pace(20.0),
        fast=lambda: pace(0.3),
        refuse=refuse,
        running_on=lambda: list(world.running_on(guest.uuid)),
    )


LIBVIRT = pytest.param("libvirt", marks=ON_THE_LAB)
LXC = pytest.param("lxc", marks=ON_THE_LAB)


@pytest.fixture(params=["fake", "fleet", "test", LIBVIRT, LXC])
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each kind in turn."""
    return make_subject(request)


@pytest.fixture(params=["fake", "test", LIBVIRT])
def operable(request: pytest.FixtureRequest) -> Subject:
    """Those that declare operations."""
    return make_subject(request)


@pytest.fixture(params=["fleet", "test"])
def immovable(request: pytest.FixtureRequest) -> Subject:
    """Those that declare no migration."""
    return make_subject(request)


@pytest.fixture(params=["fake", LIBVIRT])
def movable(request: pytest.FixtureRequest) -> Iterator[Movable]:
    """A guest to move, of those that declare migration. Its speed is brought back."""
    movable = make_subject(request).movable
    assert movable is not None
    yield movable
    movable.fast()


def make_subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "libvirt":
        return lab_subject(request.getfixturevalue("lab"))
    if request.param == "lxc":
        return lxc_subject(request.getfixturevalue("wide_lab"))
    if request.param == "test":
        endpoint = Endpoint(kind="libvirt", transport=Transport.TEST, uri="test:///default")
        uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"  # libvirt's own example guest
        return Subject("test", endpoint, TEST_DRIVER, uuid, can_reset=False)
    if request.param == "fleet":
        endpoint = Endpoint(kind="fake", transport=Transport.FAKE, uri="fake://fleet/4?guests=9&seed=2")
        return Subject("fleet", endpoint, POWER, _running_guest_of(endpoint))
    return fake_subject(request.getfixturevalue("tmp_path"))


def lab_subject(lab: Lab) -> Subject:
    power = lab.guest("power")
    moving = next(guest for guest in lab.guests if guest.address)
    movable = lab_movable(moving, power)
    return Subject("libvirt", lab_endpoint(power.host), EVERYTHING, power.uuid, movable)


def lxc_subject(lab: Lab) -> Subject:
    host = lab.host("lxc-01")
    endpoint = replace(lab_endpoint(host), hypervisor=Hypervisor.LXC)
    uuid = host.virsh("domuuid", CONTAINER).strip()
    return Subject("lxc", endpoint, CONTAINERS, uuid, can_reset=False)


def fake_subject(folder: Path) -> Subject:
    world = FakeWorld.create(folder / "world.json", guests=6)
    first, second, *_ = (guest for guest in world.guests("alpha").values() if guest.state is GuestState.RUNNING)
    movable = fake_movable(world, second, first)
    return Subject("fake", world.endpoint("alpha"), EVERYTHING, first.uuid, movable)


def _running_guest_of(endpoint: Endpoint) -> str:
    from drivers.fake.session import open_session

    guests = open_session(endpoint).snapshot().guests
    return next(guest.uuid for guest in guests if guest.state is GuestState.RUNNING)
