"""Snapshots: what a guest allows, and what libvirt is asked to do.

Internal ones are kept inside qcow2 images, with the memory of a guest that runs. External ones let the disks go on in
new files; libvirt reverts to them since 9.9 only. Source: https://libvirt.org/news.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import libvirt
from lxml import etree

from drivers.errors import Busy, DriverError, NotFound, NotSupported, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.jobs import OPERATION, read_stamp, require_idle, wait_for_end, write_stamp
from drivers.libvirt.parse.common import try_xml
from drivers.libvirt.refusals import asked
from drivers.libvirt.states import state_of
from drivers.libvirt.tasks import Calls, Task, in_time, known_uuid
from drivers.libvirt.text import whole
from drivers.libvirt.usage import is_gone, source_of
from drivers.libvirt.write_xml import add, checked_file_name, element, notes_of, written
from drivers.libvirt.xml import Node
from drivers.requests import RevertOutcome, SnapshotKind, SnapshotRef, SnapshotRequest, TaskProgress
from drivers.types import Finding, GuestState, Severity
from drivers.words import Parameters
from drivers.words import gettext_noop as _

REVERTS_EXTERNAL = 9_009_000
DELETES_EXTERNAL = 9_000_000
EXTERNAL = libvirt.VIR_DOMAIN_SNAPSHOT_LIST_EXTERNAL
INTERNAL = libvirt.VIR_DOMAIN_SNAPSHOT_LIST_INTERNAL
UEFI_INTERNAL = 10_010_000  # and only with variables in a qcow2 image
CLAIMED_NOT = _("This attempt to revert was made before, or another has begun; nothing was done.")
_UP = frozenset({GuestState.RUNNING, GuestState.PAUSED})
_BY_FILES = frozenset({"disk", "lun", ""})


@dataclass(frozen=True, slots=True)
class GuestShape:
    """What decides which snapshots a guest can have. Pure."""

    node: Node
    up: bool
    libvirt_version: int

    def disks(self) -> Iterator[tuple[str, str, bool]]:
        """Target, format and whether it is written to."""
        for disk in self.node.all("devices/disk"):
            written_to = disk.get("device") in _BY_FILES and not disk.has("readonly")
            yield disk.get("dev", path="target", limit=64), disk.get("type", path="driver") or "raw", written_to

    @property
    def is_test(self) -> bool:
        """libvirt's test driver, which has no real images."""
        return self.node.get("type") == "test"

    def internal_obstacles(self, *, memory: bool) -> Iterator[Finding]:
        if self.is_test:
            return
        disks = [(target, kind) for target, kind, written_to in self.disks() if written_to]
        if not disks:
            yield _error("snapshot_disks", _("The guest has no disk that could hold a snapshot."))
        for target, kind in disks:
            if kind != "qcow2":
                yield _error(
                    "snapshot_format",
                    _("Disk %(disk)s is a %(format)s image, which cannot hold a snapshot."),
                    _("Take an external snapshot, or convert the disk to qcow2."),
                    (("disk", target), ("format", kind)),
                )
        if self.up and self._has_uefi_variables_apart():
            yield _error(
                "snapshot_firmware",
                _("A running guest with UEFI cannot be kept inside its images by this version of libvirt."),
                _("Power it off first, or take an external snapshot."),
            )
        if self.up and memory and self.node.has("devices/hostdev"):
            yield _error(
                "snapshot_passthrough",
                _("A device of the host is passed through to the guest, so that its memory cannot be saved."),
                _("Power the guest off first, or take an external snapshot."),
            )

    def _has_uefi_variables_apart(self) -> bool:
        os = self.node.find("os")
        if os is None or not (os.get("firmware") == "efi" or os.get("type", path="loader") == "pflash"):
            return False
        return self.libvirt_version < UEFI_INTERNAL or os.get("format", path="nvram") != "qcow2"


