"""The overview: how much there is, what is wrong, what was done last."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, F, FloatField, OuterRef, Prefetch, Q, Subquery, Sum
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.ages import host_is_seen, source_silence
from console.areas import gauge
from console.tables.cells import page_url
from console.tables.datastores import used_bytes
from console.tables.hosts import cpu_percent, host_rows, load_hosts, memory_used
from core.models import by_name
from core.units import format_bytes, share
from hosts.models import Host, HostState, Source, SourceState
from inventory.models import Guest, GuestState
from metrics.models import HostLoad
from metrics.selectors import latest_loads
from networks.models import VirtualSwitch
from storage.models import Datastore, DatastoreMount
from storage.selectors import only_host

BUSIEST = 6
FULLEST = 6
PROBLEMS = 20


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Counts, capacity, what needs a person, the busiest hosts and the fullest datastores."""
    require(request.user, Action.VIEW)
    user = request.user
    hosts, guests = _host_counts(user), _guest_counts(user)
    stores = Datastore.objects.restrict(user, Action.VIEW).filter(missing_since=None)
    sources = list(Source.objects.restrict(user, Action.VIEW).order_by(by_name(), "id"))
    space = stores.aggregate(number=Count("pk"), capacity=Sum("capacity_bytes"), free=Sum("available_bytes"))
    context = {
        "hosts": hosts,
        "guests": guests,
        "guest_states": _guest_states(guests),
        "datastore_count": space["number"],
        "switch_count": VirtualSwitch.objects.restrict(user, Action.VIEW).filter(missing_since=None).count(),
        "source_count": len(sources),
        "gauges": _gauges(user, hosts, space),
        "problems": _problems(user, sources),
        "busiest": _busiest(user),
        "fullest": _fullest(user),
    }
    return render(request, "console/home.html", context)


def _host_counts(user: Any) -> dict[str, int]:
    return (
        Host.objects.restrict(user, Action.VIEW)
        .filter(missing_since=None)
        .aggregate(
            number=Count("pk"),
            connected=Count("pk", filter=host_is_seen()),
            maintenance=Count("pk", filter=Q(maintenance=True)),
            threads=Sum("cpu_threads", default=0),
            memory=Sum("memory_bytes", default=0),
        )
    )


def _guest_counts(user: Any) -> dict[str, int]:
    return (
        Guest.objects.restrict(user, Action.VIEW)
        .filter(missing_since=None)
        .aggregate(
            number=Count("pk"),
            conflicts=Count("pk", filter=~Q(conflict="")),
            **{state.value: Count("pk", filter=Q(state=state)) for state in GuestState},
        )
    )


def _guest_states(counts: dict[str, int]) -> list[dict[str, Any]]:
    listed = reverse("guest_list")
    return [
        {
            "code": state.value,
            "label": state.label,
            "number": counts[state.value],
            "url": f"{listed}?q=state:{state.value}",
        }
        for state in GuestState
        if counts[state.value] or state is GuestState.RUNNING
    ]


def _gauges(user: Any, hosts: dict[str, int], space: dict[str, Any]) -> list[dict[str, Any]]:
    memory = _measured_memory(user)
    promised = (
        Guest.objects.restrict(user, Action.VIEW)
        .filter(missing_since=None, state=GuestState.RUNNING)
        .aggregate(memory=Sum("memory_bytes", default=0), vcpus=Sum("vcpus", default=0))
    )
    capacity = space["capacity"] or 0
    used = capacity - (space["free"] or 0)
    of = _("%(part)s of %(whole)s")
    return [
        gauge(_("Memory in use"), memory["used"], memory["whole"], _of(of, memory["used"], memory["whole"])),
        gauge(
            _("Memory given to running guests"),
            promised["memory"],
            hosts["memory"],
            _of(of, promised["memory"], hosts["memory"]),
            promised=True,
        ),
        gauge(
            _("vCPUs of running guests, per thread"),
            promised["vcpus"],
            hosts["threads"],
            of % {"part": promised["vcpus"], "whole": hosts["threads"]},
            promised=True,
        ),
        gauge(_("Storage"), used, capacity, _of(of, used, capacity)),
    ]


