"""Guests that tests make for themselves, of a volume of their own."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterator
from contextlib import contextmanager

from drivers.isolation import RemoteSession, SessionPool
from drivers.requests import DiskRequest, GuestRequest, VolumeRef, VolumeRequest
from drivers.types import DatastoreFact, GuestState, PowerAction
from tests.contract.subjects import DEADLINE_S, Subject

MIB = 1 << 20


def new_name(end: str = ".qcow2") -> str:
    return f"t-{uuids.uuid4().hex[:12]}{end}"


def a_store(session: RemoteSession) -> DatastoreFact:
    """One where files can be made."""
    return next(store for store in session.snapshot().datastores if store.active and store.kind in {"dir", "fs"})


@contextmanager
def free_guest(subject: Subject, pool: SessionPool) -> Iterator[str]:
    """A running guest that may be changed in every way; real ones get an image that can hold snapshots."""
    if subject.name != "libvirt":
        yield subject.power_guest
        return
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        volume = VolumeRef(a_store(session).uuid, new_name())
        path = session.create_volume(VolumeRequest(volume.datastore_uuid, volume.name, 8 * MIB)).path
        wish = GuestRequest(str(uuids.uuid4()), new_name(""), 64 * MIB, 1, disks=(DiskRequest(path),))
        session.define_guest(wish)
        session.power(wish.uuid, PowerAction.START)
        yield wish.uuid
        sighting = session.sight_guest(wish.uuid)
        if sighting is not None and sighting.state is not GuestState.OFF:
            session.power(wish.uuid, PowerAction.OFF)
        session.undefine_guest(wish.uuid)
        session.delete_volume(volume)
