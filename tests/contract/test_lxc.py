"""What a host of containers has for itself; the common contract runs on it, too."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from drivers.errors import DriverError, NotSupported
from drivers.isolation import SessionPool
from drivers.requests import SnapshotRequest
from drivers.types import GuestState, Hypervisor, MigrationPlan
from lab.api import Lab
from lab.containers import CONTAINER
from tests.contract.conftest import lxc_subject
from tests.contract.subjects import DEADLINE_S, Subject


@pytest.fixture
def containers(wide_lab: Lab) -> Subject:
    return lxc_subject(wide_lab)


def test_a_container_is_a_guest(containers: Subject, pool: SessionPool) -> None:
    with pool.session(containers.endpoint, deadline_s=DEADLINE_S) as session:
        snapshot = session.snapshot()
        (load,) = [guest.load for guest in session.read_states().guests]
    (guest,) = snapshot.guests
    assert (guest.name, guest.state, guest.autostart, guest.disks) == (CONTAINER, GuestState.RUNNING, True, ())
    assert [nic.network for nic in guest.nics] == ["guests"]
    assert snapshot.hosts[0].hypervisor == "LXC"
    assert load is not None
    assert 0 < load.memory_used_bytes < guest.memory_bytes


def test_what_libvirt_cannot_do_with_containers_is_said(containers: Subject, pool: SessionPool) -> None:
    plan = MigrationPlan(containers.power_guest, containers.power_guest, containers.endpoint)
    with pool.session(containers.endpoint, deadline_s=DEADLINE_S) as session:
        for attempt in (
            lambda: session.check_snapshot(containers.power_guest, SnapshotRequest("x")),
            lambda: session.check_migration(plan),
            lambda: session.remove_nic(containers.power_guest, "52:54:00:00:00:01", math.inf),
            lambda: session.undefine_guest(containers.power_guest, math.inf),
        ):
            with pytest.raises(DriverError) as raised:
                attempt()
            assert not raised.value.retryable
        with pytest.raises(NotSupported, match="no other number of virtual CPUs"):
            session.set_vcpus(containers.power_guest, 1)
        with pytest.raises(NotSupported, match="cannot rename a container"):
            session.rename_guest(containers.power_guest, "other")


def test_settings_that_containers_have(containers: Subject, pool: SessionPool) -> None:
    with pool.session(containers.endpoint, deadline_s=DEADLINE_S) as session:
        session.set_notes(containers.power_guest, "Box", "Counts.")
        session.set_autostart(containers.power_guest, False)
        (guest,) = session.snapshot().guests
        assert (guest.title, guest.notes, guest.autostart) == ("Box", "Counts.", False)
        session.set_notes(containers.power_guest, "", "")
        session.set_autostart(containers.power_guest, True)


def test_its_libvirt_has_no_other_hypervisor(containers: Subject, pool: SessionPool) -> None:
    """Asked for virtual machines, a host of containers says that it has none."""
    other = replace(containers.endpoint, hypervisor=Hypervisor.XEN)
    with pytest.raises(DriverError), pool.session(other, deadline_s=DEADLINE_S):
        pytest.fail("opened")  # pragma: no cover
