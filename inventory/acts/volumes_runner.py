"""Growing and deleting volumes: only in workers. The host says no for its own guests; other hosts' we know."""

from __future__ import annotations

from uuid import UUID

from django.utils.translation import gettext as _

from core.units import format_bytes
from drivers.isolation import RemoteSession
from drivers.requests import VolumeRef
from hosts.acts import At, HostAct, Impossible, Turn
from inventory.acts.volumes import reason_not_to_grow, reason_to_keep
from operations.handle import JobHandle
from operations.models import JobState
from storage.models import DatastoreMount, Volume


def run_grow(handle: JobHandle) -> None:
    """The runner of `volume_grow`."""
    GrowVolume(handle).run()


def run_delete(handle: JobHandle) -> None:
    """The runner of `volume_delete`."""
    DeleteVolume(handle).run()


class VolumeAct(HostAct):
    """One existing volume, by one of the hosts that see it."""

    def mount(self) -> DatastoreMount:
        """Raises: Impossible."""
        rows = DatastoreMount.objects.select_related("host__source", "datastore")
        wanted = {"datastore": self.handle.job.target_id, "host": self.handle.parameters["host"]}
        found = rows.filter(missing_since=None, **wanted).first()
        if found is None:
            raise Impossible(_("The host does not see this datastore any more."))
        return found

    def volume(self) -> Volume:
        """Raises: Impossible when it is gone: what has its name now is another one."""
        found = Volume.objects.select_related("datastore").filter(pk=UUID(self.handle.parameters["volume"])).first()
        if found is None:
            raise Impossible(_("The volume is not in its datastore any more."))
        return found


class GrowVolume(VolumeAct):
    def perform(self) -> str:
        mount, size = self.mount(), int(self.handle.parameters["capacity_bytes"])
        ref = VolumeRef(mount.uuid, self.handle.parameters["name"])
        if not self.is_asked("grow"):
            reason = reason_not_to_grow(self.volume())  # a guest may have been started since it was asked for
            if reason:
                raise Impossible(reason)

        def call(session: RemoteSession, turn: Turn) -> None:
            session.resize_volume(ref, size, turn.not_after)

        self.tell("grow", At(mount.host, mount.uuid), call)
        return _("It has %(size)s now.") % {"size": format_bytes(size)}


class DeleteVolume(VolumeAct):
    def perform(self) -> str:
        mount = self.mount()
        if not self.is_asked("delete"):
            reason = reason_to_keep(self.volume())  # somebody may have taken it since it was asked for
            if reason:
                raise Impossible(reason)
        ref = VolumeRef(mount.uuid, self.handle.parameters["name"])

        def call(session: RemoteSession, turn: Turn) -> None:
            session.delete_volume(ref, turn.not_after)

        self.tell("delete", At(mount.host, mount.uuid), call)
        return _("%(name)s and its content are deleted.") % {"name": ref.name}

    def write_end(self, to: JobState) -> None:
        if to is JobState.SUCCEEDED:
            Volume.objects.filter(pk=UUID(self.handle.parameters["volume"])).delete()
