"""The kinds of object the API lists, as data: what a user may see, what may be asked, what is told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

from access.roles import Action
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
from hosts.models import Host, HostState, Source, SourceState
from inventory.models import Guest, GuestState
from metrics.models import GuestLoad, HostLoad
from migrations.models import GuestMigration
from migrations.selectors import migration_list
from networks.models import VirtualSwitch
from operations.models import Job, JobState
from operations.selectors import job_list
from storage.models import Datastore

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
    """`rows` are restricted to the user; `tell` makes a page's JSON, `tell_one` that of one object."""

    rows: Callable[[Any], QuerySet[M]]
    shape: Shape[M]
    tell: Callable[[list[M]], Iterable[out.Json]]
    tell_one: Callable[[M], out.Json]


def _each(tell: Callable[[M], out.Json]) -> Callable[[list[M]], Iterable[out.Json]]:
    return lambda rows: [tell(row) for row in rows]


def _sources(user: Any) -> QuerySet[Source]:
    return Source.objects.restrict(user, Action.VIEW).select_related("datacenter")


def _hosts(user: Any) -> QuerySet[Host]:
    return Host.objects.restrict(user, Action.VIEW).select_related("source", "datacenter")


def _guests(user: Any) -> QuerySet[Guest]:
    return Guest.objects.restrict(user, Action.VIEW).select_related("host__source")


def _datastores(user: Any) -> QuerySet[Datastore]:
    rows = Datastore.objects.restrict(user, Action.VIEW).select_related("datacenter")
    return rows.prefetch_related("mounts__host__source")


def _switches(user: Any) -> QuerySet[VirtualSwitch]:
    return VirtualSwitch.objects.restrict(user, Action.VIEW).select_related("host__source")


def _tell_hosts(hosts: list[Host]) -> Iterable[out.Json]:
    loads = HostLoad.objects.in_bulk([host.pk for host in hosts])
    return [out.host_json(host, loads.get(host.pk)) for host in hosts]


def _tell_guests(guests: list[Guest]) -> Iterable[out.Json]:
    loads = GuestLoad.objects.in_bulk([guest.pk for guest in guests])
    return [out.guest_json(guest, loads.get(guest.pk)) for guest in guests]


def _tell_guest(guest: Guest) -> out.Json:
    return out.guest_detail_json(guest, GuestLoad.objects.filter(pk=guest.pk).first())


def _tell_host(host: Host) -> out.Json:
    return out.host_json(host, HostLoad.objects.filter(pk=host.pk).first())


SOURCES = Resource(
    _sources,
    Shape(
        (NAME, values_filter("state", "state", SourceState.values), DATACENTER),
        {"name": BY_NAME},
        "name",
    ),
    _each(out.source_json),
    out.source_json,
)
HOSTS = Resource(
    _hosts,
    Shape(
        (
            NAME,
            values_filter("state", "state", HostState.values),
            flag_filter("maintenance", "maintenance"),
            SOURCE,
            DATACENTER,
        ),
        {"name": BY_NAME, "memory_bytes": ("memory_bytes",)},
        "name",
    ),
    _tell_hosts,
    _tell_host,
)
GUESTS = Resource(
    _guests,
    Shape(
        (
            NAME,
            values_filter("state", "state", GuestState.values),
            HOST,
            object_filter("source", id_lookup="host__source", name_lookup="host__source__name"),
            words_filter("q", "name", "title", "addresses", "uuid"),
            conditions_filter("missing", {"true": Q(missing_since__isnull=False), "false": Q(missing_since=None)}),
        ),
        {"name": BY_NAME, "vcpus": ("vcpus",), "memory_bytes": ("memory_bytes",)},
        "name",
    ),
    _tell_guests,
    _tell_guest,
)
DATASTORES = Resource(
    _datastores,
    Shape(
        (NAME, conditions_filter("state", ACTIVE), flag_filter("shared", "shared"), DATACENTER),
        {"name": BY_NAME},
        "name",
    ),
    _each(out.datastore_json),
    out.datastore_json,
)
SWITCHES = Resource(
    _switches,
    Shape((NAME, conditions_filter("state", ACTIVE), HOST), {"name": BY_NAME}, "name"),
    _each(out.switch_json),
    out.switch_json,
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
    out.task_detail_json,
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
    out.migration_detail_json,
)
