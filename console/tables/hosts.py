"""The list of hosts."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Coalesce, Lower
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from console.ages import host_seen_at, host_shown_state, host_silence, host_state_keys
from console.tables import cells
from console.tables.tags import tagged
from console.templatetags.guesthouse import state
from core.lists import Column, ListSpec, exact_filter, export_column, mapped_filter, none_filter, text_filter
from core.models import by_name
from hosts.models import Host, HostState, SourceState
from inventory import selectors
from labels.models import Tagged
from metrics.models import HostLoad
from metrics.selectors import latest_loads


def host_rows(*, user: Any) -> QuerySet[Host]:
    """The hosts this user sees, with their number of guests."""
    return selectors.host_list(user=user)


def load_hosts(hosts: list[Host]) -> None:
    """Give each host its latest load as `host.load`, in one query."""
    loads = latest_loads(HostLoad).in_bulk([host.pk for host in hosts])
    for host in hosts:
        host.load = loads.get(host.pk)  # type: ignore[attr-defined]
        host.page_url = cells.page_url("host", host.pk)  # type: ignore[attr-defined]


def _load(host: Host) -> HostLoad | None:
    found: HostLoad | None = getattr(host, "load", None)
    return found if host_silence(host) is None else None


def cpu_percent(host: Host) -> float | None:
    load = _load(host)
    return load.cpu_percent if load else None


def memory_used(host: Host) -> int | None:
    load = _load(host)
    return load.memory_used_bytes if load and load.memory_used_bytes else None


def state_cell(host: Host) -> SafeString:
    code, label = host_shown_state(host)
    silence = host_silence(host)
    shown = state(code, label, False, silence.reason if silence else "")
    if host.maintenance:
        return format_html("{} {}", shown, state("maintenance", _("maintenance")))
    return shown


def brand(host: Host) -> str:
    return " ".join(part for part in (host.vendor, host.model) if part)


def hypervisor(host: Host) -> str:
    return f"{host.hypervisor} {host.hypervisor_version}".strip()


_SILENT = Q(source__state__in=[SourceState.UNREACHABLE, SourceState.AUTH_FAILED, SourceState.FAILING])
_STATES = {
    "connected": (
        HostState.CONNECTED.label,
        Q(state=HostState.CONNECTED, missing_since=None, source__state__in=[SourceState.OK, SourceState.NEW]),
    ),
    "not_responding": (
        HostState.NOT_RESPONDING.label,
        Q(missing_since=None) & ~Q(source__state=SourceState.PAUSED) & (Q(state=HostState.NOT_RESPONDING) | _SILENT),
    ),
    "paused": (SourceState.PAUSED.label, Q(missing_since=None, source__state=SourceState.PAUSED)),
    "missing": (HostState.MISSING.label, Q(missing_since__isnull=False)),
    "maintenance": (_("maintenance"), Q(maintenance=True)),
}

_HOSTS: ListSpec[Host] = ListSpec(
    name="host",
    label=_("Hosts"),
    columns=(
        Column("name", _("Name"), lambda h: cells.link("host", h), lambda h: h.name, (by_name(),)),
        Column("state", _("State"), state_cell, lambda h: host_shown_state(h)[0], host_state_keys()),
        Column(
            "guests",
            _("Guests"),
            lambda h: f"{cells.counted(h, 'running_count')} / {cells.counted(h, 'guest_count')}",
            lambda h: cells.counted(h, "guest_count"),
            ("guest_count",),
            numeric=True,
        ),
        Column("cpu", _("CPU"), lambda h: cells.load(cpu_percent(h)), cpu_percent, numeric=True),
        Column(
            "used", _("Memory used"), lambda h: cells.usage(memory_used(h), h.memory_bytes), memory_used, numeric=True
        ),
        Column(
            "memory",
            _("Memory"),
            lambda h: cells.size(h.memory_bytes),
            lambda h: h.memory_bytes,
            ("memory_bytes",),
            numeric=True,
        ),
        Column(
            "threads",
            _("Threads"),
            lambda h: cells.number(h.cpu_threads),
            lambda h: h.cpu_threads,
            ("cpu_threads",),
            numeric=True,
        ),
        Column(
            "cluster",
            _("Cluster"),
            lambda h: cells.link("cluster", h.cluster),
            lambda h: h.cluster.name if h.cluster else "",
            (Lower(Coalesce("cluster__name", Value(""))), by_name()),
            css="optional",
        ),
        Column("hypervisor", _("Hypervisor"), lambda h: cells.text(hypervisor(h)), hypervisor, css="rare"),
        Column(
            "source",
            _("Source"),
            lambda h: cells.text(h.source.name),
            lambda h: h.source.name,
            (by_name("source__name"), by_name()),
            css="rare",
        ),
        Column("seen", _("Seen"), lambda h: cells.seen(host_seen_at(h), host_silence(h)), host_seen_at, css="optional"),
        export_column("datacenter", _("Datacenter"), lambda h: h.datacenter.name),
        export_column("maintenance", _("Maintenance"), lambda h: h.maintenance),
        export_column("model", _("Model"), brand),
        export_column("serial", _("Serial number"), lambda h: h.serial),
        export_column("white_box", _("White box"), lambda h: h.white_box),
        export_column("cpu_model", _("CPU model"), lambda h: h.cpu_model),
        export_column("sockets", _("Sockets"), lambda h: h.cpu_sockets),
        export_column("cores", _("Cores"), lambda h: h.cpu_cores),
        export_column("uuid", _("UUID"), lambda h: h.uuid),
        export_column("id", _("Id"), lambda h: str(h.pk)),
    ),
    filters=(
        mapped_filter("state", _("State"), _STATES),
        text_filter("name", _("Name"), "name"),
        exact_filter("source", _("Source"), "source__name"),
        exact_filter("datacenter", _("Datacenter"), "datacenter__name"),
        none_filter("cluster", _("Cluster"), "cluster__name", "cluster"),
        text_filter("model", _("Model"), "vendor", "model"),
        text_filter("serial", _("Serial number"), "serial"),
        text_filter("cpu", _("CPU model"), "cpu_model"),
        exact_filter("uuid", _("UUID"), "uuid"),
    ),
    free_text=("name", "vendor", "model", "serial", "cpu_model", "uuid"),
    prepare=load_hosts,
)


def host_spec(*, user: Any) -> ListSpec[Host]:
    """The list for this user, with the tags that the user sees."""
    return tagged(_HOSTS, Tagged.HOST, user=user)
