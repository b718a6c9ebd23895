"""New guests, clones, and deleting guests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from django.contrib import messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from access.models import require
from access.roles import Action
from console.dialogs import Dialog, Field, Option, dialog_page, read_number, read_size, text_of
from console.forms import errors_of, values_of
from console.guest_acts import volume_option
from console.power import visible_guest
from core.errors import Forbidden, Invalid, Refused
from core.ids import as_id
from core.models import by_name
from core.units import format_bytes
from drivers.types import Capability
from hosts.able import reason_unable
from hosts.models import Cluster, Host
from inventory.acts import define
from inventory.acts.offers import disks_on, isos_on
from inventory.models import Guest
from networks.models import PortGroup, VirtualSwitch
from operations.models import Job
from storage.acts import FORMATS, READ_ONLY_KINDS
from storage.models import Datastore, DatastoreMount, Upload, Volume
from storage.uploads import own_uploads

M = TypeVar("M", bound=Model)
ASKED = ["GET", "HEAD", "POST"]
MOST_HOSTS = 500
DISK = "disk_"
FORM = (
    *("name", "title", "os", "vcpus", "memory", "firmware", "machine"),
    *("disk", "disk_datastore", "disk_size", "disk_format", "disk_volume", "disk_bus"),
    *("cd", "cd_volume", "cd_datastore", "upload", "network", "start"),
)
USUAL = {
    "vcpus": "2",
    "memory": "2 GiB",
    "firmware": "bios",
    "disk": "new",
    "disk_size": "20 GiB",
    "disk_format": "qcow2",
    "disk_bus": "virtio",
    "cd": "none",
    "start": "on",
}
# The fields of the service by those of the form, where they differ.
FIELDS = {"memory_bytes": "memory", "disk_bytes": "disk_size", "capacity_bytes": "disk_size", "port_group": "network"}
FIELDS |= {"cd_name": "upload", "switch": "network", "format": "disk_format"}


# -- where


@require_safe
def guest_new(request: HttpRequest) -> HttpResponseBase:
    """Choose the host of a new guest; the one with the most free memory comes first. Chosen, go on to its form."""
    require(request.user, Action.PROVISION)
    chosen = as_id(request.GET.get("host", ""))
    if chosen is not None:
        return redirect("host_new_guest", chosen)
    hosts = Host.objects.restrict(request.user, Action.PROVISION).filter(missing_since=None).select_related("source")
    cluster = _cluster(request)
    if cluster is not None:
        hosts = hosts.filter(cluster=cluster)
    found = define.rooms(hosts.order_by(by_name())[:MOST_HOSTS])
    rooms = [
        {
            "host": room.host,
            "free": format_bytes(room.free_bytes),
            "reason": reason_unable(room.host, Capability.DEFINE),
        }
        for room in found
    ]
    usable = [one.host for one in found if not reason_unable(one.host, Capability.DEFINE) and not one.host.maintenance]
    first = usable[0].pk if usable else None
    return render(request, "guests/guest_new.html", {"rooms": rooms, "first": first, "cluster": cluster})


def _cluster(request: HttpRequest) -> Cluster | None:
    return _pick(Cluster.objects.restrict(request.user, Action.VIEW), request.GET.get("cluster", ""))


# -- what


@require_http_methods(ASKED)
def host_new_guest(request: HttpRequest, host_id: UUID) -> HttpResponseBase:
    """Everything about a new guest on one page; by POST, have it made."""
    require(request.user, Action.PROVISION)
    hosts = Host.objects.restrict(request.user, Action.PROVISION).select_related("source")
    host = get_object_or_404(hosts, pk=host_id)
    if request.method != "POST":
        return _form(request, host, dict(USUAL))
    values = values_of(request, *FORM)
    try:
        job = define.submit_guest_create(new=_wanted(request, host, values), by=request.user)
    except Forbidden:
        raise
    except Refused as error:
        return _form(request, host, values, error)
    messages.success(request, _("%(name)s is being made.") % {"name": job.parameters["name"]})
    return redirect("task_page", job.pk)


def _wanted(request: HttpRequest, host: Host, values: dict[str, str]) -> define.NewGuest:
    """Raises: Invalid."""
    switch, port_group = _network(request, host, values["network"])
    return define.NewGuest(
        host=host,
        name=values["name"],
        title=values["title"],
        os=values["os"].strip(),
        vcpus=read_number(values["vcpus"], "vcpus"),
        memory_bytes=read_size(values["memory"], "memory"),
        uefi=values["firmware"] == "uefi",
        machine=values["machine"].strip(),
        disk=_disk(request, values),
        cd=_cd(request, values),
        switch=switch,
        port_group=port_group,
        start=bool(values["start"]),
    )


def _disk(request: HttpRequest, values: dict[str, str]) -> define.NewDisk | None:
    """Raises: Invalid."""
    if values["disk"] == "volume":
        return define.NewDisk(volume=_volume(request, values, "disk_volume"), bus=values["disk_bus"])
    if values["disk"] != "new":
        return None
    return define.NewDisk(
        datastore=_datastore(request, values, "disk_datastore"),
        capacity_bytes=read_size(values["disk_size"], "disk_size"),
        format=values["disk_format"],
        bus=values["disk_bus"],
    )


def _cd(request: HttpRequest, values: dict[str, str]) -> define.NewCd | None:
    """Raises: Invalid."""
    if values["cd"] == "volume":
        return define.NewCd(volume=_volume(request, values, "cd_volume"))
    if values["cd"] != "upload":
        return None
    upload = _upload(request, values["upload"])
    return define.NewCd(upload=upload, datastore=_datastore(request, values, "cd_datastore"))


def _upload(request: HttpRequest, text: str) -> Upload:
    """Raises: Invalid."""
    found = _pick(own_uploads(user=request.user), text)
    if found is None:
        raise Invalid(_("Choose a file, and wait until it is sent."), field="upload")
    return found


def _pick(rows: QuerySet[M], text: str) -> M | None:
    """The row that a form names."""
    identifier = as_id(text)
    return None if identifier is None else rows.filter(pk=identifier).first()


def _volume(request: HttpRequest, values: dict[str, str], name: str) -> Volume:
    """Raises: Invalid."""
    rows = Volume.objects.restrict(request.user, Action.PROVISION).select_related("datastore")
    found = _pick(rows, values[name])
    if found is None:
        raise Invalid(_("Choose a volume."), field=name)
    return found


def _datastore(request: HttpRequest, values: dict[str, str], name: str) -> Datastore:
    """Raises: Invalid."""
    rows = Datastore.objects.restrict(request.user, Action.PROVISION)
    found = _pick(rows, values[name])
    if found is None:
        raise Invalid(_("Choose a datastore."), field=name)
    return found


def _network(request: HttpRequest, host: Host, text: str) -> tuple[VirtualSwitch | None, str]:
    """`switch` or `switch/port group`, by ids. Raises: Invalid."""
    switch_id, _slash, group_id = text.partition("/")
    if not text:
        return None, ""
    switches = VirtualSwitch.objects.restrict(request.user, Action.PROVISION).filter(host=host)
    switch = _pick(switches, switch_id)
    if switch is None:
        raise Invalid(_("Choose a network."), field="network")
    if not group_id:
        return switch, ""
    groups = PortGroup.objects.restrict(request.user, Action.PROVISION).filter(switch=switch)
    group = _pick(groups, group_id)
    if group is None:
        raise Invalid(_("Choose a network."), field="network")
    return switch, group.name


def _form(request: HttpRequest, host: Host, values: dict[str, str], error: Refused | None = None) -> HttpResponse:
    errors = {FIELDS.get(name, name): words for name, words in (errors_of(error) if error else {}).items()}
    known = {name: errors.pop(name) for name in list(errors) if name in FORM}
    room = define.rooms([host])[0]
    upload = _pick(own_uploads(user=request.user), values.get("upload", ""))
    context = {
        "host": host,
        "free": format_bytes(room.free_bytes),
        "values": values,
        "errors": known,
        "form_error": " ".join(errors.values()),
        "task": getattr(error, "job", None),
        "reason": reason_unable(host, Capability.DEFINE),
        "datastores": _datastores(request, host),
        "disks": list(map(volume_option, disks_on(host, user=request.user))),
        "isos": list(map(volume_option, isos_on(host, user=request.user))),
        "networks": _networks(request, host),
        "formats": FORMATS,
        "buses": define.BUSES,
        "upload": upload,
    }
    status = 200 if error is None else 400 if isinstance(error, Invalid) else 409
    return render(request, "guests/host_new_guest.html", context, status=status)


def _datastores(request: HttpRequest, host: Host) -> list[Option]:
    mounts = DatastoreMount.objects.restrict(request.user, Action.VIEW).filter(host=host, missing_since=None)
    rows = Datastore.objects.restrict(request.user, Action.PROVISION).filter(
        pk__in=mounts.filter(active=True).values("datastore")
    )
    rows = rows.exclude(kind__in=READ_ONLY_KINDS)
    words = _("%(name)s, %(free)s free")
    return [
        Option(str(row.pk), words % {"name": row.name, "free": format_bytes(row.available_bytes)})
        for row in rows.order_by(by_name(), "pk")
    ]


def _networks(request: HttpRequest, host: Host) -> list[Option]:
    """Each switch, and each of its port groups."""
    switches = VirtualSwitch.objects.restrict(request.user, Action.PROVISION).filter(host=host, missing_since=None)
    groups = PortGroup.objects.restrict(request.user, Action.PROVISION).filter(switch__in=switches)
    by_switch: dict[Any, list[PortGroup]] = {}
    for group in groups.order_by(by_name(), "pk"):
        by_switch.setdefault(group.switch_id, []).append(group)
    options = []
    for switch in switches.order_by(by_name(), "pk"):
        options.append(Option(str(switch.pk), switch.name))
        options += [
            Option(f"{switch.pk}/{group.pk}", f"{switch.name} / {group.name}") for group in by_switch.get(switch.pk, ())
        ]
    return options


# -- an existing guest


def _crumbs(guest: Guest) -> list[tuple[str, str]]:
    return [(_("Guests"), reverse("guest_list")), (guest.name, reverse("guest_page", args=[guest.pk]))]


@require_http_methods(ASKED)
def guest_clone(request: HttpRequest, guest_id: UUID) -> HttpResponseBase:
    """Ask for a name and a place; by POST, have it cloned."""
    guest = visible_guest(request.user, guest_id)
    require(request.user, Action.PROVISION)
    beside = Option("", _("Beside the disks of %(name)s") % {"name": guest.name})
    dialog = Dialog(
        title=_("Clone %(name)s") % {"name": guest.name},
        button=_("Clone"),
        crumbs=_crumbs(guest),
        lead=_("Another guest like this one, off, with copies of its disks, a UUID and MAC addresses of its own."),
        fields=(
            Field("name", _("Name"), value=f"{guest.name[:80]}-clone", required=True, longest=99),
            Field(
                "datastore", _("Copies are made"), kind="select", options=(beside, *_datastores(request, guest.host))
            ),
        ),
        icon="copy",
        reason=define.reason_against(guest),
    )

    def act() -> Job:
        values = values_of(request, "datastore")
        store = _datastore(request, values, "datastore") if values["datastore"] else None
        return define.submit_guest_clone(guest=guest, name=text_of(request, "name"), datastore=store, by=request.user)

    return dialog_page(request, dialog, act)


@require_http_methods(ASKED)
def guest_delete(request: HttpRequest, guest_id: UUID) -> HttpResponseBase:
    """Ask for the guest's name and which disks go with it; by POST, have it deleted."""
    guest = visible_guest(request.user, guest_id)
    require(request.user, Action.PROVISION)
    disks = define.disks_of(guest)
    confirm = Field("confirmation", _("Type the guest's name to confirm"), required=True, longest=255)
    dialog = Dialog(
        title=_("Delete %(name)s?") % {"name": guest.name},
        button=_("Delete"),
        crumbs=_crumbs(guest),
        lead=_(
            "Its host forgets the guest, its snapshots and its saved state. Disks that are ticked are deleted with all "
            "that is on them; nothing brings them back."
        ),
        fields=(*(_disk_field(one) for one in disks), confirm),
        icon="trash",
        risky=True,
        reason=define.reason_against(guest),
    )

    def act() -> Job:
        sources = {_disk_name(one): one.disk.source for one in disks}
        ticked = [sources.get(name, name) for name in request.POST if name.startswith(DISK)]
        return define.submit_guest_delete(
            guest=guest, confirmation=text_of(request, "confirmation"), disks=ticked, by=request.user
        )

    return dialog_page(request, dialog, act)


def _disk_name(one: define.GuestDisk) -> str:
    """By its volume: a page that is older than a change of disks must not name another one."""
    return f"{DISK}{one.volume.pk if one.volume else one.disk.target}"


def _disk_field(one: define.GuestDisk) -> Field:
    words = {"disk": one.disk.target, "name": one.name, "size": format_bytes(one.disk.capacity_bytes)}
    field = Field(
        _disk_name(one),
        _("Delete disk %(disk)s: %(name)s, %(size)s") % words,
        kind="check",
        on=one.own,
        reason=one.reason,
    )
    shared = one.disk.read_only or one.disk.shareable
    return replace(field, hint=_("It is shared or read only: others may need it.")) if shared else field


urlpatterns = [
    path("guests/new/", guest_new, name="guest_new"),
    path("hosts/<uuid:host_id>/new-guest/", host_new_guest, name="host_new_guest"),
    path("guests/<uuid:guest_id>/clone/", guest_clone, name="guest_clone"),
    path("guests/<uuid:guest_id>/delete/", guest_delete, name="guest_delete"),
]
