"""Making, cloning and deleting guests: only in workers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from drivers.errors import DriverError
from drivers.isolation import RemoteSession
from drivers.requests import CloneRequest, DiskRequest, GuestRequest, NicRequest, TaskProgress, VolumeRef, VolumeRequest
from drivers.types import Finding, GuestState, PowerAction, Severity
from hosts.acts import At, HostAct, Impossible, Turn, Unclear
from hosts.building import Failed
from hosts.meter import Meter
from hosts.models import Host
from hosts.words import sentence, translated
from inventory.acts.devices import reason_not_to_add, reason_not_to_read
from inventory.acts.runner import require_still
from inventory.acts.volumes import reason_to_keep
from inventory.models import Guest
from operations.handle import JobHandle
from operations.models import JobState
from storage.act_runner import Volumes
from storage.models import DatastoreMount, Volume
from storage.uploads import forget_upload

# How much of a job each of its parts is; defining and starting take a moment.
UPLOAD_PART = (0.0, 90.0)
COPY_PART = (0.0, 95.0)


def run_create(handle: JobHandle) -> None:
    """The runner of `guest_create`."""
    CreateGuest(handle).run()


def run_clone(handle: JobHandle) -> None:
    """The runner of `guest_clone`."""
    CloneGuest(handle).run()


def run_delete(handle: JobHandle) -> None:
    """The runner of `guest_delete`."""
    DeleteGuest(handle).run()


def host_of(host_id: str) -> Host:
    """Raises: Impossible."""
    host = Host.objects.select_related("source").filter(pk=UUID(host_id)).first()
    if host is None:
        raise Impossible(_("The host is not in the inventory any more."))
    return host


class Guests(Volumes):
    """What making and cloning do alike."""

    def undo_guest(self, step: str, thing: dict[str, Any]) -> None:
        at, uuid = At(host_of(thing["host"]), thing["uuid"]), thing["uuid"]

        def call(session: RemoteSession, turn: Turn) -> None:
            session.undefine_guest(uuid, turn.not_after)

        self.tell(step, at, call)

    def is_off(self, host: Host, uuid: str) -> None:
        """Raises: Impossible unless the host says that it is."""
        sight = self.look(host, lambda session: session.sight_guest(uuid))
        if sight is None:
            raise Impossible(_("%(host)s does not know the guest any more.") % {"host": host.name})
        if sight.state is not GuestState.OFF:
            raise Impossible(_("The guest is not off any more; power it off first."))


class CreateGuest(Guests):
    """CD, disk, the guest itself, and its start."""

    def build(self) -> str:
        asked, host = self.handle.parameters, host_of(self.handle.job.target_id)
        self.check(host)
        self.put_cd(host)
        disk = self.put_disk(host)
        self.define(host, disk)
        if asked["start"]:
            self.start(host)
            return _("%(name)s is created and started.") % {"name": asked["name"]}
        return _("%(name)s is created.") % {"name": asked["name"]}

    def write_end(self, to: JobState) -> None:
        del to  # what was sent is a volume as soon as the guest is there, started or not
        upload = (self.handle.parameters["cd"] or {}).get("upload")
        if upload and self.is_done("define") and "ended" not in self.handle.checkpoint:
            forget_upload(upload)

    def check(self, host: Host) -> None:
        """Ask the host what speaks against it before anything is made. Raises: Impossible."""
        if self.asked:
            return
        self.require_volumes()
        disk = self.handle.parameters["disk"] or {}
        there = self.request(self._disk_request(disk, disk["path"]) if disk.get("path") else None, self._cd_path())
        findings = tuple(map(translated, self.look(host, lambda session: session.check_guest(there))))
        errors = [one for one in findings if one.severity is Severity.ERROR]
        if errors:
            raise Impossible(_sentence_of(errors[0]))
        for one in findings:
            self.said(f"warning {one.message}", _sentence_of(one))

    def require_volumes(self) -> None:
        """Somebody may have taken what was there already. Raises: Impossible."""
        disk, cd = self.handle.parameters["disk"] or {}, self.handle.parameters["cd"] or {}
        if disk.get("volume"):
            require_still(disk["volume"], lambda one: reason_not_to_add(one, read_only=False))
        if cd.get("volume"):
            require_still(cd["volume"], reason_not_to_read)

    def _cd_path(self) -> str:
        return str((self.handle.parameters["cd"] or {}).get("path", ""))

    def put_cd(self, host: Host) -> None:
        cd = self.handle.parameters["cd"] or {}
        if "upload" in cd:
            self.write_upload(self.mount(cd["datastore"], host.pk), cd["name"], cd["upload"], UPLOAD_PART)

    def put_disk(self, host: Host) -> DiskRequest | None:
        disk = self.handle.parameters["disk"]
        if not disk:
            return None
        if disk.get("path"):
            return self._disk_request(disk, disk["path"])
        mount = self.mount(disk["datastore"], host.pk)
        size = int(disk["capacity_bytes"])
        made = self.make_volume("disk", mount, VolumeRequest(mount.uuid, disk["name"], size, format=disk["format"]))
        return self._disk_request({**disk, "block": made.block}, made.path)

    def _disk_request(self, disk: dict[str, Any], path: str) -> DiskRequest:
        block = bool(disk.get("block"))
        return DiskRequest(path, format="raw" if block else disk["format"], bus=disk["bus"], block=block)

    def request(self, disk: DiskRequest | None, iso_path: str) -> GuestRequest:
        asked = self.handle.parameters
        nic = asked["nic"]
        nics = (NicRequest(**{name: value for name, value in nic.items() if name != "switch_name"}),) if nic else ()
        return GuestRequest(
            uuid=asked["uuid"],
            name=asked["name"],
            memory_bytes=int(asked["memory_bytes"]),
            vcpus=int(asked["vcpus"]),
            title=asked["title"],
            notes=asked["notes"],
            machine=asked["machine"],
            uefi=asked["uefi"],
            disks=(disk,) if disk else (),
            iso_path=iso_path,
            nics=nics,
            os=asked["os"],
        )

    def define(self, host: Host, disk: DiskRequest | None) -> None:
        if not self.is_asked("define"):  # a file that was sent before took its time
            self.require_volumes()
        uuid = self.handle.parameters["uuid"]
        request = self.request(disk, self._cd_path() or self._uploaded_path())
        told = _("%(name)s is defined on %(host)s.") % {"name": request.name, "host": host.name}

        def call(session: RemoteSession, turn: Turn) -> str:
            return session.define_guest(request, turn.not_after)

        self.step("define", At(host, uuid), call, str, told)
        self.made("guest", request.name, uuid=uuid, host=str(host.pk))

    def _uploaded_path(self) -> str:
        made = (self.handle.checkpoint.get("done") or {}).get("volume")
        return str(made["path"]) if made else ""

    def start(self, host: Host) -> None:
        """The guest is there whether it starts or not. Raises: Failed when it does not."""
        uuid = self.handle.parameters["uuid"]

        def call(session: RemoteSession, turn: Turn) -> None:
            if turn.again:
                sight = session.sight_guest(uuid)
                if sight is not None and sight.state is GuestState.RUNNING:
                    return
            session.power(uuid, PowerAction.START, turn.not_after)

        try:
            self.order("start", At(host, uuid), call, _("It was asked to start."))
        except DriverError as error:
            reason = sentence(error)
        except Unclear as error:
            reason = str(error)
        else:
            return
        told = _("The guest is created, but it was not started: %(reason)s") % {"reason": reason}
        raise Failed(JobState.NEEDS_ATTENTION, told)


class CloneGuest(Guests):
    """Copies of the disks, then a guest like the other one."""

    def build(self) -> str:
        asked, host = self.handle.parameters, host_of(self.handle.parameters["host"])
        guest = Guest.objects.filter(pk=UUID(self.handle.job.target_id)).first()
        if guest is None or guest.host_id != host.pk:
            raise Impossible(_("The guest is not on %(host)s any more.") % {"host": host.name})
        if not self.asked:
            self.is_off(host, guest.uuid)
            self.require_free_name(host)
        paths = tuple((copy["target"], self.copy(host, number)) for number, copy in enumerate(asked["disks"]))
        request = CloneRequest(asked["uuid"], asked["name"], paths, tuple(asked["macs"]))
        told = _("%(name)s is defined on %(host)s.") % {"name": request.name, "host": host.name}

        def call(session: RemoteSession, turn: Turn) -> str:
            return session.clone_guest(guest.ref, request, turn.not_after)

        self.step("define", At(host, guest.ref), call, str, told)
        self.made("guest", request.name, uuid=request.uuid, host=str(host.pk))
        return _("%(name)s is a clone of %(guest)s.") % {"name": request.name, "guest": guest.name}

    def require_free_name(self, host: Host) -> None:
        """Ask before disks are copied, which may take hours; the host asks again at the end. Raises: Impossible."""
        asked = self.handle.parameters
        request = GuestRequest(asked["uuid"], asked["name"], memory_bytes=1 << 30, vcpus=1)  # only its name is asked
        for finding in map(translated, self.look(host, lambda session: session.check_guest(request))):
            if finding.check == "guest_name" and finding.severity is Severity.ERROR:
                raise Impossible(_sentence_of(finding))

    def copy(self, host: Host, number: int) -> str:
        """Copy one disk; returns the copy's path."""
        copies = self.handle.parameters["disks"]
        copy = copies[number]
        target = self.mount(copy["datastore"], host.pk)
        source = self.mount(copy["from_datastore"], host.pk)
        original = VolumeRef(source.uuid, copy["from"])
        size = int(copy["capacity_bytes"])
        request = VolumeRequest(target.uuid, copy["name"], size, format=copy["format"])
        step = f"copy {copy['target']}"
        claimed = self.claim(step, target, request)

        def call(session: RemoteSession, turn: Turn) -> TaskProgress:
            return session.copy_volume(original, request, turn.stamp, claimed or turn.again, turn.not_after)

        stamp = self.asked[f"{step} name"]["stamp"]
        self.follow(step, self.at(target), call, meter=Meter(_share(copies, number)), stamp=stamp)
        self.made("volume", request.name, uuid=target.uuid, host=str(host.pk))
        self.said(step, _("Disk %(disk)s is copied.") % {"disk": copy["target"]})
        made = self.look(host, lambda session: session.find_volume(VolumeRef(target.uuid, request.name)))
        if made is None:
            raise Impossible(_("The copy of disk %(disk)s is gone.") % {"disk": copy["target"]})
        return made.path

    def claim(self, step: str, target: DatastoreMount, request: VolumeRequest) -> bool:
        """Take the copy's name, so that whoever takes over deletes no other volume. False where that cannot be."""

        def call(session: RemoteSession, turn: Turn) -> bool:
            return session.claim_volume(request, turn.stamp, turn.again, turn.not_after)

        if not self.is_asked(f"{step} name"):
            self.note_volume(step, target, request.name)
        claimed = self.ask(f"{step} name", self.at(target), call, bool)
        if claimed:  # from now on there is something to undo
            self.made("volume", request.name, uuid=target.uuid, host=str(target.host_id))
        return claimed


