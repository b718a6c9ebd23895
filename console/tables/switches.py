"""The list of virtual switches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Prefetch, Q, QuerySet
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from access.roles import Action
from console.ages import active_state_keys, host_is_seen, switch_seen_at, switch_silence
from console.tables import cells
from console.tables.tags import tagged
from core.lists import Column, ListSpec, choice_filter, exact_filter, export_column, mapped_filter, text_filter
from core.models import by_name, count_of
from hosts.words import SWITCH_KINDS, switch_kind_label
from inventory.models import Nic
from labels.models import Tagged
from networks import selectors
from networks.models import PortGroup, VirtualSwitch


def switch_rows(*, user: Any) -> QuerySet[VirtualSwitch]:
    """The switches this user sees, with their port groups and how many NICs are plugged in."""
    nics = Nic.objects.restrict(user, Action.VIEW)
    groups = PortGroup.objects.restrict(user, Action.VIEW)
    rows = selectors.switch_list(user=user).annotate(nic_count=count_of(nics, "switch"))
    return rows.prefetch_related(Prefetch("port_groups", groups))


def link_switches(switches: list[VirtualSwitch]) -> None:
    for switch in switches:
        switch.page_url = cells.page_url("switch", switch.pk)  # type: ignore[attr-defined]


def state_of(switch: VirtualSwitch) -> tuple[str, Any]:
    if switch.missing_since:
        return "missing", _("missing")
    return ("active", _("active")) if switch.active else ("inactive", _("inactive"))


def state_cell(switch: VirtualSwitch) -> SafeString:
    code, label = state_of(switch)
    return cells.shown_state(code, label, None if code == "missing" else switch_silence(switch))


def kind_of(switch: VirtualSwitch) -> str:
    return switch_kind_label(switch.kind)


def uplinks(switch: VirtualSwitch) -> str:
    return ", ".join(str(one) for one in switch.uplinks)


def vlans(switch: VirtualSwitch) -> str:
    """Of the switch itself and of its port groups. Needs them prefetched."""
    own = switch.details.get("vlans", [])
    return vlan_ranges({*own, *(vlan for group in switch.port_groups.all() for vlan in group.vlans)})


def vlan_ranges(numbers: Iterable[int]) -> str:
    """In order, neighbors as ranges: 20, 100-199."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return ", ".join("-".join(map(str, one)) for one in ranges)


_STATES = {
    "active": (_("active"), Q(active=True, missing_since=None)),
    "inactive": (_("inactive"), Q(active=False, missing_since=None)),
    "missing": (_("missing"), Q(missing_since__isnull=False)),
}

_SWITCHES: ListSpec[VirtualSwitch] = ListSpec(
    name="switch",
    label=_("Virtual switches"),
    columns=(
        Column("name", _("Name"), lambda s: cells.link("switch", s), lambda s: s.name, (by_name(),)),
        Column("state", _("State"), state_cell, lambda s: state_of(s)[0], active_state_keys(host_is_seen("host__"))),
        Column(
            "host",
            _("Host"),
            lambda s: cells.link("host", s.host),
            lambda s: s.host.name,
            (by_name("host__name"), by_name()),
        ),
        Column("kind", _("Kind"), kind_of, kind_of, ("kind", by_name())),
        Column("bridge", _("Bridge"), lambda s: cells.mono(s.bridge), lambda s: s.bridge),
        Column("uplinks", _("Uplinks"), lambda s: cells.mono(uplinks(s)), uplinks),
        Column(
            "nics",
            _("NICs"),
            lambda s: cells.number(cells.counted(s, "nic_count")),
            lambda s: cells.counted(s, "nic_count"),
            ("nic_count",),
            numeric=True,
        ),
        Column("vlans", _("VLANs"), lambda s: cells.mono(vlans(s)), vlans, css="optional"),
        Column(
            "managed",
            _("Managed"),
            lambda s: cells.yes_no(s.managed),
            lambda s: s.managed,
            ("managed", by_name()),
            css="rare",
        ),
        Column("autostart", _("Autostart"), lambda s: cells.yes_no(s.autostart), lambda s: s.autostart, css="rare"),
        Column(
            "seen",
            _("Seen"),
            lambda s: cells.seen(switch_seen_at(s), switch_silence(s)),
            switch_seen_at,
            css="optional",
        ),
        export_column("mode", _("Mode"), lambda s: s.mode),
        export_column("datacenter", _("Datacenter"), lambda s: s.host.datacenter.name),
        export_column("uuid", _("UUID"), lambda s: s.uuid),
        export_column("id", _("Id"), lambda s: str(s.pk)),
    ),
    filters=(
        mapped_filter("state", _("State"), _STATES),
        choice_filter("kind", _("Kind"), "kind", list(SWITCH_KINDS.items())),
        text_filter("name", _("Name"), "name"),
        exact_filter("host", _("Host"), "host__name"),
        exact_filter("datacenter", _("Datacenter"), "host__datacenter__name"),
        text_filter("bridge", _("Bridge"), "bridge"),
        mapped_filter("managed", _("Managed"), {"yes": (_("yes"), Q(managed=True)), "no": (_("no"), Q(managed=False))}),
    ),
    free_text=("name", "bridge", "uuid"),
    prepare=link_switches,
)


def switch_spec(*, user: Any) -> ListSpec[VirtualSwitch]:
    """The list for this user, with the tags that the user sees."""
    return tagged(_SWITCHES, Tagged.SWITCH, user=user)
