"""Which of a host's guests have a volume or are plugged into a network."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

import libvirt

from drivers.errors import DriverError, NotFound, NotSupported, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.parse.common import LONGEST_NAME, try_xml
from drivers.libvirt.text import clean
from drivers.libvirt.xml import LONGEST_PATH, Node
from drivers.words import gettext_noop as _

LONGEST_CHAIN = 32
# A volume's name is the end of its path, every file is one, sized to the byte and grown by libvirt.
OF_FILES = frozenset({"dir", "fs", "netfs"})
NO_VOLUME = _("There is no volume of a started datastore at this path on the host; refresh the datastore.")


def every_description(line: Connection, *, running_only: bool = False) -> Iterator[tuple[Any, Node]]:
    """Each guest with each of its descriptions; of one that cannot be read, Rejected is raised: it may have it."""
    flags = libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE if running_only else 0
    for domain in line.call(line.raw.listAllDomains, flags):
        runs = domain.ID() >= 0  # known from the list: no round trip
        for kind in (0, libvirt.VIR_DOMAIN_XML_INACTIVE) if runs and not running_only else (0,):
            try:
                node = try_xml(str(line.call(domain.XMLDesc, kind)))
            except NotFound:  # gone meanwhile
                break
            if node is None:
                raise Rejected(
                    _("The definition of a guest of this host cannot be read, so that its disks are unknown.")
                )
            yield domain, node


def source_of(disk: Node) -> str:
    """The file or device of a disk; empty for what is neither."""
    return disk.get("file", path="source", limit=LONGEST_PATH) or disk.get("dev", path="source", limit=LONGEST_PATH)


def paths_of(node: Node) -> set[str]:
    """Every file and device a guest's disks are made of, down their backing chains."""
    sources = (*node.element.iterfind("devices/disk//source"), *node.element.iterfind("os/nvram"))
    found = {str(source.get(name) or "") for source in sources for name in ("file", "dev", "dir")}
    loaded = {
        str(part.text or "").strip()
        for path in ("os/nvram", "os/kernel", "os/initrd")
        for part in node.element.iterfind(path)
    }
    return (found | loaded) - {""}


def volumes_of(node: Node) -> set[tuple[str, str]]:
    """Disks that are named by pool and volume."""
    sources = node.all("devices/disk/source")
    return {(s.get("pool"), s.get("volume", limit=LONGEST_PATH)) for s in sources if s.get("volume")}


def require_unused(line: Connection, path: str, pool: str = "", name: str = "", *, but: str = "") -> None:
    """Raises: Rejected with the name of a guest that has the volume."""
    for domain, node in every_description(line):
        if domain.UUIDString() != but and (path in paths_of(node) or (name and (pool, name) in volumes_of(node))):
            raise Rejected(
                _("The guest %(guest)s has this volume; remove it there first."),
                guest=clean(domain.name(), LONGEST_NAME),
            )


def require_bridge(line: Connection, name: str) -> None:
    """libvirt itself finds out when the first guest starts. Raises: Rejected when the host says that it has none."""
    try:
        line.call(line.raw.interfaceLookupByName, name)
    except NotFound:
        raise Rejected(_("The host has no bridge %(name)s; create it first."), name=name) from None
    except NotSupported:
        return


def find_by_path(line: Connection, path: str) -> Any:
    """The volume at a path: what is no volume of a datastore is no disk either, such as the host's own files.

    The same holds for the images below it. Raises: Rejected.
    """
    found = _volume_at(line, path)
    below = found
    for _link in range(LONGEST_CHAIN):
        backing = _backing_of(line, below)
        if not backing:
            return found
        below = _volume_at(line, backing)
    raise Rejected(NO_VOLUME)


def images_below(line: Connection, path: str, known: Set[str]) -> Iterator[str]:
    """The images that the one at a path rests on, as long as they are among the known."""
    for _link in range(LONGEST_CHAIN):
        try:
            path = _backing_of(line, _volume_at(line, path))
        except DriverError:  # no volume: nobody deletes it
            return
        if path not in known:
            return
        yield path


def _backing_of(line: Connection, volume: Any) -> str:
    node = try_xml(str(line.call(volume.XMLDesc, 0)))
    return node.text("backingStore/path", limit=LONGEST_PATH) if node else ""


def _volume_at(line: Connection, path: str) -> Any:
    try:
        return line.call(line.raw.storageVolLookupByPath, path)
    except NotFound:
        raise Rejected(NO_VOLUME) from None


def kind_of(line: Connection, pool: Any) -> str:
    """The type of a datastore as libvirt names it."""
    node = try_xml(str(line.call(pool.XMLDesc, 0)))
    return node.get("type", limit=32) if node else ""


def is_gone(line: Connection, path: str) -> bool:
    """Whether a started datastore of files, looked through now, lacks this one. Of another's nothing is known."""
    folder, _slash, name = path.rpartition("/")
    if not folder or not name:
        return False
    try:
        pool = line.call(line.raw.storagePoolLookupByTargetPath, folder)
        if kind_of(line, pool) not in OF_FILES:
            return False
        line.call(pool.refresh, 0)
    except DriverError:  # none, stopped, or at work
        return False
    try:
        line.call(pool.storageVolLookupByName, name)
    except NotFound:
        return True
    return False
