"""An installation with some of everything, each text of it as given, and the address of every page that shows it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from django.urls import reverse
from django.utils import timezone

from access.models import ApiToken
from access.roles import Role
from audit.models import AuditRow
from console.context import TREES
from drivers.fake.hardware import make_hardware
from drivers.types import HostHardware, PowerAction
from hosts.models import Datacenter, HostSighting, Outcome, Source, SourceBatch, SourceDraft
from inventory.models import Folder, FolderEntry, Guest, Placement
from inventory.reindex import index_missing
from labels.models import Tagged
from networks.acts import NetworkAct
from networks.models import VirtualSwitch
from operations.models import Job, JobState
from storage.acts import MountAct
from storage.models import Datastore, DatastoreMount
from tests.factories import (
    GIB,
    add_details,
    add_disk,
    add_host_details,
    add_move,
    add_nic,
    add_port_group,
    add_volume,
    make_cluster,
    make_datastore,
    make_folder,
    make_guest,
    make_host,
    make_job,
    make_source,
    make_switch,
    make_tag,
    make_user,
    set_host_load,
    set_load,
)
from tests.web.moves import add_steps, make_migration
from tests.web.routes import ROUTES, Need

# What answers, but with no page.
NO_PAGES = {"healthz", "events", "guest_load_export", "host_load_export", "datastore_load_export"}
# Tabs of each kind of object; test_budgets.py compares them with those the pages offer.
TABS = {
    "datacenter_tab": ("clusters", "hosts", "guests", "datastores", "switches", "sources"),
    "cluster_tab": ("hosts", "guests", "datastores", "switches"),
    "host_tab": ("monitor", "hardware", "guests", "datastores", "switches", "tasks"),
    "guest_tab": ("monitor", "hardware", "snapshots", "migrations", "moves", "tasks"),
    "datastore_tab": ("monitor", "volumes", "guests", "hosts"),
    "switch_tab": ("guests",),
    "tag_tab": ("hosts", "datastores", "switches"),
}
VARIANTS: dict[str, list[dict[str, str]]] = {
    "tree": [{"name": item.key} for item in TREES],
    "guest_power": [{"action": action.value} for action in PowerAction],
    "datastore_switch": [{"action": action.value} for action in MountAct],
    **{f"tag_{act}": [{"kind": kind.value} for kind in Tagged] for act in ("assign", "release")},
    "switch_act": [{"action": action.value} for action in NetworkAct],
    **{name: [{"tab": tab} for tab in tabs] for name, tabs in TABS.items()},
}


def hardware_named(text: str) -> HostHardware:
    """What a host is built from, every word of it the text."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [named(item) for item in value]
        return text if isinstance(value, str) else value

    plausible = make_hardware(random.Random(7), memory_bytes=GIB, cpu_threads=8)
    return msgspec.convert(named(msgspec.to_builtins(plausible)), HostHardware)


@dataclass(frozen=True)
class Place:
    """One page: its name, with the tab or the like; its address; and what one must be allowed to do to see it."""

    name: str
    path: str
    need: Need


