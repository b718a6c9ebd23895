"""Making volumes, writing what people send into them, and switching datastores: only in workers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.errors import Refused
from drivers.errors import Busy, DriverError, NotFound, Unreachable
from drivers.isolation import RemoteSession
from drivers.ops import LARGEST_PIECE
from drivers.requests import VolumeRef, VolumeRequest, VolumeResult
from hosts.acts import ACT_SECONDS, RETRY_SECONDS, SILENCE_SECONDS, At, HostAct, Impossible, Patience, Turn
from hosts.building import Build
from hosts.meter import Meter
from hosts.models import Host
from operations.errors import CancelRequested
from operations.handle import JobHandle
from operations.models import JobState
from storage import staging
from storage.acts import MountAct
from storage.leftovers import NamesVolumes, WantedVolume
from storage.models import DatastoreMount, Upload
from storage.uploads import forget_upload

# What is known to be written is written down after each part: whoever takes over goes on there.
PART_BYTES = 256 << 20


def run_create(handle: JobHandle) -> None:
    """The runner of `volume_create`."""
    CreateVolume(handle).run()


def run_upload(handle: JobHandle) -> None:
    """The runner of `volume_upload`."""
    UploadVolume(handle).run()


def run_switch(handle: JobHandle) -> None:
    """The runner of `datastore_switch`."""
    SwitchDatastore(handle).run()


class Volumes(NamesVolumes, Build):
    """What every job that makes volumes does alike."""

    def wanted_volumes(self) -> list[WantedVolume]:
        noted = self.handle.checkpoint.get("volumes") or {}
        return [
            WantedVolume(one["name"], one["datastore"], (step, f"{step} size", f"{step} name"))
            for step, one in noted.items()
        ]

    def may_be_left(self, volume: WantedVolume) -> bool:
        names = {thing["name"] for thing in self.things if thing["kind"] == "volume"}
        kept = volume.name in names and not self.is_done(f"undo volume {volume.name}")
        return super().may_be_left(volume) or ("ended" in self.handle.checkpoint and kept)

    def note_volume(self, step: str, mount: DatastoreMount, name: str) -> None:
        """Before it is asked for, so that it can be named however this ends. Raises: Impossible."""
        self.require_new(mount, name)
        noted = self.handle.checkpoint.get("volumes") or {}
        self.handle.note(volumes={**noted, step: {"name": name, "datastore": mount.datastore.name}})

    def mount(self, store_id: Any, host_id: Any) -> DatastoreMount:
        """Raises: Impossible when the host does not see the datastore any more."""
        rows = DatastoreMount.objects.select_related("host__source", "datastore")
        found = rows.filter(datastore=store_id, host=host_id, missing_since=None).first()
        if found is None:
            raise Impossible(_("The host does not see this datastore any more."))
        return found

    def at(self, mount: DatastoreMount) -> At:
        return At(mount.host, mount.uuid)

    def make_volume(self, step: str, mount: DatastoreMount, request: VolumeRequest) -> VolumeResult:
        if not self.is_asked(step):
            self.note_volume(step, mount, request.name)
        words = {"name": request.name, "datastore": mount.datastore.name}
        told = _("Volume %(name)s is created in %(datastore)s.") % words
        self.create_volume(step, self.at(mount), request)
        self.made("volume", request.name, uuid=mount.uuid, host=str(mount.host_id))
        found = self.complete_volume(step, self.at(mount), request)
        self.said(f"{step} size", told)
        return found

    def require_new(self, mount: DatastoreMount, name: str) -> None:
        """Before it is asked for. Raises: Impossible."""
        if self.look(mount.host, lambda session: session.find_volume(VolumeRef(mount.uuid, name))) is not None:
            words = {"datastore": mount.datastore.name}
            raise Impossible(_("%(datastore)s has something of this name; choose another.") % words)

    def undo_volume(self, step: str, thing: dict[str, Any]) -> None:
        host = Host.objects.select_related("source").get(pk=thing["host"])
        ref = VolumeRef(thing["uuid"], thing["name"])
        self.tell(step, At(host, ref.datastore_uuid), lambda session, turn: session.delete_volume(ref, turn.not_after))

    def refresh(self, mount: DatastoreMount) -> None:
        """So that the host sees what its volumes are now."""
        self.look(mount.host, lambda session: session.refresh_datastore(mount.uuid), seconds=ACT_SECONDS)

    def write_upload(self, mount: DatastoreMount, name: str, upload_id: str, part: tuple[float, float]) -> None:
        """A new volume with what was sent. Raises: as `perform`."""
        if self.is_done("content"):
            return
        upload = find_upload(upload_id)
        try:
            staging.require_here(upload.pk, upload.size_bytes)
            # Raw and as large as the file; what the file is, the host sees when it reads its volumes again.
            self.make_volume("volume", mount, VolumeRequest(mount.uuid, name, upload.size_bytes, format="raw"))
            with staging.reading(upload.pk, upload.size_bytes) as file:
                Writing(self, mount, name, upload, file, Meter(part)).run()
        except Refused as error:
            raise Impossible(error.message) from None
        self.refresh(mount)
        self.note_done("content")
        self.said("content", _("The content of %(name)s is written.") % {"name": name})


class Writing:
    """One upload's way into its volume, part by part."""

    def __init__(self, act: Volumes, mount: DatastoreMount, name: str, upload: Upload, file: int, meter: Meter) -> None:
        self.act, self.mount, self.upload, self.file, self.meter = act, mount, upload, file, meter
        self.ref = VolumeRef(mount.uuid, name)
        self.digest = hashlib.sha256()
        self.size = upload.size_bytes
        self.stamp = f"{act.handle.job.pk}-{act.handle.token}"

    def run(self) -> None:
        """Raises: Impossible when it is not what the sender said; Unclear, DriverError, CancelRequested."""
        written = int(self.act.handle.checkpoint.get("written") or 0)
        for piece in self._pieces(0, written):  # what an earlier worker wrote counts for the sum
            self.digest.update(piece)
            self.act.handle.require_time()
        while written < self.size:
            end = min(self.size, written + PART_BYTES)
            self._insist(written, end)
            self.act.handle.note(written=end)
            written = end
        self._compare()

    def _insist(self, start: int, end: int) -> None:
        """Write a part, from its start again when the host was lost in the middle of it."""
        patience = Patience()
        while True:
            self.act.require_wanted()
            digest = self.digest.copy()
            try:
                with self.act.sessions(self.mount.host.source, deadline_s=ACT_SECONDS) as session:
                    self._write(session, start, end, digest)
            except (Unreachable, NotFound, Busy):
                if patience.is_spent("silent", SILENCE_SECONDS):
                    raise
                self.act.wait(RETRY_SECONDS)
            else:
                self.digest = digest
                return

    def _write(self, session: RemoteSession, start: int, end: int, digest: Any) -> None:
        session.start_upload(self.ref, end, self.stamp, start)
        try:
            at = start
            for piece in self._pieces(start, end):
                self.act.handle.require_time()
                session.send_upload(self.stamp, at, piece, self.act.handle.lease_ends)
                digest.update(piece)
                at += len(piece)
                if self.act.handle.progress(self.meter.read(self.size, at)):
                    self.act.require_wanted()
            session.end_upload(self.stamp)
        except (DriverError, CancelRequested):
            with suppress(DriverError):  # what was wrong before is what is told
                session.abort_upload(self.stamp)
            raise

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            piece = os.pread(self.file, min(LARGEST_PIECE, end - start), start)
            if not piece:
                raise Impossible(_("The uploaded file was cut while it was read."))
            yield piece
            start += len(piece)

    def _compare(self) -> None:
        found = self.digest.hexdigest()
        if self.upload.sha256 and self.upload.sha256 != found:
            raise Impossible(_("What arrived is not what was sent: its SHA-256 differs. Send it again."))
        self.act.handle.note(sha256=found)


