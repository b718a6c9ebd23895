"""A session to one libvirt host."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from msgspec.structs import replace

from drivers.errors import NotFound, NotSupported
from drivers.libvirt import collect, parse, states
from drivers.libvirt.agents import Agents
from drivers.libvirt.collect_host import KeptDevices, capabilities_xml
from drivers.libvirt.collect_storage import Storage
from drivers.libvirt.connection import Connection
from drivers.libvirt.define import FORGET_TEST, DefineCalls
from drivers.libvirt.devices import DeviceCalls
from drivers.libvirt.edit import EditCalls
from drivers.libvirt.jobs import has_active_job, read_stamp
from drivers.libvirt.lines import Lines
from drivers.libvirt.migrate import Migrations
from drivers.libvirt.networks import NetworkCalls
from drivers.libvirt.parse.common import LONGEST_NAME, clean_uuid
from drivers.libvirt.parse.host import host_ref
from drivers.libvirt.patience import States
from drivers.libvirt.power import change_power
from drivers.libvirt.snapshots import SnapshotCalls
from drivers.libvirt.tasks import known_uuid
from drivers.libvirt.text import clean
from drivers.libvirt.uploads import ContentCalls
from drivers.libvirt.volumes import VolumeCalls
from drivers.libvirt.watch import WatchCalls
from drivers.registry import FLAVORS, TEST_CAPABILITIES
from drivers.requests import Effect
from drivers.types import (
    Capability,
    Endpoint,
    Finding,
    GuestSighting,
    Hypervisor,
    MigrationPlan,
    MigrationProgress,
    PowerAction,
    Snapshot,
    StateReading,
    Transport,
)
from drivers.words import gettext_noop as _


def open_session(endpoint: Endpoint) -> LibvirtSession:
    """Connect. May hang for ever on a silent host: only where the process can be killed.

    Raises: Unreachable, AuthFailed, HostKeyChanged, Rejected.
    """
    kinds = {Hypervisor.QEMU: QemuSession, Hypervisor.LXC: LxcSession, Hypervisor.XEN: XenSession}
    kind = TestSession if endpoint.transport is Transport.TEST else kinds[endpoint.hypervisor]
    return kind(endpoint, Connection(endpoint))


class LibvirtSession(EditCalls, VolumeCalls, NetworkCalls, WatchCalls):
    """Reads, power, settings, storage and networks: what every libvirt driver can do."""

    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, endpoint: Endpoint, connection: Connection) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._connection = connection
        self._agents = Agents(partial(Connection, endpoint))
        self._devices = KeptDevices()
        self._storage = Storage(partial(Connection, endpoint))
        self._states = States(connection, partial(Connection, endpoint))
        self._host_ref = ""

    def snapshot(self) -> Snapshot:
        raw = collect.read_inventory(self._connection, self._agents, self._devices, self._storage)
        snapshot = replace(parse.snapshot_of(raw), server_certificate=self._connection.server_certificate)
        self._host_ref = snapshot.hosts[0].ref
        return snapshot

    def read_states(self) -> StateReading:
        ref = self._ref()
        return parse.reading_of(self._states.read(), ref)

    def _ref(self) -> str:
        """The host's own reference, asked once per connection."""
        if not self._host_ref:
            name = str(self._connection.call(self._connection.raw.getHostname))
            self._host_ref = host_ref(capabilities_xml(self._connection), name)
        return self._host_ref

    def sight_guest(self, guest_uuid: str) -> GuestSighting | None:
        try:
            return self._sight(self._find(guest_uuid))
        except NotFound:
            return None

    def _sight(self, domain: Any) -> GuestSighting:
        call = self._connection.call
        # The job first: should it end while we look, we say "a job" and are asked again, rather than read too early.
        job_active = has_active_job(self._connection, domain)
        state, reason = call(domain.state)
        uuid = clean_uuid(domain.UUIDString())
        return GuestSighting(
            ref=uuid,
            uuid=uuid,
            name=clean(domain.name(), LONGEST_NAME) or uuid,
            state=states.state_of(state),
            state_reason=states.reason_of(state, reason),
            persistent=bool(call(domain.isPersistent)),
            stamp=read_stamp(self._connection, domain),
            job_active=job_active,
        )

    def _find(self, guest_uuid: str) -> Any:
        return self._connection.call(self._connection.raw.lookupByUUIDString, known_uuid(guest_uuid))

    def prepare_power(self, guest_ref: str) -> None:
        self._open_line(known_uuid(guest_ref))

    def power(self, guest_ref: str, action: PowerAction, not_after: float = math.inf) -> None:
        uuid = known_uuid(guest_ref)
        with self._line(uuid) as line:
            change_power(line, uuid, action, not_after)

    def _take_line(self, ref: str) -> Connection:
        del ref
        return Connection(self._endpoint)

    def is_alive(self) -> bool:
        return self._connection.is_alive()

    def is_busy(self) -> bool:
        return self._has_tasks()

    def close(self) -> None:
        self._close_events()
        self._states.when_free(self._connection.close)


class LxcSession(LibvirtSession):
    """System containers. libvirt cannot tell all their states at once: two calls each."""

    capabilities = FLAVORS[Hypervisor.LXC].capabilities

    def rename_guest(self, *_asked: Any, **_more: Any) -> None:
        raise NotSupported(FLAVORS[Hypervisor.LXC].settings["name"])

    def set_vcpus(self, *_asked: Any, **_more: Any) -> Effect:
        raise NotSupported(FLAVORS[Hypervisor.LXC].settings["vcpus"])


class XenSession(LibvirtSession):
    """Xen by libxl."""

    capabilities = FLAVORS[Hypervisor.XEN].capabilities


class TestSession(LibvirtSession, SnapshotCalls, DefineCalls):
    """libvirt's built-in test driver: no real guests, no migration."""

    capabilities = TEST_CAPABILITIES
    grows_volumes = False
    forget = FORGET_TEST


class QemuSession(LibvirtSession, SnapshotCalls, DefineCalls, DeviceCalls, ContentCalls):
    """KVM and QEMU."""

    capabilities = FLAVORS[Hypervisor.QEMU].capabilities

    def __init__(self, endpoint: Endpoint, connection: Connection) -> None:
        super().__init__(endpoint, connection)
        self._lines = Lines(endpoint)
        self._migrations = Migrations(endpoint, connection, self._lines)

    def _open_line(self, ref: str) -> None:
        self._lines.open(ref)

    def _take_line(self, ref: str) -> Connection:
        return self._lines.take(ref)

    def is_busy(self) -> bool:
        return self._migrations.is_busy() or self._has_tasks() or self._has_uploads()

    def close(self) -> None:
        self._lines.close()
        super().close()

    def check_migration(self, plan: MigrationPlan) -> tuple[Finding, ...]:
        return self._migrations.check(plan)

    def start_migration(self, plan: MigrationPlan, stamp: str, not_after: float) -> None:
        if not plan.live:
            raise NotSupported(_("Only live migration is offered."))
        self._migrations.start(plan, stamp, not_after)

    def find_migration(self, guest_uuid: str, stamp: str) -> bool:
        return self._migrations.find(guest_uuid, stamp)

    def poll_migration(self, guest_uuid: str, stamp: str) -> MigrationProgress:
        return self._migrations.poll(guest_uuid, stamp)

    def cancel_migration(self, guest_uuid: str, stamp: str) -> None:
        self._migrations.cancel(guest_uuid, stamp)

    def clear_stamp(self, guest_uuid: str, stamp: str) -> None:
        self._migrations.clear_stamp(guest_uuid, stamp)
