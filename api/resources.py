"""The kinds of object the API lists, as data: what a user may see, what may be asked, what is told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

from api import serializers as out
from api.lists import (
    NAME,
    Shape,
    conditions_filter,
    flag_filter,
    object_filter,
    values_filter,
    words_filter,
)
from core.models import by_name
from history.models import GuestMove, How
from history.selectors import move_list
from hosts.models import Cluster, Datacenter, Host, HostState, Source, SourceState
from hosts.selectors import (
    cluster_list,
    datacenter_list,
    host_list,
    hosts_seen_by,
    source_list,
    sources_standing_by,
)
from hosts.selectors import details_of as host_details_of
from inventory.folders import folder_list
from inventory.models import Folder, Guest, GuestState
from inventory.selectors import details_of, disks_of, guest_list, nics_of, twins_of
from inventory.usage import usage_of
from labels.filters import tag_filter
from labels.models import Color, Tag, Tagged
from labels.selectors import tag_list, tags_of
from metrics.models import GuestLoad, HostLoad
from metrics.selectors import latest_loads
from migrations.models import GuestMigration
from migrations.selectors import migration_list
from networks.models import VirtualSwitch
from networks.selectors import port_groups_of, switch_list
from operations.models import Job, JobState
from operations.selectors import job_list
from storage.models import Datastore, Volume
from storage.selectors import datastore_list

M = TypeVar("M", bound=Model)

BY_NAME = (by_name(),)
ACTIVE = {
    "active": Q(active=True, missing_since=None),
    "inactive": Q(active=False, missing_since=None),
    "missing": Q(missing_since__isnull=False),
}
SOURCE = object_filter("source", id_lookup="source", name_lookup="source__name")
DATACENTER = object_filter("datacenter", id_lookup="datacenter", name_lookup="datacenter__name")
HOST = object_filter("host", id_lookup="host", name_lookup="host__name")


@dataclass(frozen=True, slots=True)
class Resource(Generic[M]):
    """`rows` are restricted to the user; `tell` makes a page's JSON, `tell_one` that of one object for a user.

    `tagged`: the kind whose objects have tags, which are told with each and which they are found by.
    """

    rows: Callable[[Any], QuerySet[M]]
    shape: Shape[M]
    tell: Callable[[list[M]], Iterable[out.Json]]
    tell_one: Callable[[M, Any], out.Json]
    tagged: Tagged | None = None

    def shape_for(self, user: Any) -> Shape[M]:
        """What this user may ask of the list. A tag is given by its id or its name; without a value: none at all."""
        if self.tagged is None:
            return self.shape
        return replace(self.shape, filters=(*self.shape.filters, tag_filter(self.tagged, user=user, or_id=True)))

    def page_json(self, rows: list[M], user: Any) -> list[out.Json]:
        return self._with_tags(rows, list(self.tell(rows)), user)

    def one_json(self, row: M, user: Any) -> out.Json:
        (told,) = self._with_tags([row], [self.tell_one(row, user)], user)
        return told

    def _with_tags(self, rows: list[M], told: list[out.Json], user: Any) -> list[out.Json]:
        if self.tagged is None:
            return told
        tags = tags_of(self.tagged, [row.pk for row in rows], user=user)
        return [{**one, "tags": [out.link(tag) for tag in tags[row.pk]]} for row, one in zip(rows, told, strict=True)]


def _each(tell: Callable[[M], out.Json]) -> Callable[[list[M]], Iterable[out.Json]]:
    return lambda rows: [tell(row) for row in rows]


def _one(tell: Callable[[M], out.Json]) -> Callable[[M, Any], out.Json]:
    """For a kind whose JSON is the same for whoever sees the object."""
    return lambda row, _user: tell(row)


def _tell_hosts(hosts: list[Host]) -> Iterable[out.Json]:
    loads = latest_loads(HostLoad).in_bulk([host.pk for host in hosts])
    return [out.host_json(host, loads.get(host.pk)) for host in hosts]


def _tell_guests(guests: list[Guest]) -> Iterable[out.Json]:
    loads = latest_loads(GuestLoad).in_bulk([guest.pk for guest in guests])
    return [out.guest_json(guest, loads.get(guest.pk)) for guest in guests]


def _tell_guest(guest: Guest, user: Any) -> out.Json:
    load = latest_loads(GuestLoad).filter(pk=guest.pk).first()
    devices = disks_of(guest, user=user), nics_of(guest, user=user)
    return out.guest_detail_json(guest, load, *devices, details_of(guest, user=user), twins_of(guest, user=user))


def _tell_host(host: Host, user: Any) -> out.Json:
    load = latest_loads(HostLoad).filter(pk=host.pk).first()
    standing_by = sources_standing_by(host, user=user)
    return out.host_detail_json(host, load, host_details_of(host, user=user), standing_by)


def _tell_source(source: Source, user: Any) -> out.Json:
    return out.source_detail_json(source, hosts_seen_by(source, user=user))


def _tell_switch(switch: VirtualSwitch, user: Any) -> out.Json:
    return out.switch_detail_json(switch, port_groups_of(switch, user=user))


def tell_volumes(volumes: list[Volume], datastore: Datastore, user: Any) -> Iterable[out.Json]:
    usage = usage_of(volumes, datastore, user=user)
    return [out.volume_json(volume, usage[volume.pk]) for volume in volumes]


DATACENTERS: Resource[Datacenter] = Resource(
    lambda user: datacenter_list(user=user),
    Shape((NAME,), {"name": BY_NAME}, "name"),
    _each(out.datacenter_json),
    _one(out.datacenter_json),
)
CLUSTERS: Resource[Cluster] = Resource(
    lambda user: cluster_list(user=user),
    Shape((NAME, DATACENTER), {"name": BY_NAME}, "name"),
    _each(out.cluster_json),
    _one(out.cluster_json),
)
FOLDERS: Resource[Folder] = Resource(
    lambda user: folder_list(user=user),
    Shape(
        (NAME, DATACENTER, object_filter("parent", id_lookup="parent", name_lookup="parent__name")),
        {"name": BY_NAME},
        "name",
    ),
    _each(out.folder_json),
    _one(out.folder_json),
)
TAGS: Resource[Tag] = Resource(
    lambda user: tag_list(user=user),
    Shape(
        (NAME, values_filter("color", "color", Color.values), words_filter("q", "name")),
        {"name": ("name_key",), "created_at": ("created",)},
        "name",
    ),
    _each(out.tag_json),
    _one(out.tag_json),
)
SOURCES: Resource[Source] = Resource(
    lambda user: source_list(user=user),
    Shape(
        (NAME, values_filter("state", "state", SourceState.values), DATACENTER),
        {"name": BY_NAME},
        "name",
    ),
    _each(out.source_json),
    _tell_source,
)
HOSTS: Resource[Host] = Resource(
    lambda user: host_list(user=user),
    Shape(
        (
            NAME,
            values_filter("state", "state", HostState.values),
            flag_filter("maintenance", "maintenance"),
            SOURCE,
            DATACENTER,
            object_filter("cluster", id_lookup="cluster", name_lookup="cluster__name"),
        ),
        {"name": BY_NAME, "memory_bytes": ("memory_bytes",)},
        "name",
    ),
    _tell_hosts,
    _tell_host,
    Tagged.HOST,
)
GUESTS: Resource[Guest] = Resource(
    lambda user: guest_list(user=user),
    Shape(
        (
            NAME,
            values_filter("state", "state", GuestState.values),
            HOST,
            object_filter("folder", id_lookup="folder_entry__folder", name_lookup="folder_entry__folder__name"),
            object_filter("source", id_lookup="host__source", name_lookup="host__source__name"),
            words_filter("q", "name", "title", "addresses", "uuid"),
            conditions_filter("missing", {"true": Q(missing_since__isnull=False), "false": Q(missing_since=None)}),
        ),
        {"name": BY_NAME, "vcpus": ("vcpus",), "memory_bytes": ("memory_bytes",)},
        "name",
    ),
    _tell_guests,
    _tell_guest,
    Tagged.GUEST,
)
DATASTORES: Resource[Datastore] = Resource(
    lambda user: datastore_list(user=user),
    Shape(
        (
            NAME,
            conditions_filter("state", ACTIVE),
            flag_filter("shared", "shared"),
            DATACENTER,
        ),
        {"name": BY_NAME},
        "name",
    ),
    _each(out.datastore_json),
    _one(out.datastore_detail_json),
    Tagged.DATASTORE,
)
VOLUMES: Shape[Volume] = Shape(
    (
        NAME,
        words_filter("kind", "kind"),
        words_filter("format", "format"),
        words_filter("q", "name", "path"),
    ),
    {"name": BY_NAME, "capacity_bytes": ("capacity_bytes",), "allocated_bytes": ("allocated_bytes",)},
    "name",
)
SWITCHES: Resource[VirtualSwitch] = Resource(
    lambda user: switch_list(user=user),
    Shape(
        (NAME, conditions_filter("state", ACTIVE), HOST),
        {"name": BY_NAME},
        "name",
    ),
    _each(out.switch_json),
    _tell_switch,
    Tagged.SWITCH,
)
TASKS: Resource[Job] = Resource(
    lambda user: job_list(user=user),
    Shape(
        (
            values_filter("state", "state", JobState.values),
            words_filter("kind", "kind"),
            words_filter("target", "target_id"),
        ),
        {"submitted_at": ("submitted_at",)},
        "-submitted_at",
    ),
    _each(out.task_json),
    _one(out.task_detail_json),
)
MOVES: Resource[GuestMove] = Resource(
    lambda user: move_list(user=user),
    Shape(
        (
            object_filter("guest", id_lookup="guest_id", name_lookup="guest_name"),
            values_filter("how", "how", How.values),
        ),
        {"at": ("at",)},
        "-at",
    ),
    _each(out.move_json),
    _one(out.move_json),
)
MIGRATIONS: Resource[GuestMigration] = Resource(
    lambda user: migration_list(user=user),
    Shape(
        (
            values_filter("state", "job__state", JobState.values),
            object_filter("guest", id_lookup="guest", name_lookup="guest_name"),
        ),
        {"submitted_at": ("job__submitted_at",)},
        "-submitted_at",
    ),
    _each(out.migration_json),
    _one(out.migration_detail_json),
)