class Everything:
    """One object of each kind that is looked at, and rows around it that its pages list."""

    def __init__(self, text: str = "plain ", rows: int = 3) -> None:
        self.me = make_user(Role.ADMIN, "me")
        self.datacenter = Datacenter.objects.create(name=text[:100])
        self.cluster = make_cluster(text[:100], self.datacenter)
        self.source = self._source(text)
        self.host = self._host(text, self.source)
        self.other_host = self._host(f"{text[:80]}other", self.source)
        self.datastore = make_datastore(
            text, (self.host, self.other_host), path=text, source=text, technology="nfs", storage_class="nas"
        )
        self.switch = make_switch(text, self.host, bridge=text[:64], uplinks=[text])
        self._add_parts(text)
        self.guest = self._guest(text)
        add_details(self.guest, text)
        self.folder = self._folder(text, None)
        self.tag = make_tag(text[:64], self.host, self.guest, self.datastore, self.switch)
        self.draft = SourceDraft.objects.create(
            name=text[:100],
            kind="libvirt",
            transport="ssh",
            address=text[:255],
            username=text[:100],
            datacenter_name=text[:100],
            created_by=text[:150],
        )
        self.batch = self._batch(text)
        self.task = make_job(
            self.guest, message=text, submitted_by_name=text[:150], parameters={"action": "start", "note": text}
        )
        self.moving = self._guest(f"{text[:80]}moving")
        self.migration = self._migration(self.moving, text, "copying")
        self.user = make_user(Role.VIEWER, f"{text[:100]}user")
        self._count = 0
        self.add(rows, text)

    def _add_parts(self, text: str) -> None:
        """A volume and a port group, every text of theirs the text."""
        Datastore.objects.filter(pk=self.datastore.pk).update(
            kind=text[:32], details={"format": text, "servers": [text], "devices": [text]}
        )
        self.datastore.mounts.update(details={"autostart": True, "adapter": text, "initiator": text})
        self.volume = add_volume(self.datastore, text, path=text, kind=text[:16], format=text[:32], backing=text)
        self.mount = self.datastore.mounts.get(host=self.host)
        add_port_group(self.switch, text, virtual_port=text[:32], default=True)
        VirtualSwitch.objects.filter(pk=self.switch.pk).update(
            mode=text[:16], virtual_port=text[:32], details={"domain": text, "addresses": [text], "dhcp": [text]}
        )

    def add(self, count: int, text: str = "more ") -> None:
        """More rows of every kind, most of them related to the objects that are looked at."""
        for _number in range(count):
            self._count += 1
            self._add(f"{text[:80]}{self._count}", text)
        index_missing()

    def _add(self, name: str, text: str) -> None:
        Datacenter.objects.create(name=name)
        make_cluster(name[:100], self.datacenter)
        self._folder(f"{name}top", None)
        self._folder(name, self.folder)
        FolderEntry.objects.create(guest=self._guest(f"{name}inside too"), folder=self.folder)
        source, host = self._source(name), self._host(name, self.source)
        make_tag(name[:64], host, self.host, self.guest, self.datastore, self.switch)
        self._host(f"{name}alone", self.source, cluster=None)
        switch = make_switch(name, self.host, bridge=text[:64], uplinks=[text])
        store = make_datastore(name, (self.host,), path=text, source=text)
        make_tag(self.tag.name, host, switch, store, self._guest(f"{name}tagged"))
        add_volume(self.datastore, name, path=text, backing=text)
        add_volume(self.datastore, f"{name[:240]} free")
        add_port_group(self.switch, name)
        now = timezone.now()
        DatastoreMount.objects.create(
            datastore=self.datastore, host=host, ref=name, name=name, path=text, active=True, evidence_at=now
        )
        Placement.objects.create(guest=self.guest, host=host, ref="same", state="running", evidence_at=now)
        self._guest(name)
        self._know_twice(name, source)
        add_move(self.guest, self.other_host, text[:255])
        add_disk(self.guest, self.datastore, source=text)
        add_nic(self.guest, self.switch, network=text[:255])
        make_job(self.guest, message=text, submitted_by_name=text[:150])
        self._migration(self.guest, text, "succeeded")
        for tested in (self.source, self.draft, source):
            self._test(tested, text)
        for job in (self.task, self.migration.job):
            add_steps(job, [JobState.RUNNING])
        for outcome in Outcome:
            self._batched(self.batch, text, outcome, 10 + self._count)
        user = make_user(Role.VIEWER, f"{name}user")
        for owner in (self.me, self.user, user):
            ApiToken.objects.create(user=owner, name=text[:100], digest=f"{owner.pk} {self._count}", prefix="gst_x")
        AuditRow.objects.create(
            at=now, actor_name=text[:150], action=text[:64], target_kind=text[:32], target_name=text, detail={"x": text}
        )

    def _know_twice(self, name: str, source: Source) -> None:
        """A source that sees our host, one whose host ours sees, and a guest with our guest's UUID."""
        HostSighting.objects.create(host=self.host, source=source, ref=name)
        HostSighting.objects.create(host=self._host(f"{name}seen", source), source=self.source, ref=name)
        twin = self._guest(f"{name}twin")
        Guest.objects.filter(pk=twin.pk).update(uuid=self.guest.uuid, twin=self._count, host=self.other_host)

    def _source(self, text: str) -> Source:
        return make_source(
            text[:100],
            transport="ssh",
            address=text[:255],
            username=text[:100],
            state_message=text,
            findings=[{"about": text, "message": text}],
            created_by=text[:150],
            datacenter=self.datacenter,
        )

    def _host(self, text: str, source: Source, **values: Any) -> Any:
        words = {"vendor": text[:255], "model": text[:255], "cpu_model": text[:255], "hypervisor": text[:64]}
        host = make_host(text, source, cpu_threads=8, **{"cluster": self.cluster, **words, **values})
        set_host_load(host)
        add_host_details(host, hardware_named(text))
        return host

    def _guest(self, text: str) -> Guest:
        guest = make_guest(
            text,
            self.host,
            notes=text,
            title=text[:255],
            addresses=text,
            machine=text[:64],
            cpu_mode=text[:64],
            conflict=text,
        )
        add_disk(guest, self.datastore, source=text)
        add_nic(guest, self.switch, network=text[:255], addresses=[text])
        set_load(guest)
        return guest

    def _migration(self, guest: Guest, text: str, state: str) -> Any:
        finding = {"check": "memory", "severity": "warning", "message": text, "fix": text}
        job = {"message": text, "submitted_by_name": text[:150]}
        return make_migration(guest, self.other_host, state, findings=[finding], job=job)

    def _folder(self, name: str, parent: Folder | None) -> Folder:
        """A folder with a guest."""
        folder = make_folder(name[:100], parent, self.datacenter)
        FolderEntry.objects.create(guest=self._guest(f"{name[:95]}inside"), folder=folder)
        return folder

    def _batch(self, text: str) -> SourceBatch:
        """An import with a draft of each outcome and a refused line."""
        refused = [{"line": 1, "text": text, "message": text}]
        batch = SourceBatch.objects.create(kind="import", title=text[:200], refused=refused, created_by=text[:150])
        for position, outcome in enumerate(Outcome):
            self._batched(batch, text, outcome, position)
        Job.objects.create(
            kind="source_batch",
            state=JobState.SUCCEEDED,
            target_kind="source_batch",
            target_id=str(batch.pk),
            target_name=text[:255],
            message=text,
            submitted_by_name=text[:150],
            submitted_at=timezone.now(),
        )
        return batch

    def _batched(self, batch: SourceBatch, text: str, outcome: str, position: int) -> None:
        SourceDraft.objects.create(
            batch=batch,
            position=position,
            outcome=outcome,
            message=text,
            name=text[:100],
            kind="libvirt",
            transport="ssh",
            address=text[:255],
            username=text[:100],
            datacenter_name=text[:100],
            presented={"key": text, "fingerprint": text},
            source=self.source if outcome == Outcome.DONE else None,
        )

    def _test(self, tested: Source | SourceDraft, text: str) -> None:
        """The end of a source's test that asks about a host key."""
        kind = "source" if isinstance(tested, Source) else "source_draft"
        Job.objects.create(
            kind="source_test",
            state=JobState.SUCCEEDED,
            target_kind=kind,
            target_id=str(tested.pk),
            target_name=tested.name,
            message=text,
            submitted_by_name=text[:150],
            submitted_at=timezone.now(),
            progress={
                "ready": False,
                "steps": [{"name": "host_key", "label": text, "state": "question", "message": text}],
                "host_key": {"key": text, "fingerprint": text, "accepted_fingerprint": text},
            },
        )

    def places(self) -> list[Place]:
        """Every page: each route of routes.py that is read, with each of its tabs, trees and questions."""
        return [
            self._place(route.name, route.kwargs, words, route.get)
            for route in ROUTES
            if route.get is not None and not route.is_api and route.name not in NO_PAGES
            for words in VARIANTS.get(route.name, [{}])
        ]

    def _place(self, name: str, kwargs: dict[str, str], words: dict[str, str], need: Need) -> Place:
        path = reverse(name, kwargs={key: words.get(key) or self._key(kind) for key, kind in kwargs.items()})
        if name == "tree":
            path += f"?open=first&open=cluster:{self.cluster.pk}&open=folder:{self.folder.pk}&open=host:{self.host.pk}"
        if name.startswith("search"):
            path += f"?{urlencode({'q': self.guest.name[:20]})}"
        return Place(" ".join([name, *words.values()]), path, need)

    def _key(self, kind: str) -> UUID:
        row: Any = getattr(self, kind)
        return row.pk  # type: ignore[no-any-return]
