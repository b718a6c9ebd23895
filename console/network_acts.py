"""What a person does with virtual networks."""

from __future__ import annotations

import re
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from access.models import require
from access.roles import Action
from console.dialogs import Dialog, Field, Option, dialog_page, is_on, text_of
from core.errors import Invalid
from drivers.requests import NetworkMode
from drivers.types import Capability
from hosts.able import reason_unable
from hosts.models import Host
from networks import acts
from networks.models import VirtualSwitch
from operations.models import Job

ASKED = ["GET", "HEAD", "POST"]
MODES = {
    NetworkMode.NAT: gettext_lazy("NAT: guests reach the outside behind the host's address"),
    NetworkMode.ISOLATED: gettext_lazy("Isolated: guests reach each other and the host"),
    NetworkMode.BRIDGED: gettext_lazy("Bridged: guests are plugged into a bridge of the host"),
    NetworkMode.OPEN_VSWITCH: gettext_lazy("Open vSwitch: a bridge with port groups and VLANs"),
}
CONSEQUENCES = {
    acts.NetworkAct.STOP: gettext_lazy("The host takes its bridge away, unless a guest that runs is plugged in."),
    acts.NetworkAct.DELETE: gettext_lazy("The host stops and forgets it, unless a guest is plugged in."),
}
_VLANS = re.compile(r"[\d,\s]*")
DIGITS = 4  # of the largest VLAN


def read_port_groups(text: str) -> tuple[acts.PortGroup, ...]:
    """One a line: `office: 20`, a trunk `routers: 20, 30`, the default one `*office: 20`. Raises: Invalid."""
    return tuple(_group(line) for line in text.splitlines() if line.strip())


def _group(line: str) -> acts.PortGroup:
    """Raises: Invalid."""
    text = line.strip()
    name, _colon, vlans = text.removeprefix("*").partition(":")
    numbers = re.findall(r"\d+", vlans)
    if not name.strip() or not _VLANS.fullmatch(vlans) or any(len(number) > DIGITS for number in numbers):
        raise Invalid(_("Write one port group a line, such as office: 20."), field="port_groups")
    return acts.PortGroup(name.strip(), tuple(map(int, numbers)), default=text.startswith("*"))


@require_http_methods(ASKED)
def host_new_network(request: HttpRequest, host_id: UUID) -> HttpResponseBase:
    require(request.user, Action.PROVISION)
    hosts = Host.objects.restrict(request.user, Action.PROVISION).select_related("source")
    host = get_object_or_404(hosts, pk=host_id)
    dialog = Dialog(
        title=_("New network on %(host)s") % {"host": host.name},
        button=_("Create"),
        crumbs=[(_("Hosts"), reverse("host_list")), (host.name, reverse("host_tab", args=[host.pk, "switches"]))],
        fields=_fields(),
        icon="plus",
        reason=reason_unable(host, Capability.NETWORKS),
    )

    def act() -> Job:
        new = acts.NewNetwork(
            host=host,
            port_groups=read_port_groups(text_of(request, "port_groups")),
            autostart=is_on(request, "autostart"),
            **{name: text_of(request, name) for name in TEXTS},
        )
        return acts.submit_network_create(new=new, by=request.user)

    return dialog_page(request, dialog, act)


TEXTS = ("name", "mode", "bridge", "address", "dhcp_first", "dhcp_last", "domain")


def _fields() -> tuple[Field, ...]:
    modes = tuple(Option(mode.value, str(label)) for mode, label in MODES.items())
    addressed, bridged = _("For NAT and isolated networks."), _("For bridged and Open vSwitch networks.")
    groups = _("For Open vSwitch, one a line: office: 20. Several VLANs make a trunk; * marks the default one.")
    return (
        Field("name", _("Name"), required=True, longest=99),
        Field("mode", _("Mode"), value="nat", kind="select", options=modes),
        Field("bridge", _("Bridge of the host"), longest=15, hint=bridged),
        Field("address", _("Address with prefix"), longest=64, hint=f"{addressed} 192.0.2.1/24"),
        Field("dhcp_first", _("First address for DHCP"), longest=45),
        Field("dhcp_last", _("Last address for DHCP"), longest=45),
        Field("domain", _("DNS domain"), longest=253),
        Field("port_groups", _("Port groups"), kind="area", longest=10_000, hint=groups),
        Field("autostart", _("Start with the host"), kind="check", on=True),
    )


@require_http_methods(ASKED)
def switch_act(request: HttpRequest, switch_id: UUID, action: str) -> HttpResponseBase:
    """Start, stop, autostart or delete."""
    require(request.user, Action.PROVISION)
    if action not in set(acts.NetworkAct):
        raise Http404
    rows = VirtualSwitch.objects.restrict(request.user, Action.PROVISION).select_related("host__source")
    switch = get_object_or_404(rows, pk=switch_id)
    wanted = acts.NetworkAct(action)
    deletes = wanted is acts.NetworkAct.DELETE
    confirm = Field("confirmation", _("Type the network's name to confirm"), required=True, longest=255)
    words = {"act": acts.NETWORK_ACTS[wanted], "name": switch.name, "host": switch.host.name}
    dialog = Dialog(
        title=_("%(act)s: %(name)s on %(host)s") % words,
        button=str(acts.NETWORK_ACTS[wanted]),
        crumbs=[
            (_("Virtual switches"), reverse("switch_list")),
            (switch.name, reverse("switch_page", args=[switch.pk])),
        ],
        lead=str(CONSEQUENCES.get(wanted, "")),
        fields=(confirm,) if deletes else (),
        icon="trash" if deletes else "check",
        risky=wanted in CONSEQUENCES,
        reason=acts.reason_unmanaged(switch) or reason_unable(switch.host, Capability.NETWORKS),
    )

    def act() -> Job:
        typed = text_of(request, "confirmation")
        return acts.submit_network_switch(switch=switch, action=wanted, confirmation=typed, by=request.user)

    return dialog_page(request, dialog, act)


urlpatterns = [
    path("hosts/<uuid:host_id>/new-network/", host_new_network, name="host_new_network"),
    path("switches/<uuid:switch_id>/acts/<slug:action>/", switch_act, name="switch_act"),
]