@dataclass(frozen=True, slots=True)
class SnapshotPlan:
    """How a request is carried out, or why it cannot be. Pure."""

    kind: SnapshotKind
    memory: bool
    flags: int
    findings: tuple[Finding, ...]


def plan_snapshot(shape: GuestShape, request: SnapshotRequest) -> SnapshotPlan:
    memory = request.memory and shape.up
    obstacles = tuple(shape.internal_obstacles(memory=memory))
    if shape.up and not memory and not shape.is_test:
        obstacles += (
            _error(
                "snapshot_memory",
                _("Inside its images, a running guest is kept only with its memory."),
                _("Include the memory, power the guest off first, or take an external snapshot."),
            ),
        )
    kind = request.kind or (SnapshotKind.INTERNAL if not obstacles or memory else SnapshotKind.EXTERNAL)
    if kind is SnapshotKind.INTERNAL:
        found = (*obstacles, *_quiesce_obstacles(request))
        return SnapshotPlan(kind, memory, 0, found)
    flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
    if request.quiesce and shape.up:
        flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE
    explicit = request.kind is SnapshotKind.EXTERNAL
    return SnapshotPlan(kind, False, flags, tuple(_external_findings(shape, memory=memory and explicit)))


def _quiesce_obstacles(request: SnapshotRequest) -> Iterator[Finding]:
    if request.quiesce:
        yield _error(
            "snapshot_quiesce",
            _("Flushing the guest's file systems goes with external snapshots only."),
            _("Leave it out: a snapshot with memory needs none."),
        )


def _external_findings(shape: GuestShape, *, memory: bool) -> Iterator[Finding]:
    if shape.is_test:
        yield _error("snapshot_external", _("This hypervisor has no external snapshots."))
    if memory:
        yield _error("snapshot_memory", _("An external snapshot is taken without memory."), _("Leave the memory out."))
    if shape.libvirt_version < REVERTS_EXTERNAL:
        deletes = shape.libvirt_version >= DELETES_EXTERNAL
        yield Finding(
            "snapshot_revert",
            Severity.WARNING,
            _("This version of libvirt cannot go back to an external snapshot; it can only be deleted again.")
            if deletes
            else _("This version of libvirt can neither go back to an external snapshot nor delete one."),
            _("Convert the disks to qcow2, or update libvirt to 9.9 or later."),
        )


def snapshot_xml(shape: GuestShape, request: SnapshotRequest, plan: SnapshotPlan) -> str:
    """Raises: Rejected for a name that is none."""
    root = element("domainsnapshot")
    add(root, "name", checked_file_name(request.name))
    add(root, "description", notes_of(request.notes))
    if not shape.is_test:
        add(root, "memory", snapshot="internal" if plan.memory else "no")
        _add_disks(add(root, "disks"), shape, plan.kind)
    return written(root)


def _add_disks(disks: etree._Element, shape: GuestShape, kind: SnapshotKind) -> None:
    for target, _format, written_to in shape.disks():
        add(disks, "disk", name=target, snapshot=kind.value if written_to else "no")