def _measured_memory(user: Any) -> dict[str, int | None]:
    """Used, and whole, of the hosts whose use we know now."""
    used = latest_loads(HostLoad).filter(host_id=OuterRef("pk")).values("memory_used_bytes")
    seen = Host.objects.restrict(user, Action.VIEW).filter(host_is_seen()).annotate(used_bytes=Subquery(used))
    return seen.filter(used_bytes__gt=0).aggregate(used=Sum("used_bytes"), whole=Sum("memory_bytes"))


def _of(words: str, part: float | None, whole: float | None) -> str:
    return words % {"part": format_bytes(part) or "–", "whole": format_bytes(whole) or "–"}  # noqa: RUF001 - a dash


def _problems(user: Any, sources: list[Source]) -> list[dict[str, Any]]:
    """What needs a person: sources that cannot be read, hosts that do not answer, guests that run twice."""
    return [*_source_problems(sources), *_host_problems(user), *_guest_problems(user)][:PROBLEMS]


def _source_problems(sources: list[Source]) -> list[dict[str, Any]]:
    silences = [(source, source_silence(source)) for source in sources]
    return [
        {
            "look": source.state,
            "label": source.name,
            "url": page_url("source", source.pk),
            "text": source.state_message or silence.reason,
            "since": silence.since,
        }
        for source, silence in silences
        if silence
    ]


def _host_problems(user: Any) -> list[dict[str, Any]]:
    """Hosts that are silent although their source answers."""
    silent = Q(state=HostState.NOT_RESPONDING) | Q(missing_since__isnull=False)
    hosts = Host.objects.restrict(user, Action.VIEW).filter(silent, source__state=SourceState.OK)
    rows = []
    for host in hosts.order_by(by_name(), "id")[:PROBLEMS]:
        state = HostState.MISSING if host.missing_since else HostState.NOT_RESPONDING
        url = page_url("host", host.pk)
        text = _("Host %(state)s.") % {"state": state.label}
        rows.append({"look": state.value, "label": host.name, "url": url, "text": text, "since": host.missing_since})
    return rows


def _guest_problems(user: Any) -> list[dict[str, Any]]:
    guests = Guest.objects.restrict(user, Action.VIEW).filter(missing_since=None).exclude(conflict="")
    return [
        {
            "look": "needs_attention",
            "label": guest.name,
            "url": page_url("guest", guest.pk),
            "text": guest.conflict,
            "since": None,
        }
        for guest in guests.order_by(by_name(), "id")[:PROBLEMS]
    ]


def _busiest(user: Any) -> list[dict[str, Any]]:
    seen = Host.objects.restrict(user, Action.VIEW).filter(host_is_seen()).values("pk")
    loads = latest_loads(HostLoad).filter(host_id__in=seen).exclude(cpu_percent=None).order_by("-cpu_percent")
    hosts = list(host_rows(user=user).filter(pk__in=list(loads.values_list("pk", flat=True)[:BUSIEST])))
    load_hosts(hosts)
    rows = [
        {"host": host, "cpu": cpu_percent(host), "memory": share(memory_used(host), host.memory_bytes)}
        for host in hosts
    ]
    return sorted((row for row in rows if row["cpu"] is not None), key=lambda row: -float(str(row["cpu"])))


def _fullest(user: Any) -> list[dict[str, Any]]:
    mounts = DatastoreMount.objects.restrict(user, Action.VIEW).select_related("host")
    rows = Datastore.objects.restrict(user, Action.VIEW).filter(missing_since=None, capacity_bytes__gt=0, active=True)
    left = Cast("available_bytes", FloatField()) / F("capacity_bytes")
    return [
        {
            "datastore": datastore,
            "host": only_host(datastore),
            "used": share(used_bytes(datastore), datastore.capacity_bytes),
        }
        for datastore in rows.order_by(left, by_name())[:FULLEST].prefetch_related(Prefetch("mounts", mounts))
    ]
