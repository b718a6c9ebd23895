"""Storage pools."""

from __future__ import annotations

from drivers.libvirt.parse.common import clean_uuid, try_xml
from drivers.libvirt.raw import RawPool
from drivers.libvirt.xml import LONGEST_PATH, Node
from drivers.types import DatastoreFact, StorageClass, Technology

_TECHNOLOGIES: dict[str, Technology] = {
    "dir": Technology.LOCAL,
    "fs": Technology.LOCAL,
    "disk": Technology.LOCAL,
    "logical": Technology.LVM,
    "iscsi": Technology.ISCSI,
    "iscsi-direct": Technology.ISCSI,
    "scsi": Technology.SCSI,
    "rbd": Technology.RBD,
    "gluster": Technology.GLUSTER,
    "zfs": Technology.ZFS,
}
_NETFS_TECHNOLOGIES = {"nfs": Technology.NFS, "cifs": Technology.SMB, "glusterfs": Technology.GLUSTER}
_SAN = frozenset({Technology.ISCSI, Technology.FC, Technology.RBD})
_NAS = frozenset({Technology.NFS, Technology.SMB, Technology.GLUSTER})


def datastore_fact(raw: RawPool, host: str) -> DatastoreFact | None:
    node = try_xml(raw.xml)
    uuid = clean_uuid(node.text("uuid")) if node else ""
    if node is None or not uuid:
        return None
    technology = _technology(node)
    capacity = node.bytes("capacity", default_unit="bytes")
    return DatastoreFact(
        ref=f"{host}/{uuid}",
        host_ref=host,
        uuid=uuid,
        name=node.text("name") or uuid,
        technology=technology,
        storage_class=_storage_class(technology),
        path=node.text("target/path", limit=LONGEST_PATH),
        source=_pool_source(node),
        active=raw.active,
        capacity_bytes=capacity,
        available_bytes=min(node.bytes("available", default_unit="bytes"), capacity),
    )


def _technology(node: Node) -> Technology:
    kind = node.get("type", limit=32)
    if kind == "netfs":
        return _NETFS_TECHNOLOGIES.get(node.get("type", path="source/format"), Technology.NFS)
    if kind == "scsi" and node.get("type", path="source/adapter") == "fc_host":
        return Technology.FC
    return _TECHNOLOGIES.get(kind, Technology.OTHER)


def _storage_class(technology: Technology) -> StorageClass:
    if technology in _NAS:
        return StorageClass.NAS
    return StorageClass.SAN if technology in _SAN else StorageClass.DAS


def _pool_source(node: Node) -> str:
    """`server:/export`, the volume group, the target or the device: whatever tells two datastores apart."""
    host = node.get("name", path="source/host")
    what = (
        node.get("path", path="source/dir", limit=LONGEST_PATH)
        or node.get("path", path="source/device", limit=LONGEST_PATH)
        or node.text("source/name")
    )
    return f"{host}:{what}" if host and what else host or what
