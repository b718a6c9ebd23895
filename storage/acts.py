"""Asking for volumes and for what hosts do with datastores. `act_runner` does it.

Deleting and growing a volume asks who uses it, so it is `inventory.acts.volumes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from access.models import require
from access.roles import Action
from core.db import write_transaction
from core.errors import Conflict, Invalid
from core.units import format_bytes
from drivers.types import Capability
from hosts.able import require_able
from hosts.models import Host
from operations.models import Job
from operations.services import submit_job
from storage.models import Datastore, DatastoreMount, Upload, Volume
from storage.naming import checked_capacity, checked_volume_name
from storage.places import choose_mount, mount_key, volume_key
from storage.uploads import lock_upload, require_free, require_whole

VOLUME_CREATE = "volume_create"
VOLUME_UPLOAD = "volume_upload"
DATASTORE_SWITCH = "datastore_switch"
FORMATS = ("qcow2", "raw")
# Kinds of pool that make no volumes of their own, or none that a console should.
READ_ONLY_KINDS = frozenset({"iscsi", "iscsi-direct", "scsi", "mpath"})


class MountAct(StrEnum):
    """What is done to a datastore on one host."""

    START = "start"
    STOP = "stop"
    REFRESH = "refresh"
    AUTOSTART_ON = "autostart_on"
    AUTOSTART_OFF = "autostart_off"


MOUNT_ACTS: dict[str, Any] = {
    MountAct.START: gettext_lazy("Start datastore"),
    MountAct.STOP: gettext_lazy("Stop datastore"),
    MountAct.REFRESH: gettext_lazy("Refresh datastore"),
    MountAct.AUTOSTART_ON: gettext_lazy("Switch autostart on"),
    MountAct.AUTOSTART_OFF: gettext_lazy("Switch autostart off"),
}


def create_title(parameters: Mapping[str, Any]) -> str:
    return _("Create volume %(name)s") % {"name": parameters.get("name", "?")}


def upload_title(parameters: Mapping[str, Any]) -> str:
    return _("Upload %(name)s") % {"name": parameters.get("name", "?")}


def switch_title(parameters: Mapping[str, Any]) -> str:
    return str(MOUNT_ACTS.get(str(parameters.get("action")), "?"))


def require_new_name(datastore: Datastore, name: str, field: str = "name") -> None:
    """As far as the inventory knows; hosts are asked again. Raises: Invalid."""
    if Volume.objects.filter(datastore=datastore, name=name).exists():
        raise Invalid(
            _("%(datastore)s has something of this name; choose another.") % {"datastore": datastore.name}, field=field
        )


def require_room(datastore: Datastore, size_bytes: int, field: str = "capacity_bytes") -> None:
    """For what takes its room at once. Raises: Invalid."""
    if datastore.capacity_bytes and size_bytes > datastore.available_bytes:
        words = {
            "datastore": datastore.name,
            "free": format_bytes(datastore.available_bytes),
            "size": format_bytes(size_bytes),
        }
        raise Invalid(_("%(datastore)s has %(free)s free, and this needs %(size)s.") % words, field=field)


def require_makes_volumes(datastore: Datastore) -> None:
    """Raises: Conflict."""
    if datastore.kind in READ_ONLY_KINDS:
        raise Conflict(_("Volumes of this kind of datastore are made on its storage system, not here."))


def checked_format(text: str) -> str:
    """Raises: Invalid."""
    if text not in FORMATS:
        raise Invalid(
            _("A volume has one of these formats: %(names)s.") % {"names": ", ".join(FORMATS)}, field="format"
        )
    return text


def _volume_job(kind: str, mount: DatastoreMount, name: str, by: Any, **parameters: Any) -> Job:
    store = mount.datastore
    return submit_job(
        kind=kind,
        target_kind="datastore",
        target_id=store.pk,
        target_name=store.name,
        parameters={"name": name, "host": str(mount.host_id), "host_name": mount.host.name, **parameters},
        exclusive=volume_key(store, name),
        by=by,
    )


def submit_volume_create(
    *,
    datastore: Datastore,
    name: str,
    capacity_bytes: int,
    format: str = "qcow2",  # noqa: A002 - the word everybody uses
    preallocate: bool = False,
    host: Host | None = None,
    by: Any,
) -> Job:
    """Queue a new volume, on this host or any that sees the datastore.

    Raises: Forbidden, Invalid; Conflict; AlreadyOpen while another task makes one of this name.
    """
    require(by, Action.PROVISION)
    name, format = checked_volume_name(name), checked_format(format)  # noqa: A001
    capacity_bytes = checked_capacity(capacity_bytes)
    require_makes_volumes(datastore)
    require_new_name(datastore, name)
    if preallocate:
        require_room(datastore, capacity_bytes)
    mount = choose_mount(datastore, host)
    require_able(mount.host, Capability.STORAGE)
    return _volume_job(
        VOLUME_CREATE, mount, name, by, capacity_bytes=capacity_bytes, format=format, preallocate=preallocate
    )


def submit_volume_upload(*, upload: Upload, datastore: Datastore, name: str, host: Host | None = None, by: Any) -> Job:
    """Queue writing a file that was sent into a new volume.

    Raises: Forbidden, Invalid; Conflict when it is not whole or no host answers; AlreadyOpen.
    """
    require(by, Action.PROVISION)
    name = checked_volume_name(name)
    require_makes_volumes(datastore)
    require_whole(upload)
    require_new_name(datastore, name)
    require_room(datastore, upload.size_bytes, field="datastore")
    mount = choose_mount(datastore, host)
    require_able(mount.host, Capability.CONTENT)
    with write_transaction():
        require_free(lock_upload(upload))
        job = _volume_job(
            VOLUME_UPLOAD, mount, name, by, upload=str(upload.pk), upload_name=upload.name, bytes=upload.size_bytes
        )
        Upload.objects.filter(pk=upload.pk).update(job_id=job.pk)
    return job


def submit_datastore_switch(*, mount: DatastoreMount, action: MountAct | str, by: Any) -> Job:
    """Queue starting, stopping, reading again or autostart of a datastore on one host. Needs host and source.

    Raises: Forbidden, Invalid, Conflict, AlreadyOpen.
    """
    require(by, Action.PROVISION)
    try:
        wanted = MountAct(action)
    except ValueError:
        names = ", ".join(known.value for known in MountAct)
        raise Invalid(_("Use one of: %(names)s.") % {"names": names}, field="action") from None
    require_able(mount.host, Capability.STORAGE)
    if wanted is MountAct.REFRESH and not mount.active:
        raise Conflict(_("The datastore is not started on %(host)s; start it first.") % {"host": mount.host.name})
    return submit_job(
        kind=DATASTORE_SWITCH,
        target_kind="datastore",
        target_id=mount.datastore_id,
        target_name=mount.datastore.name,
        parameters={
            "action": wanted.value,
            "mount": str(mount.pk),
            "mount_name": mount.name,
            "host": str(mount.host_id),
            "host_name": mount.host.name,
        },
        exclusive=mount_key(mount),
        by=by,
    )