def _share(copies: list[dict[str, Any]], number: int) -> tuple[float, float]:
    """Which percents of the job this copy is, by the size of the disks."""
    sizes = [max(1, int(copy["capacity_bytes"])) for copy in copies]
    first, last = COPY_PART
    span = (last - first) / sum(sizes)
    return first + span * sum(sizes[:number]), first + span * sum(sizes[: number + 1])


def _sentence_of(finding: Finding) -> str:
    return " ".join(part for part in (finding.message, finding.fix) if part)


class DeleteGuest(HostAct):
    """The guest first, so that it can never start without a disk; then the disks that were chosen."""

    def perform(self) -> str:
        asked, host = self.handle.parameters, host_of(self.handle.parameters["host"])
        uuid = asked["uuid"]

        def call(session: RemoteSession, turn: Turn) -> tuple[str, ...]:
            return session.undefine_guest(uuid, turn.not_after)

        if not self.asked:
            for disk in asked["disks"]:
                self.require_own(disk)
        self.ask("undefine", At(host, uuid), call, tuple[str, ...])
        kept = [kept for disk in asked["disks"] if (kept := self.delete_disk(host, disk))]
        if kept:
            raise Unclear(
                _("The guest is deleted. These disks were not deleted: %(disks)s") % {"disks": " ".join(kept)}
            )
        if asked["disks"]:
            return _("The guest and %(n)d of its disks are deleted.") % {"n": len(asked["disks"])}
        return _("The guest is deleted; its disks stay.") if self._had_disks() else _("The guest is deleted.")

    def _had_disks(self) -> bool:
        return bool((self.handle.checkpoint.get("done") or {}).get("undefine"))

    def end_refused(self, reason: str) -> None:
        left = self._left()
        if left:
            words = {"reason": reason, "disks": ", ".join(left)}
            told = _("%(reason)s The guest is deleted; look for its disks: %(disks)s.") % words
            self.end(JobState.NEEDS_ATTENTION, told)
        else:
            super().end_refused(reason)

    def _left(self) -> list[str]:
        """Disks that were to be deleted with a guest that is gone: nobody else names them."""
        asked = self.handle.parameters["disks"] if self.is_done("undefine") else []
        return [disk["name"] for disk in asked if not self.is_done(f"delete {disk['target']}")]

    def sentence_cancelled(self) -> str:
        left = self._left()
        if not left:
            return super().sentence_cancelled()
        return _(
            "Cancelled after the guest was deleted. Look for these disks, which were to be deleted: %(disks)s."
        ) % {"disks": ", ".join(left)}

    def require_own(self, disk: dict[str, Any]) -> None:
        """Before the guest goes. Raises: Impossible."""
        reason = self._reason(disk)
        if reason:
            raise Impossible(_("Nothing was deleted. %(reason)s") % {"reason": reason})

    def _reason(self, disk: dict[str, Any]) -> str:
        volume = Volume.objects.select_related("datastore").filter(pk=UUID(disk["volume"])).first()
        if volume is None:  # what has its name now is another one
            return _("%(name)s is not in its datastore any more.") % {"name": disk["name"]}
        return reason_to_keep(volume, but=Guest.objects.filter(pk=UUID(self.handle.job.target_id)).first())

    def delete_disk(self, host: Host, disk: dict[str, Any]) -> str:
        """Returns why it was not deleted; empty when it was."""
        mounts = DatastoreMount.objects.filter(host=host, datastore=disk["datastore"], missing_since=None)
        mount = mounts.first()
        step = f"delete {disk['target']}"
        reason = "" if self.is_asked(step) else self._reason(disk)
        if mount is None:
            reason = _("The host does not see this datastore any more.")
        if reason or mount is None:
            return f"{disk['name']}: {reason}"
        ref = VolumeRef(mount.uuid, disk["name"])

        def call(session: RemoteSession, turn: Turn) -> None:
            session.delete_volume(ref, turn.not_after)

        try:
            self.tell(step, At(host, ref.datastore_uuid), call)
        except DriverError as error:
            return f"{ref.name}: {sentence(error)}"
        except Unclear as error:
            return f"{ref.name}: {error}"
        return ""

    def write_end(self, to: JobState) -> None:
        """Volumes that are gone are gone from lists, too; the guest's row follows with the next read."""
        del to
        gone = [
            UUID(one["volume"]) for one in self.handle.parameters["disks"] if self.is_done(f"delete {one['target']}")
        ]
        Volume.objects.filter(pk__in=gone).delete()
