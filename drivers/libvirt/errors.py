"""From libvirt's errors to ours. Their raw text, which a hostile host may write, never goes further than this file.

Source: https://libvirt.org/html/libvirt-virterror.html; the patterns were seen with libvirt 9.0 and QEMU 7.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import libvirt

from drivers.errors import (
    AuthFailed,
    Busy,
    DriverError,
    HostKeyChanged,
    NotFound,
    NotSupported,
    Rejected,
    Unreachable,
)
from drivers.libvirt.text import clean
from drivers.words import gettext_noop as _

LONGEST_NAME = 80

_BY_CODE: dict[int, Callable[[], DriverError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: lambda: NotFound(_("This guest is not on this host any more.")),
    libvirt.VIR_ERR_NO_NETWORK: lambda: NotFound(_("This network is not on this host any more.")),
    libvirt.VIR_ERR_NO_INTERFACE: lambda: NotFound(_("This network interface is not on this host any more.")),
    libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT: lambda: NotFound(_("This snapshot is not on this host any more.")),
    libvirt.VIR_ERR_NO_STORAGE_VOL: lambda: NotFound(_("This volume is not on this host any more.")),
    libvirt.VIR_ERR_NO_STORAGE_POOL: lambda: NotFound(_("This datastore is not on this host any more.")),
    libvirt.VIR_ERR_NO_SUPPORT: lambda: NotSupported(_("This hypervisor cannot do that.")),
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: lambda: NotSupported(_("This hypervisor cannot do that.")),
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: lambda: NotSupported(_("The host cannot do that with this guest's hardware.")),
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: lambda: NotSupported(_("This hypervisor cannot do that.")),
    libvirt.VIR_ERR_OPERATION_TIMEOUT: lambda: Busy(
        _("Another operation holds this guest; try again when it has ended.")
    ),
    libvirt.VIR_ERR_RESOURCE_BUSY: lambda: Busy(_("Another operation holds this guest; try again when it has ended.")),
    libvirt.VIR_ERR_OPERATION_DENIED: lambda: AuthFailed(
        _("The account on this host may not do that; give it the right.")
    ),
    libvirt.VIR_ERR_ACCESS_DENIED: lambda: AuthFailed(
        _("The account on this host may not do that; give it the right.")
    ),
    libvirt.VIR_ERR_AUTH_FAILED: lambda: AuthFailed(
        _("The host refused the sign-in; check the user and its password or key.")
    ),
    libvirt.VIR_ERR_AUTH_CANCELLED: lambda: AuthFailed(_("The host asks for a password; enter one for this source.")),
    libvirt.VIR_ERR_AUTH_UNAVAILABLE: lambda: AuthFailed(_("The host offers no way of signing in that we know.")),
    libvirt.VIR_ERR_OPERATION_INVALID: lambda: Rejected(
        _("The guest's state does not allow that now; refresh, then try again.")
    ),
    libvirt.VIR_ERR_OPERATION_ABORTED: lambda: Rejected(_("The operation was canceled.")),
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: lambda: Rejected(_("The agent in the guest does not answer.")),
}
_CONNECTION_CODES = frozenset(
    {
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_OPEN_FAILED,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_SSH,
        libvirt.VIR_ERR_LIBSSH,
    }
)
_CONNECTION_DOMAINS = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})


def translate(error: libvirt.libvirtError) -> DriverError:
    """The error of ours that a libvirt error is."""
    code, domain = error.get_error_code(), error.get_error_domain()
    text = str(error.get_error_message() or "")
    if "HOST KEY VERIFICATION FAILED" in text:
        return HostKeyChanged(
            _("The host's SSH key is not the accepted one; find out why before you accept the new one.")
        )
    if code == libvirt.VIR_ERR_LIBSSH and "authenticat" in text:
        return AuthFailed(_("The host refused the sign-in; check the user and its password or key."))
    if code in _CONNECTION_CODES or (code not in _BY_CODE and domain in _CONNECTION_DOMAINS):
        return Unreachable(
            _("The connection to the host's libvirt failed; check that it runs and the network reaches it.")
        )
    maker = _BY_CODE.get(code)
    return maker() if maker else Rejected(_("The host refused this; its libvirt log says why."))


def migration_error(error: libvirt.libvirtError) -> Rejected:
    """Why a migration failed, in one sentence that says what to do."""
    text = str(error.get_error_message() or "")
    for code, pattern, sentence in _MIGRATION_CASES:
        if code in (None, error.get_error_code()) and (match := re.search(pattern, text)):
            names = [clean(name, LONGEST_NAME) for name in match.groups("") if name] or [""]
            return Rejected(sentence, name=names[0]) if match.re.groups else Rejected(sentence)
    return Rejected(_("The host stopped the migration; the libvirt logs of both hosts say why."))


_MIGRATION_CASES: tuple[tuple[int | None, str, str], ...] = (
    (libvirt.VIR_ERR_OPERATION_ABORTED, r"", _("The migration was canceled.")),
    (
        libvirt.VIR_ERR_MIGRATE_UNSAFE,
        r"without shared storage",
        _("A disk of the guest is not on storage that both hosts share; move it to a shared datastore first."),
    ),
    (
        libvirt.VIR_ERR_MIGRATE_UNSAFE,
        r"",
        _("A disk of the guest is cached in a way that may corrupt it on the move; set its cache to none."),
    ),
    (libvirt.VIR_ERR_OPERATION_INVALID, r"snapshot", _("The guest has snapshots; delete them, then migrate it.")),
    (libvirt.VIR_ERR_OPERATION_INVALID, r"not running", _("The guest is not running; start it, then migrate it.")),
    (
        libvirt.VIR_ERR_OPERATION_INVALID,
        r"host devices|hostdev|VFIO",
        _("A device of the host is passed to the guest; detach it."),
    ),
    (None, r"same host", _("Source and target are the same host; choose another.")),
    (
        None,
        r"no network with matching name '([^']*)'",
        _("The target host has no network %(name)s; create or start it there."),
    ),
    (
        None,
        r"network '([^']*)' is not active",
        _("The network %(name)s is not started on the target host; start it there."),
    ),
    (
        None,
        r"interface MTU on '([^']*)'|[Bb]ridge '?([\w.-]+)'? .*No such device",
        _("The target host has no bridge %(name)s; create it there."),
    ),
    (
        None,
        r"already exists with uuid",
        _("The target host has another guest of this name; rename or remove that one."),
    ),
    (
        None,
        r"is already defined with uuid",
        _("The target host has another guest with this UUID; remove that definition."),
    ),
    (None, r"is already active|already running", _("The target host already runs a guest with this name or UUID.")),
    (
        None,
        r"Cannot access (?:storage file|backing file)|No such file or directory.*(?:disk|image)|Could not open '",
        _("A disk of the guest cannot be opened on the target host; mount its datastore there at the same path."),
    ),
    (
        None,
        r"(?i)guest CPU doesn't match|CPU.*(?:incompatible|not compatible|missing features)|unsupported CPU",
        _("The target host's CPU lacks features the guest uses; give the guest a CPU model both hosts have."),
    ),
    (
        None,
        r"(?i)cannot (?:check|find) .*(?:emulator|QEMU binary)|not support machine type|unsupported machine",
        _("The target host has no QEMU that can run this guest; install the same version there."),
    ),
    (
        None,
        r"(?i)cannot (?:set up|allocate) .*memory|out of memory",
        _("The target host has not enough memory for the guest."),
    ),
    (
        None,
        r"Unable to resolve address",
        _("The source host cannot resolve the target host's name; add it to the DNS or to /etc/hosts of every host."),
    ),
    (
        None,
        r"(?:Network is unreachable|No route to host)",
        _("The source host has no network route to the target host; check their networks."),
    ),
    (
        None,
        r"Connection refused",
        _("The target host refused the source host's connection; check its libvirt port and its firewall."),
    ),
    (
        None,
        r"Permission denied|authentication failed|Host key verification",
        _("The target host refused the source host's sign-in."),
    ),
    (None, r"CA certificate|TLS", _("The two hosts cannot agree on TLS; check their certificates.")),
    (
        None,
        r"(?i)lost connection to destination|keepalive|client socket is closed|Connection reset|End of file|timed out",
        _("The connection between the two hosts, or a libvirt on either, broke during the migration."),
    ),
    (libvirt.VIR_ERR_NO_DOMAIN, r"", _("The guest is not on this host any more.")),
    (
        libvirt.VIR_ERR_SYSTEM_ERROR,
        r"",
        _("The connection between the two hosts, or a libvirt on either, broke during the migration."),
    ),
)
"""(code or any, pattern in libvirt's message, our sentence with the pattern's name). The first that fits counts."""


def guarded(call: Callable[..., Any], *args: Any) -> Any:
    """Call libvirt; its errors become ours."""
    try:
        return call(*args)
    except libvirt.libvirtError as error:
        raise translate(error) from None
