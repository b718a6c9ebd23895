"""Storage pools.

Source: https://libvirt.org/storage.html, https://libvirt.org/formatstorage.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

from drivers.libvirt.parse.common import clean_uuid, pci_address, try_xml
from drivers.libvirt.parse.volumes import volume_facts
from drivers.libvirt.raw import RawPool
from drivers.libvirt.text import whole
from drivers.libvirt.xml import LONGEST_PATH, Node
from drivers.types import DatastoreFact, HostBusAdapterFact, StorageClass, Technology, VolumeFact

_TECHNOLOGIES: dict[str, Technology] = {
    "dir": Technology.LOCAL,
    "fs": Technology.LOCAL,
    "disk": Technology.LOCAL,
    "logical": Technology.LVM,
    "iscsi": Technology.ISCSI,
    "iscsi-direct": Technology.ISCSI,
    "scsi": Technology.SCSI,
    "mpath": Technology.MULTIPATH,
    "rbd": Technology.RBD,
    "sheepdog": Technology.SHEEPDOG,
    "gluster": Technology.GLUSTER,
    "zfs": Technology.ZFS,
    "vstorage": Technology.VSTORAGE,
}
# Without a format, or with `auto`, libvirt mounts host:path, which mount takes for NFS.
_NETFS_TECHNOLOGIES = {
    "": Technology.NFS,
    "auto": Technology.NFS,
    "nfs": Technology.NFS,
    "cifs": Technology.SMB,
    "glusterfs": Technology.GLUSTER,
}
_ADAPTER_TECHNOLOGIES = {
    "fc": Technology.FC,
    "fc_host": Technology.FC,
    "iscsi": Technology.ISCSI,
    "sas": Technology.SAS,
}
_SAN = frozenset(
    {Technology.ISCSI, Technology.FC, Technology.RBD, Technology.SHEEPDOG, Technology.MULTIPATH},
)
_NAS = frozenset({Technology.NFS, Technology.SMB, Technology.GLUSTER, Technology.VSTORAGE})
# A port that is the usual one says nothing: two hosts that spell it differently mean the same.
_USUAL_PORTS: dict[Technology, set[int]] = {
    Technology.NFS: {2049},
    Technology.SMB: {445},
    Technology.GLUSTER: {24007},
    Technology.ISCSI: {3260},
    Technology.RBD: {3300, 6789},
    Technology.SHEEPDOG: {7000},
}
# How udev names disks by their path: pci-0000:3b:00.0-fc-0x…-lun-1, ip-192.0.2.1:3260-iscsi-iqn.…-lun-0; /dev/rbd0.
_BY_FABRIC = re.compile(r"^/dev/(?:disk/by-path/\S*?(?:-iscsi-|[-/](?:fc|zfcp)-0x)|rbd(?:/|\d))")


def datastore_fact(raw: RawPool, host: str, adapters: Sequence[HostBusAdapterFact] = ()) -> DatastoreFact | None:
    """The pool; `adapters` are the host's, by which a pool of a card's disks tells how they are reached."""
    node = try_xml(raw.xml)
    uuid = clean_uuid(node.text("uuid")) if node else ""
    if node is None or not uuid:
        return None
    card = _card(node, adapters)
    technology = _technology(node, card)
    servers = _servers(node, technology)
    devices = _devices(node)
    capacity = node.bytes("capacity", default_unit="bytes")
    return DatastoreFact(
        ref=f"{host}/{uuid}",
        host_ref=host,
        uuid=uuid,
        name=node.text("name") or uuid,
        technology=technology,
        storage_class=_storage_class(node, technology, devices),
        path=node.text("target/path", limit=LONGEST_PATH),
        source=_source(node, technology, servers, devices, card),
        active=raw.active,
        capacity_bytes=capacity,
        available_bytes=min(node.bytes("available", default_unit="bytes"), capacity),
        autostart=raw.autostart,
        kind=node.get("type", limit=32),
        format=node.get("type", path="source/format", limit=32),
        servers=servers,
        devices=devices,
        adapter=_adapter(node),
        initiator=node.get("name", path="source/initiator/iqn"),
        volumes=_volumes(node, raw),
        volumes_cut=raw.cut or not raw.active,
    )


def _volumes(node: Node, raw: RawPool) -> tuple[VolumeFact, ...]:
    """A target may show its own controller at LUN 0, as tgt does: libvirt lists it as a volume of no size."""
    found = volume_facts(raw.volumes)
    if node.get("type", limit=32) == "iscsi-direct":
        return tuple(volume for volume in found if volume.capacity_bytes or volume.kind != "network")
    return found


def _technology(node: Node, card: HostBusAdapterFact | None) -> Technology:
    kind = node.get("type", limit=32)
    if kind == "netfs":
        return _NETFS_TECHNOLOGIES.get(node.get("type", path="source/format"), Technology.OTHER)
    if kind == "scsi":
        how = card.kind if card else node.get("type", path="source/adapter")
        return _ADAPTER_TECHNOLOGIES.get(how, Technology.SCSI)
    return _TECHNOLOGIES.get(kind, Technology.OTHER)


def _storage_class(node: Node, technology: Technology, devices: Iterable[str]) -> StorageClass:
    """What stands on the host's disks is direct-attached, unless a disk's name says that a fabric leads to it."""
    if technology in _NAS or node.get("type", limit=32) == "netfs":
        return StorageClass.NAS
    by_fabric = technology in _SAN or any(map(_BY_FABRIC.search, devices))
    return StorageClass.SAN if by_fabric else StorageClass.DAS


def _servers(node: Node, technology: Technology) -> tuple[str, ...]:
    usual = _USUAL_PORTS.get(technology, set())
    found = (_server(host.get("name"), host.get("port", limit=8), usual) for host in node.all("source/host"))
    return tuple(dict.fromkeys(server for server in found if server))


def _server(name: str, port: str, usual: Iterable[int]) -> str:
    """In one spelling: lower case, no final dot, brackets around an IPv6 address."""
    bare = name.strip("[]").rstrip(".").lower()
    with suppress(ValueError):
        bare = str(ipaddress.ip_address(bare))
    bare = f"[{bare}]" if ":" in bare else bare
    number = whole(port, largest=65_535)
    return f"{bare}:{number}" if bare and number and number not in usual else bare


def _devices(node: Node) -> tuple[str, ...]:
    """In order of their names, since a volume group lists its own in any."""
    paths = {device.get("path", limit=LONGEST_PATH) for device in node.all("source/device")}
    return tuple(sorted(paths - {""}))


def _adapter(node: Node) -> str:
    """The card as the pool names it: world wide port name, name, or PCI address."""
    adapter = node.find("source/adapter")
    if adapter is None:
        return ""
    named = _world_wide_name(adapter, "wwpn") or _world_wide_name(adapter, "wwnn") or adapter.get("name")
    address = adapter.find("parentaddr/address")
    return named or (pci_address(address) if address else "")


def _world_wide_name(adapter: Node, kind: str) -> str:
    return adapter.get(kind, limit=32).lower().removeprefix("0x")


def _card(node: Node, adapters: Sequence[HostBusAdapterFact]) -> HostBusAdapterFact | None:
    """The host's card that the pool names, when exactly one fits. Two ports of one card share a PCI address."""
    named = _adapter(node)
    if not named:
        return None
    bare = named.removeprefix("scsi_")
    fits = [a for a in adapters if bare == a.name.removeprefix("scsi_") or named in (a.wwpn, a.pci_address)]
    return fits[0] if len(fits) == 1 else None


