"""The list of guests."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, F, FloatField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from console.ages import guest_silence, host_is_seen, state_keys
from console.tables import cells
from console.tables.tags import tagged
from core.lists import (
    Column,
    ListSpec,
    Text,
    exact_filter,
    export_column,
    mapped_filter,
    none_filter,
    number_filter,
    text_filter,
)
from core.models import by_name
from inventory import selectors
from inventory.models import Guest, GuestState
from labels.models import Tagged
from metrics.models import GuestLoad
from metrics.selectors import latest_loads


def guest_rows(*, user: Any) -> QuerySet[Guest]:
    """The guests this user sees, with what a list shows of them."""
    return selectors.guest_list(user=user)


def load_guests(guests: list[Guest]) -> None:
    """Give each guest its latest load as `guest.load`, in one query."""
    loads = latest_loads(GuestLoad).in_bulk([guest.pk for guest in guests])
    for guest in guests:
        guest.load = loads.get(guest.pk)  # type: ignore[attr-defined]
        guest.page_url = cells.page_url("guest", guest.pk)  # type: ignore[attr-defined]


def _load(guest: Guest) -> GuestLoad | None:
    """The load as far as it tells of now: only of a guest that runs on a host we see."""
    found: GuestLoad | None = getattr(guest, "load", None)
    return found if guest.state == GuestState.RUNNING and guest_silence(guest) is None else None


def cpu_percent(guest: Guest) -> float | None:
    load = _load(guest)
    return load.cpu_percent if load else None


def memory_used(guest: Guest) -> int | None:
    load = _load(guest)
    return load.memory_used_bytes if load and load.memory_used_bytes else None


def state_cell(guest: Guest) -> SafeString:
    if guest.missing_since:
        return cells.shown_state("missing", _("missing"), None)
    return cells.shown_state(guest.state, GuestState(guest.state).label, guest_silence(guest))


def _state_value(guest: Guest) -> str:
    return "missing" if guest.missing_since else guest.state


_STATES: dict[str, tuple[Text, Q]] = {
    **{one.value: (one.label, Q(state=one.value, missing_since=None)) for one in GuestState},
    "missing": (_("missing"), Q(missing_since__isnull=False)),
}

_SEEN = host_is_seen("host__")
# Load is kept apart from guests, so that reading it does not touch them; a list sorted by it looks each one up.
_LOAD = Subquery(latest_loads(GuestLoad).filter(guest_id=OuterRef("pk")).values("cpu_percent")[:1])
# As cpu_percent shows it: below 0 where it shows nothing.
_CPU = Case(
    When(_SEEN, state=GuestState.RUNNING, missing_since=None, then=Coalesce(_LOAD, Value(-1.0))),
    default=Value(-1.0),
    output_field=FloatField(),
)

_GUESTS: ListSpec[Guest] = ListSpec(
    name="guest",
    label=_("Guests"),
    columns=(
        Column("name", _("Name"), lambda g: cells.link("guest", g), lambda g: g.name, (by_name(),)),
        Column("state", _("State"), state_cell, _state_value, state_keys(F("state"), _SEEN)),
        Column(
            "host",
            _("Host"),
            lambda g: cells.link("host", g.host),
            lambda g: g.host.name,
            (by_name("host__name"), by_name()),
        ),
        Column("cpu", _("CPU"), lambda g: cells.load(cpu_percent(g)), cpu_percent, (_CPU,), numeric=True),
        Column("vcpus", _("vCPU"), lambda g: cells.number(g.vcpus), lambda g: g.vcpus, ("vcpus",), numeric=True),
        Column(
            "memory",
            _("Memory"),
            lambda g: cells.size(g.memory_bytes),
            lambda g: g.memory_bytes,
            ("memory_bytes",),
            numeric=True,
        ),
        Column("addresses", _("Addresses"), lambda g: cells.mono(g.addresses), lambda g: g.addresses),
        Column(
            "datacenter",
            _("Datacenter"),
            lambda g: cells.text(g.datacenter.name),
            lambda g: g.datacenter.name,
            css="rare",
        ),
        Column(
            "seen", _("Seen"), lambda g: cells.seen(g.seen_at, guest_silence(g)), lambda g: g.seen_at, css="optional"
        ),
        export_column("title", _("Title"), lambda g: g.title),
        export_column("uuid", _("UUID"), lambda g: g.uuid),
        export_column("source", _("Source"), lambda g: g.host.source.name),
        export_column("used", _("Memory used"), memory_used),
        export_column("machine", _("Machine"), lambda g: g.machine),
        export_column("firmware", _("Firmware"), lambda g: g.firmware),
        export_column("autostart", _("Autostart"), lambda g: g.autostart),
        export_column("snapshots", _("Snapshots"), lambda g: g.snapshot_count),
        export_column("notes", _("Notes"), lambda g: g.notes),
        export_column("id", _("Id"), lambda g: str(g.pk)),
    ),
    filters=(
        mapped_filter("state", _("State"), _STATES),
        text_filter("name", _("Name"), "name"),
        exact_filter("host", _("Host"), "host__name"),
        exact_filter("source", _("Source"), "host__source__name"),
        exact_filter("datacenter", _("Datacenter"), "datacenter__name"),
        none_filter("folder", _("Folder"), "folder_entry__folder__name", "folder_entry"),
        text_filter("address", _("Address"), "addresses"),
        exact_filter("uuid", _("UUID"), "uuid"),
        number_filter("vcpus", _("vCPU"), "vcpus"),
    ),
    free_text=("name", "title", "addresses", "uuid", "notes"),
    prepare=load_guests,
)


def guest_spec(*, user: Any) -> ListSpec[Guest]:
    """The list for this user, with the tags that the user sees."""
    return tagged(_GUESTS, Tagged.GUEST, user=user)