class SnapshotCalls(Calls):
    """A session's snapshots."""

    def check_snapshot(self, guest_ref: str, request: SnapshotRequest) -> tuple[Finding, ...]:
        with self._guest(guest_ref) as (line, domain):
            return tuple(_check(line, domain, request))

    def create_snapshot(
        self, guest_ref: str, request: SnapshotRequest, stamp: str, not_after: float = math.inf
    ) -> TaskProgress:
        def act(line: Connection, _task: Task) -> None:
            domain = _find(line, guest_ref)
            if _is_done(line, domain, request.name, stamp):
                _forget_claim(line, domain, stamp)
                return
            shape = _shape_of(line, domain)
            _refuse_errors(_check(line, domain, request))
            plan = plan_snapshot(shape, request)
            xml = snapshot_xml(shape, request, plan)
            in_time(not_after)
            write_stamp(line, domain, stamp, OPERATION)
            in_time(not_after)
            asked(line, domain.snapshotCreateXML, xml, plan.flags)
            _forget_claim(line, domain)
            if plan.kind is SnapshotKind.EXTERNAL:
                _show_images(line, domain)

        return self._start(known_uuid(guest_ref), stamp, act)

    def check_revert(self, guest_ref: str, snapshot: SnapshotRef) -> tuple[Finding, ...]:
        with self._guest(guest_ref) as (line, domain):
            return tuple(_check_revert(line, domain, snapshot))

    def claim_guest(self, guest_ref: str, stamp: str, not_after: float = math.inf) -> None:
        with self._guest(guest_ref) as (line, domain):
            require_idle(line, domain)
            in_time(not_after)
            write_stamp(line, domain, stamp, OPERATION)

    def revert_snapshot(
        self, guest_ref: str, snapshot: SnapshotRef, stamp: str, not_after: float = math.inf
    ) -> TaskProgress:
        def act(line: Connection, _task: Task) -> None:
            domain = _find(line, guest_ref)
            require_idle(line, domain)
            wait_for_end(line, domain)  # the call of a worker that is gone may still be at it
            if read_stamp(line, domain, OPERATION) != stamp:
                raise Rejected(CLAIMED_NOT)
            _refuse_errors(_check_revert(line, domain, snapshot))
            found = _require_snapshot(line, domain, snapshot)
            in_time(not_after)
            asked(line, domain.revertToSnapshot, found, 0)
            _forget_claim(line, domain)  # the one that the snapshot was taken with

        return self._start(known_uuid(guest_ref), stamp, act)

    def find_revert(self, guest_ref: str, snapshot: SnapshotRef, stamp: str) -> RevertOutcome:
        with self._guest(guest_ref) as (line, domain):
            require_idle(line, domain)
            wait_for_end(line, domain)
            if read_stamp(line, domain, OPERATION) == stamp:
                return RevertOutcome.NOT_DONE
            return RevertOutcome.DONE if _went_back(line, domain, snapshot) else RevertOutcome.UNCLEAR

    def delete_snapshot(
        self,
        guest_ref: str,
        snapshot: SnapshotRef,
        stamp: str,
        children: bool = False,
        not_after: float = math.inf,
    ) -> TaskProgress:
        def act(line: Connection, _task: Task) -> None:
            domain = _find(line, guest_ref)
            found = _find_snapshot(line, domain, snapshot)
            if found is None:
                return
            require_idle(line, domain)
            if not _has_external(line, domain):
                in_time(not_after)
                _delete(line, found, libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN if children else 0)
                return
            for one in (*_youngest_first(line, found, children=children), found):
                in_time(not_after)
                _delete(line, one, 0)
            _show_images(line, domain)

        return self._start(known_uuid(guest_ref), stamp, act)


def _find(line: Connection, guest_ref: str) -> Any:
    return line.call(line.raw.lookupByUUIDString, known_uuid(guest_ref))


def _shape_of(line: Connection, domain: Any) -> GuestShape:
    node = try_xml(str(line.call(domain.XMLDesc, 0)))
    if node is None:
        raise Rejected(_("The guest's definition cannot be read."))
    up = state_of(line.call(domain.state)[0]) in _UP
    return GuestShape(node, up, int(line.call(line.raw.getLibVersion)))


def _check(line: Connection, domain: Any, request: SnapshotRequest) -> Iterator[Finding]:
    try:
        checked_file_name(request.name)
    except Rejected as error:
        yield _error("snapshot_name", error.template)
        return
    if _find_snapshot(line, domain, SnapshotRef(request.name)) is not None:
        yield _error("snapshot_name", _("The guest has a snapshot of this name already; choose another."))
    yield from _check_job(line, domain)
    plan = plan_snapshot(_shape_of(line, domain), request)
    yield from plan.findings
    if plan.kind is SnapshotKind.EXTERNAL and line.call(domain.snapshotNum, INTERNAL):
        yield Finding(
            "snapshot_mixed",
            Severity.WARNING,
            _("The guest has internal snapshots; after an external one libvirt may refuse to delete either."),
            _("Delete those first."),
        )


