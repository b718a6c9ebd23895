"""The kinds of source we know, as data. Loads no driver: importable anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import cast

from drivers.base import OpenSession
from drivers.errors import NotSupported
from drivers.types import Capability, Endpoint, Transport
from drivers.words import gettext_noop as _

OPERATIONS = frozenset(Capability) - {Capability.POWER, Capability.LIVE_MIGRATION}


@dataclass(frozen=True, slots=True)
class DriverKind:
    """`opener` is the dotted path of a function `open_session(endpoint)`, imported only where sessions are opened."""

    kind: str
    label: str
    opener: str
    capabilities: frozenset[Capability]
    page_transports: tuple[Transport, ...]  # what a person may add on the page
    server_transports: tuple[Transport, ...]  # what only the server's own configuration may add


KINDS: dict[str, DriverKind] = {
    driver.kind: driver
    for driver in (
        DriverKind(
            kind="libvirt",
            label=_("KVM / QEMU (libvirt)"),
            opener="drivers.libvirt.session:open_session",
            capabilities=frozenset({Capability.POWER, Capability.LIVE_MIGRATION, *OPERATIONS}),
            page_transports=(Transport.SSH, Transport.TLS, Transport.TCP),
            server_transports=(Transport.TCP, Transport.TLS, Transport.SSH, Transport.UNIX, Transport.TEST),
        ),
        DriverKind(
            kind="fake",
            label=_("Simulated hypervisor"),
            opener="drivers.fake.session:open_session",
            capabilities=frozenset({Capability.POWER, Capability.LIVE_MIGRATION, *OPERATIONS}),
            page_transports=(),
            server_transports=(Transport.FAKE,),
        ),
    )
}


def load_opener(endpoint: Endpoint) -> OpenSession:
    """Import the driver of an endpoint.

    Raises: NotSupported for an unknown kind.
    """
    driver = KINDS.get(endpoint.kind)
    if driver is None:
        raise NotSupported(_("This kind of source is not known here."))
    module, name = driver.opener.split(":")
    return cast("OpenSession", getattr(import_module(module), name))
