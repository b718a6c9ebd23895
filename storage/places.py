"""Where on which host something is done to a datastore: the mount that is used, and the key that holds a volume."""

from __future__ import annotations

from django.utils.translation import gettext as _

from core.errors import Conflict
from hosts.facts import digest
from hosts.models import Host, SourceState
from storage.models import Datastore, DatastoreMount


def volume_key(datastore: Datastore, name: str) -> str:
    """What an open job on this volume holds: one at a time, whoever asks from wherever."""
    return f"volume:{datastore.pk}/{digest(name)}"


def mount_key(mount: DatastoreMount) -> str:
    return f"mount:{mount.pk}"


def usable_mounts(datastore: Datastore) -> list[DatastoreMount]:
    """Started, on hosts that answer; by the host's name."""
    mounts = DatastoreMount.objects.filter(datastore=datastore, missing_since=None, active=True)
    answering = mounts.filter(host__missing_since=None, host__source__state=SourceState.OK)
    return list(answering.select_related("host__source").order_by("host__name", "pk"))


def choose_mount(datastore: Datastore, host: Host | None = None) -> DatastoreMount:
    """That of this host, or of any. Raises: Conflict."""
    for mount in usable_mounts(datastore):
        if host is None or mount.host_id == host.pk:
            return mount
    if host is not None:
        raise Conflict(
            _("%(datastore)s is not started on %(host)s, or the host does not answer.")
            % {"datastore": datastore.name, "host": host.name}
        )
    raise Conflict(_("No host that answers has %(datastore)s started.") % {"datastore": datastore.name})