class CreateVolume(Volumes):
    """One volume."""

    def build(self) -> str:
        asked = self.handle.parameters
        mount = self.mount(self.handle.job.target_id, asked["host"])
        request = VolumeRequest(
            mount.uuid,
            asked["name"],
            int(asked["capacity_bytes"]),
            format=asked["format"],
            preallocate=bool(asked["preallocate"]),
        )
        made = self.make_volume("volume", mount, request)
        return _("The volume is created: %(path)s.") % {"path": made.path}


class UploadVolume(Volumes):
    """A volume with what somebody sent."""

    def build(self) -> str:
        asked = self.handle.parameters
        mount = self.mount(self.handle.job.target_id, asked["host"])
        self.write_upload(mount, asked["name"], asked["upload"], (0.0, 100.0))
        words = {"name": asked["name"], "sha256": self.handle.checkpoint.get("sha256", "")}
        return _("%(name)s is in the datastore. SHA-256: %(sha256)s.") % words

    def write_end(self, to: JobState) -> None:
        if to is JobState.SUCCEEDED:
            forget_upload(self.handle.parameters["upload"])


def find_upload(upload_id: str) -> Upload:
    """Raises: Impossible."""
    upload = Upload.objects.filter(pk=UUID(upload_id)).first()
    if upload is None:
        raise Impossible(_("The uploaded file is not here any more; send it again."))
    return upload


class SwitchDatastore(HostAct):
    """Start, stop, refresh and autostart of a datastore on one host."""

    def perform(self) -> str:
        action = MountAct(self.handle.parameters["action"])
        mount = DatastoreMount.objects.select_related("host__source").filter(pk=self.handle.parameters["mount"]).first()
        if mount is None:
            raise Impossible(_("The host does not see this datastore any more."))
        uuid = mount.uuid

        def call(session: RemoteSession, turn: Turn) -> None:
            if action is MountAct.START:
                session.start_datastore(uuid, turn.not_after)
            elif action is MountAct.STOP:
                session.stop_datastore(uuid, turn.not_after)
            elif action is MountAct.REFRESH:
                session.refresh_datastore(uuid)
            else:
                session.autostart_datastore(uuid, action is MountAct.AUTOSTART_ON, turn.not_after)

        self.tell(action.value, At(mount.host, uuid), call)
        return str(SWITCHED[action]) % {"host": mount.host.name}


SWITCHED: dict[MountAct, Any] = {
    MountAct.START: gettext_lazy("It is started on %(host)s."),
    MountAct.STOP: gettext_lazy("It is stopped on %(host)s."),
    MountAct.REFRESH: gettext_lazy("%(host)s has read its volumes again."),
    MountAct.AUTOSTART_ON: gettext_lazy("%(host)s starts it by itself from now on."),
    MountAct.AUTOSTART_OFF: gettext_lazy("%(host)s does not start it by itself any more."),
}
