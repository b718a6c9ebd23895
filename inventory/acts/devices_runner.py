"""Adding, changing and removing disks, CDs and network adapters of guests. Imported only by workers."""

from __future__ import annotations

from django.utils.translation import gettext as _

from drivers.errors import DriverError
from drivers.isolation import RemoteSession
from drivers.requests import DiskRequest, Effect, NicRequest, VolumeRef, VolumeRequest
from hosts.acts import At, Turn
from hosts.words import sentence
from inventory.acts.devices import reason_not_to_add, reason_not_to_read
from inventory.acts.rules import DISK_ADD, DISK_GROW, DISK_REMOVE, MEDIA, NIC_ADD, NIC_CHANGE, NIC_REMOVE
from inventory.acts.runner import GuestAct, require_still, said
from operations.errors import CancelRequested
from operations.handle import JobHandle
from storage.leftovers import NamesVolumes, WantedVolume


def run(handle: JobHandle) -> None:
    ACTS[handle.job.kind](handle).run()


class ChangeMedia(GuestAct):
    def act(self, at: At) -> str:
        asked = self.parameters
        if asked.get("volume") and not self.is_asked("media"):
            require_still(asked["volume"], reason_not_to_read)

        def call(session: RemoteSession, turn: Turn) -> Effect:
            return session.change_media(at.ref, asked["target"], asked["path"], asked["force"], turn.not_after)

        return self.told(self.ask("media", at, call, Effect))

    def told(self, effect: Effect) -> str:
        if self.parameters["path"]:
            return said(_("The ISO is in the drive."), effect)
        return said(_("The drive is empty."), effect)


class AddDisk(NamesVolumes, GuestAct):
    """An existing volume, or one that is made first; that one goes again when the guest does not get it."""

    def wanted_volumes(self) -> list[WantedVolume]:
        new = self.parameters.get("new")
        if not new:
            return []
        steps = ("volume", "volume size", "add")  # a guest that did not get it leaves it behind
        return [WantedVolume(self.parameters["volume_name"], new["datastore_name"], steps)]

    def act(self, at: At) -> str:
        if "new" not in self.parameters:
            if not self.is_asked("add"):
                read_only = self.parameters["read_only"]
                require_still(self.parameters["volume"], lambda one: reason_not_to_add(one, read_only=read_only))
            return self.add(at, self.parameters["path"], block=self.parameters["block"])
        store = At(at.host, self.parameters["new"]["datastore_uuid"])
        request = self._request(store)
        made = self.create_volume("volume", store, request)
        try:
            self.complete_volume("volume", store, request)
            return self.add(at, made.path, block=made.block)
        except (DriverError, CancelRequested):
            if not self.in_doubt:
                volume = VolumeRef(store.ref, made.name)
                self.unmake(store, volume)
            raise

    def add(self, at: At, path: str, *, block: bool) -> str:
        asked = self.parameters
        request = DiskRequest(path, asked["format"], asked["bus"], asked["cache"], asked["read_only"], block)
        later = {"disk_add": asked["volume_name"]}
        effect = self.change("add", at, lambda s, turn: s.add_disk(at.ref, request, turn.not_after), later)
        return said(_("The guest has the disk."), effect)

    def _request(self, store: At) -> VolumeRequest:
        asked = self.parameters
        return VolumeRequest(store.ref, asked["volume_name"], asked["capacity_bytes"], asked["format"])

    def unmake(self, store: At, volume: VolumeRef) -> None:
        """What cannot be taken away stays, unused, and is named."""
        try:
            self.look(store.host, lambda session: session.delete_volume(volume, self.handle.lease_ends))
        except DriverError as error:
            words = {"name": volume.name, "reason": sentence(error)}
            self.handle.say(_("%(name)s is left over: %(reason)s") % words)


class GrowDisk(GuestAct):
    def act(self, at: At) -> str:
        asked = self.parameters

        def call(session: RemoteSession, turn: Turn) -> Effect:
            size, path = asked["capacity_bytes"], asked.get("path", "")
            return session.grow_disk(at.ref, asked["target"], size, turn.not_after, path)

        effect = self.change("grow", at, call, {"disk_grow": asked["target"]})
        return said(_("The disk has grown; now let the guest's file system use it."), effect)


class RemoveDisk(GuestAct):
    def act(self, at: At) -> str:
        asked = self.parameters

        def call(session: RemoteSession, turn: Turn) -> Effect:
            return session.remove_disk(at.ref, asked["target"], asked["path"], turn.not_after)

        effect = self.change("remove", at, call, {"disk_remove": asked["target"]})
        return said(_("The disk is removed; its volume stays."), effect)


class ChangeNic(GuestAct):
    """Adds one, too: which of the two is the kind of job."""

    def act(self, at: At) -> str:
        asked = self.parameters
        names = ("mac", "network", "bridge", "port_group", "open_vswitch", "model", "link_up")
        request = NicRequest(**{name: asked[name] for name in names})
        adds = self.handle.job.kind == NIC_ADD

        def call(session: RemoteSession, turn: Turn) -> Effect:
            change = session.add_nic if adds else session.change_nic
            return change(at.ref, request, turn.not_after)

        effect = self.change("nic", at, call, {self.handle.job.kind: asked["mac"]})
        return said(_("The NIC is added.") if adds else _("The NIC is changed."), effect)


class RemoveNic(GuestAct):
    def act(self, at: At) -> str:
        mac = self.parameters["mac"]
        later = {"nic_remove": mac}
        effect = self.change("remove", at, lambda s, turn: s.remove_nic(at.ref, mac, turn.not_after), later)
        return said(_("The NIC is removed."), effect)


ACTS: dict[str, type[GuestAct]] = {
    MEDIA: ChangeMedia,
    DISK_ADD: AddDisk,
    DISK_GROW: GrowDisk,
    DISK_REMOVE: RemoveDisk,
    NIC_ADD: ChangeNic,
    NIC_CHANGE: ChangeNic,
    NIC_REMOVE: RemoveNic,
}
