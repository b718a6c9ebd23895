"""Why libvirt refused an operation, in one sentence that says what to do. See `errors`, which has the rest.

Source: the messages of libvirt 9.0's qemu_snapshot.c, qemu_hotplug.c, qemu_driver.c, storage_driver.c, network_conf.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import libvirt

from drivers.errors import Busy, DriverError, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.errors import translate
from drivers.libvirt.text import clean
from drivers.words import gettext_noop as _

LONGEST_NAME = 80
_CASES: tuple[tuple[str, str], ...] = (
    (r"domain moment .* already exists", _("The guest has a snapshot of this name already; choose another.")),
    (
        r"snapshots of a VM with pflash",
        _("A guest with UEFI keeps its variables where no snapshot reaches; take it of the disks only."),
    ),
    (
        r"internal snapshot for disk '?([\w-]+)'? unsupported",
        _("Disk %(name)s cannot hold a snapshot; only qcow2 images can."),
    ),
    (
        r"(?:revert to|deletion of|delet\w+ .*) external (?:disk )?snapshot.* not supported",
        _("This version of libvirt cannot do that with an external snapshot."),
    ),
    (
        r"for internal snapshot .* is not the same as disk image currently used",
        _("An external snapshot was taken after this one; delete that first."),
    ),
    (
        r"external snapshot that has internal snapshot as parent not supported",
        _("An external snapshot after an internal one cannot be deleted here; delete that first, powered off."),
    ),
    (
        r"could not find base disk source in disk source chain",
        _("Of a guest that is off, libvirt deletes the newest external snapshot only; delete that first, or start it."),
    ),
    (
        r"existing managed saved state",
        _("The guest's memory is saved on the host; start it and power it off, then go back."),
    ),
    (r"revert requires force", _("The guest has changed too much since the snapshot to go back to it.")),
    (r"State blocked by non-migratable|non-migratable", _("A device of the guest does not let its memory be saved.")),
    (r"guest agent is not (?:connected|configured|available)", _("The agent in the guest does not answer.")),
    (r"cannot rename .*snapshots|domain with .*snapshots", _("The guest has snapshots; delete them first.")),
    (r"cannot rename active|active domain", _("The guest is not off; power it off first.")),
    (r"(?:domain|guest) .*already (?:exists|defined)", _("Another guest of this host has this name; choose another.")),
    (
        r"(?:tray|[Dd]evice).* (?:is locked|to be open)",
        _("The guest has locked the drive; eject it there, or force it."),
    ),
    (r"exceeds? (?:maximum|max|the maximum)|greater than max", _("That is more than the most this guest may have.")),
    (r"CPU topology", _("The guest's CPU topology fixes how many virtual CPUs it has; change that first.")),
    (
        r"controllers? (?:are|is) unsupported for this|Could not find \w+ controller",
        _("The guest's machine has no bus of this kind; choose another."),
    ),
    (r"is not a valid device model name", _("The host has no device of this model; choose another.")),
    (r"No more available PCI|no free slot|no more .*slots", _("The guest has no free slot for another device.")),
    (
        r"[Nn]etwork is already in use by interface ([\w.-]+)",
        _("The address range is in use on this host, at %(name)s; choose another."),
    ),
    (r"target '?([\w-]+)'? .*already exists|already in use by", _("The guest has something in this place already.")),
    (
        r"storage vol(?:ume)? .*already exists|file exists",
        _("The datastore has something of this name; choose another."),
    ),
    (  # QEMU tells a full file system from a failing one only sometimes
        r"while writing VM state",
        _("The guest's memory cannot be kept in its image: its datastore has not enough room, or failed."),
    ),
    (r"[Nn]ot enough (?:free )?space|No space left", _("The datastore has not enough room for this.")),
    (r"storage pool '?.*'? is not active", _("The datastore is not started; start it first.")),
    (r"shrink", _("A disk is never made smaller.")),
    (r"Can't resize an image which has snapshots", _("The image holds snapshots; delete them, then grow it.")),
    (r"network '?.*'? already exists", _("Another network of this host has this name; choose another.")),
    (r"bridge name '([^']*)' already in use", _("The bridge %(name)s belongs to another network; choose another.")),
    (r"(?i)failed to get .*lock|is another process using", _("The image is in use by another guest.")),
    (  # it writes past a variable of its own there: storageBackendCopyToFD asks for the block size into an int
        r"failed reading from file .*Bad file descriptor",
        _("libvirt cannot copy a raw image within this file system; copy it to another datastore."),
    ),
    (r"Permission denied", _("The host's QEMU may not open a file that this needs; check who owns it.")),
    (r"No such file or directory|Cannot access storage file", _("A file that this needs is not on the host.")),
)
_BUSY = re.compile(r"still being allocated|has asynchronous jobs running|is still being (?:built|used)|in use by .*job")
_NOT_LIVE = re.compile(
    r"hot-?(?:un)?plug|cannot be (?:un)?plugged|not supported|unsupported|No more available|no free slot|"
    r"cannot (?:modify|change)|live update|unplug request|balloon device|exceeds? max|greater than max|cannot attach",
    re.IGNORECASE,
)
_NOT_LIVE_CODES = frozenset(
    {
        libvirt.VIR_ERR_NO_SUPPORT,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    }
)


def refusal_of(error: libvirt.libvirtError) -> DriverError:
    """The error of ours, with the reason where it is known."""
    text = str(error.get_error_message() or "")
    if _BUSY.search(text):
        return Busy(_("The host still works on this; try again when it has ended."))
    ours = translate(error)
    if not isinstance(ours, Rejected) and error.get_error_code() not in _NOT_LIVE_CODES:
        return ours
    for pattern, sentence in _CASES:
        if match := re.search(pattern, text):
            names = [clean(name, LONGEST_NAME) for name in match.groups("") if name]
            return (
                Rejected(sentence, name=names[0] if names else "?")
                if match.re.groups and "%(" in sentence
                else (Rejected(sentence))
            )
    return ours


def asked(line: Connection, method: Callable[..., Any], *args: Any) -> Any:
    """Call libvirt; a refusal says why. Raises: DriverError."""
    try:
        return line.call_raw(method, *args)
    except libvirt.libvirtError as error:
        raise refusal_of(error) from None


def is_only_later(error: libvirt.libvirtError) -> bool:
    """Whether it was refused only because the guest runs."""
    return error.get_error_code() in _NOT_LIVE_CODES or bool(_NOT_LIVE.search(str(error.get_error_message() or "")))