def _source(
    node: Node,
    technology: Technology,
    servers: Sequence[str],
    devices: Sequence[str],
    card: HostBusAdapterFact | None,
) -> str:
    """`server:/export`, the volume group, the target or the device: whatever tells two datastores apart."""
    if node.get("type", limit=32) == "scsi":
        return _source_by_adapter(node, technology, card)
    where = ",".join(sorted(servers))
    what = _what(node, technology, devices)
    return f"{where}:{what}"[:LONGEST_PATH] if where and what else where or what


def _source_by_adapter(node: Node, technology: Technology, card: HostBusAdapterFact | None) -> str:
    """A world wide name means one card everywhere; `host2` is another card on every host."""
    if technology is Technology.FC:
        adapter = node.find("source/adapter")
        return (card.wwpn if card else "") or (_world_wide_name(adapter, "wwpn") if adapter else "")
    return "" if technology is Technology.ISCSI else _adapter(node)


def _what(node: Node, technology: Technology, devices: Sequence[str]) -> str:
    name = node.text("source/name")
    folder = node.get("path", path="source/dir", limit=LONGEST_PATH)
    folder = folder.rstrip("/") or folder[:1]
    if technology is Technology.GLUSTER:  # volume/folder, however it is reached
        return "/".join(part for part in (name, folder.strip("/")) if part) or folder
    if technology in (Technology.LVM, Technology.ZFS) and name:
        return name
    return folder or ",".join(devices)[:LONGEST_PATH] or name