def _check_job(line: Connection, domain: Any) -> Iterator[Finding]:
    try:
        require_idle(line, domain)
    except Busy as error:
        yield _error("no_other_job", error.template)


def _check_revert(line: Connection, domain: Any, snapshot: SnapshotRef) -> Iterator[Finding]:
    found = _find_snapshot(line, domain, snapshot)
    if found is None:
        yield _error("snapshot_here", _("This snapshot is not on this host any more."), _("Refresh, then try again."))
        return
    yield from _check_job(line, domain)
    xml = str(line.call(found.getXMLDesc, 0))
    yield from revert_findings(xml, int(line.call(line.raw.getLibVersion)))
    yield from _check_disks(line, domain, xml)


def revert_findings(xml: str, libvirt_version: int) -> Iterator[Finding]:
    node = try_xml(xml)
    if node is None:
        yield _error("snapshot_readable", _("The host's record of this snapshot cannot be read."))
        return
    external = any(part.get("snapshot") == "external" for part in (*node.all("disks/disk"), *node.all("memory")))
    if external and libvirt_version < REVERTS_EXTERNAL:
        yield _error(
            "snapshot_revert",
            _("This version of libvirt cannot go back to an external snapshot."),
            _("Update libvirt on the host to 9.9 or later."),
        )


def _check_disks(line: Connection, domain: Any, xml: str) -> Iterator[Finding]:
    """Disks the guest had then and that are gone: libvirt stops the guest before it misses them."""
    then, now = try_xml(xml), try_xml(str(line.call(domain.XMLDesc, 0)))
    has = {source_of(disk) for disk in now.all("devices/disk")} if now else set()
    for disk in then.all("domain/devices/disk") if then else ():
        path, may_lack = source_of(disk), disk.get("startupPolicy", path="source") in {"optional", "requisite"}
        if not may_lack and path not in has and is_gone(line, path):
            yield _error(
                "snapshot_disk_here",
                _("Disk %(disk)s of this snapshot, %(path)s, is not on the host any more."),
                _("Bring the volume back, or delete the snapshot."),
                (("disk", disk.get("dev", path="target", limit=64)), ("path", path)),
            )


def _find_snapshot(line: Connection, domain: Any, snapshot: SnapshotRef) -> Any | None:
    """None when it is not there, or another has its name."""
    if "\0" in snapshot.name:  # which no C string holds
        return None
    try:
        found = line.call(domain.snapshotLookupByName, snapshot.name, 0)
        if snapshot.created_at is None:
            return found
        node = try_xml(str(line.call(found.getXMLDesc, 0)))
    except NotFound:
        return None
    made_at = whole(node.text("creationTime", limit=20)) if node else 0
    return found if made_at == int(snapshot.created_at.timestamp()) else None


def _went_back(line: Connection, domain: Any, snapshot: SnapshotRef) -> bool:
    """Whether going back took the claim away. It does so first, and may have begun since anybody waited.

    Raises: Busy while it goes on.
    """
    require_idle(line, domain)
    wait_for_end(line, domain)
    found = read_stamp(line, domain, OPERATION)  # one that the snapshot was taken with comes back with it
    return (not found or _has_stamp(line, domain, snapshot.name, found)) and _is_at(line, domain, snapshot)


