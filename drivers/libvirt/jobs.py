"""What libvirt says of a guest's running job, and the stamp of ours in its metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import libvirt

from drivers.errors import Busy, NotSupported, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.errors import translate
from drivers.libvirt.text import whole
from drivers.libvirt.xml import BrokenXML, read_xml
from drivers.words import gettext_noop as _

NAMESPACE = "urn:guesthouse:migration-attempt"
TURN = "urn:guesthouse:turn"  # never written
OPERATION = "urn:guesthouse:operation"  # the name space of other operations' stamps
PREFIX = "guesthouse"
_STAMP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


@dataclass(frozen=True, slots=True)
class JobReading:
    """`incoming`: this host is the target, and knows no figures."""

    active: bool
    outgoing: bool = False
    incoming: bool = False
    figures: dict[str, int] | None = None


def read_job(connection: Connection, domain: Any) -> JobReading:
    """The guest's job on this host. Raises: NotFound when the guest is gone."""
    try:
        figures = connection.call(domain.jobStats)
    except Rejected:
        # "domain is not running": off, or just left by a migration and not yet forgotten.
        return JobReading(active=False)
    except NotSupported:
        # Seen with libvirt 9.0: the target of a migration answers "available only on the source host".
        incoming = _is_qemu(connection)
        return JobReading(active=incoming, incoming=incoming)
    active = figures.get("type", 0) in {libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED}
    operation = figures.get("operation", 0)
    return JobReading(
        active=active,
        outgoing=active and operation == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
        incoming=active and operation == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN,
        figures={name: whole(value) for name, value in figures.items() if isinstance(value, int)},
    )


def read_arrival(connection: Connection, domain: Any) -> dict[str, int]:
    """What the move that brought the guest here came to, as its source measured it; empty when none did.

    Source: https://libvirt.org/html/libvirt-libvirt-domain.html#VIR_DOMAIN_JOB_STATS_COMPLETED ("on the destination
    host, too"). The figures are kept for whoever asks next.
    """
    flags = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
    try:
        figures = connection.call(domain.jobStats, flags)
    except (Rejected, NotSupported):
        return {}
    if figures.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN:
        return {}
    return {name: whole(value) for name, value in figures.items() if isinstance(value, int)}


def _is_qemu(connection: Connection) -> bool:
    """Drivers without any job statistics, such as libvirt's test driver, have no jobs either."""
    return str(connection.call(connection.raw.getType)).upper() == "QEMU"


def has_active_job(connection: Connection, domain: Any) -> bool:
    """First what never waits: while a snapshot is taken, libvirt lets the question for the job's figures wait.

    Source: qemuDomainGetControlInfo, which takes no job; qemuSnapshotCreate takes its own with the mask VIR_JOB_NONE.
    """
    try:
        state = connection.call(domain.controlInfo)[0]
    except (Rejected, NotSupported):  # the guest is off, or has no such thing
        state = libvirt.VIR_DOMAIN_CONTROL_OK
    return state == libvirt.VIR_DOMAIN_CONTROL_JOB or read_job(connection, domain).active


def require_idle(connection: Connection, domain: Any) -> None:
    """Raises: Busy while something of this guest is under way."""
    if has_active_job(connection, domain):
        raise Busy(_("Another operation of this guest is under way; wait for its end."))


def wait_for_end(connection: Connection, domain: Any) -> None:
    """Return when libvirt does nothing else with the guest, of what it does not show for one that is off.

    Removing what is not there changes nothing, but libvirt does it only in turn. Raises: Busy after its 30 seconds.
    Source: qemuDomainSetMetadata, which takes a job of the kind VIR_JOB_MODIFY.
    """
    connection.call(domain.setMetadata, libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, None, TURN, 0)


def read_stamp(connection: Connection, domain: Any, namespace: str = NAMESPACE) -> str:
    """The attempt written into the guest; empty when there is none."""
    try:
        kind, current = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CURRENT
        text = connection.call_raw(domain.metadata, kind, namespace, current)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return ""
        raised = translate(error)
        if isinstance(raised, NotSupported):
            return ""
        raise raised from None
    return stamp_in(str(text))


def stamp_in(text: str) -> str:
    """The stamp of a metadata element; empty for what is none."""
    try:
        stamp = read_xml(text).get("stamp")
    except BrokenXML:
        return ""
    return stamp if _STAMP.fullmatch(stamp) else ""


def write_stamp(connection: Connection, domain: Any, stamp: str, namespace: str = NAMESPACE) -> None:
    """Write the attempt into the guest, into its running and its stored definition; "" removes it.

    libvirt lets this wait for the end of any job of the guest: look for one first.
    """
    if stamp and not _STAMP.fullmatch(stamp):
        raise Rejected(_("The name of this attempt has characters that are not allowed."))
    flags = 0
    if connection.call(domain.isActive):
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
    if connection.call(domain.isPersistent):
        flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG
    element = f"<attempt stamp='{stamp}'/>" if stamp else None
    kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
    connection.call(domain.setMetadata, kind, element, PREFIX if stamp else None, namespace, flags)