def _is_at(line: Connection, domain: Any, snapshot: SnapshotRef) -> bool:
    """Whether the guest went back to it: libvirt stops a guest, replaces its definition, starts it, and only then says
    so. Source: qemuSnapshotRevertActive of libvirt 9."""
    found = _find_snapshot(line, domain, snapshot)
    try:
        current = str(line.call(domain.snapshotCurrent, 0).getName())
    except NotFound:
        return False
    if found is None or current != snapshot.name:
        return False
    node = try_xml(str(line.call(found.getXMLDesc, 0)))
    was_up = node is not None and node.text("state", limit=32) in {"running", "paused", "blocked"}
    return was_up == (state_of(line.call(domain.state)[0]) in _UP)


def _require_snapshot(line: Connection, domain: Any, snapshot: SnapshotRef) -> Any:
    found = _find_snapshot(line, domain, snapshot)
    if found is None:
        raise NotFound(_("This snapshot is not on this host any more."))
    return found


def _is_done(line: Connection, domain: Any, name: str, stamp: str) -> bool:
    """Whether the snapshot of this name is this attempt's, and whole: its record is there before its content."""
    if not _has_stamp(line, domain, name, stamp):
        return False
    if read_stamp(line, domain, OPERATION) == stamp:
        require_idle(line, domain)
        wait_for_end(line, domain)
    return _has_stamp(line, domain, name, stamp)


def _forget_claim(line: Connection, domain: Any, stamp: str = "") -> None:
    """What it was for is done; one that stays does no harm. `stamp`: only this one."""
    with suppress(DriverError):
        found = read_stamp(line, domain, OPERATION)
        if found and stamp in {"", found}:
            write_stamp(line, domain, "", OPERATION)


def _has_stamp(line: Connection, domain: Any, name: str, stamp: str) -> bool:
    found = _find_snapshot(line, domain, SnapshotRef(name))
    if found is None:
        return False
    try:
        node = try_xml(str(line.call(found.getXMLDesc, 0)))
    except NotFound:
        return False
    return node is not None and stamp in _stamps_of(node)


def _stamps_of(snapshot: Node) -> set[str]:
    tag = f"{{{OPERATION}}}attempt"
    paths = (f"domain/metadata/{tag}", f"inactiveDomain/metadata/{tag}")
    return {node.get("stamp") for path in paths for node in snapshot.all(path)} - {""}


def _has_external(line: Connection, domain: Any) -> bool:
    try:
        return bool(line.call(domain.snapshotNum, EXTERNAL))
    except NotSupported:  # libvirt's test driver
        return False


def _youngest_first(line: Connection, found: Any, *, children: bool) -> list[Any]:
    """All that descend from it: libvirt itself deletes external ones only one at a time, from their ends."""
    if not children:
        return []
    order = libvirt.VIR_DOMAIN_SNAPSHOT_LIST_DESCENDANTS | libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL
    return list(reversed(asked(line, found.listAllChildren, order)))


def _delete(line: Connection, snapshot: Any, flags: int) -> None:
    """Another's call for the same, such as that of a worker that is gone, may come first."""
    with suppress(NotFound):
        asked(line, snapshot.delete, flags)


def _show_images(line: Connection, domain: Any) -> None:
    """Have the datastores look again: they do not notice the files that an external snapshot makes and removes."""
    with suppress(DriverError):
        node = try_xml(str(line.call(domain.XMLDesc, 0)))
        folders = {source_of(disk).rpartition("/")[0] for disk in node.all("devices/disk")} if node else set()
        for folder in sorted(folders - {""}):
            with suppress(DriverError):  # no datastore's
                line.call(line.call(line.raw.storagePoolLookupByTargetPath, folder).refresh, 0)


def _refuse_errors(findings: Iterable[Finding]) -> None:
    """Raises: Busy, Rejected for the first that is an error."""
    for finding in findings:
        if finding.severity is Severity.ERROR:
            kind = Busy if finding.check == "no_other_job" else Rejected
            raise kind(finding.message, **dict(finding.parameters))


def _error(check: str, message: str, fix: str = "", parameters: Parameters = ()) -> Finding:
    return Finding(check, Severity.ERROR, message, fix, parameters)
