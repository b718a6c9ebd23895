"""What a person does to a guest's snapshots, settings and devices: a dialog for each, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access.models import may, require
from access.roles import Action
from console.dialogs import (
    Dialog,
    Field,
    Option,
    asked_sentence,
    dialog_page,
    is_changed,
    is_on,
    read_number,
    read_size,
    size_text,
    text_of,
)
from console.power import visible_guest
from console.tables.tasks import task_url
from core.errors import Invalid, Refused
from core.units import format_age, format_bytes
from hosts.able import fixed_reason
from inventory.acts import devices, rules, settings, snapshots, undo
from inventory.acts.offers import Offer, disks_on, isos_on
from inventory.acts.pending import stored_settings
from inventory.acts.values import LABELS, settings_of
from inventory.models import Disk, Guest, Nic
from networks.models import PortGroup, VirtualSwitch
from operations.models import Job
from operations.selectors import job_list
from storage.acts import FORMATS, READ_ONLY_KINDS
from storage.models import Datastore, Volume

OFFERED = 500  # of a list to choose from
Ask = Callable[[HttpRequest, Guest], HttpResponseBase]


def act_page(ask: Ask) -> Callable[..., HttpResponseBase]:
    """A page that asks for an act on one guest: who may, and the guest they see."""

    @require_http_methods(["GET", "HEAD", "POST"])
    @wraps(ask)
    def page(request: HttpRequest, guest_id: UUID) -> HttpResponseBase:
        guest = visible_guest(request.user, guest_id)
        require(request.user, Action.CONFIGURE)
        return ask(request, guest)

    return page


def _crumbs(guest: Guest, tab: str = "") -> list[tuple[str, str]]:
    page = reverse("guest_tab", args=[guest.pk, tab]) if tab else reverse("guest_page", args=[guest.pk])
    return [(_("Guests"), reverse("guest_list")), (guest.name, page)]


def _reason(guest: Guest, kind: str) -> str:
    return rules.reason_against(guest, kind, rules.holder_of(guest))


def _given(request: HttpRequest, name: str) -> str:
    """What the dialog is about: in its address at first, then in its form."""
    return str((request.POST if request.method == "POST" else request.GET).get(name, ""))


def _runs(guest: Guest) -> bool:
    return guest.state in rules.UP


# -- snapshots


@act_page
def snapshot_create(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    runs = _runs(guest)
    fields = [
        Field("name", _("Name"), required=True, longest=199),
        Field("notes", _("Notes"), kind="area", longest=rules.LONGEST_NOTES),
    ]
    if runs:
        hint = _("Without it the disks go on in new files, and only newer versions of libvirt can go back.")
        fields.append(Field("memory", _("With its memory"), kind="check", on=True, hint=hint))
        reason = "" if snapshots.has_agent(guest) else _("No agent inside the guest answers.")
        hint = _("The agent inside the guest does it. Only for a snapshot without memory.")
        label = _("Flush its file systems first")
        fields.append(Field("quiesce", label, kind="check", hint=hint, reason=reason))
    dialog = Dialog(
        title=_("Take a snapshot of %(name)s") % {"name": guest.name},
        button=_("Take snapshot"),
        crumbs=_crumbs(guest, "snapshots"),
        warnings=tuple(_snapshot_warnings(request.user, guest)),
        fields=tuple(fields),
        icon="history",
        reason=_reason(guest, rules.SNAPSHOT_CREATE),
    )

    def act() -> Job:
        return snapshots.create_snapshot(
            guest=guest,
            name=text_of(request, "name"),
            notes=text_of(request, "notes"),
            memory=is_on(request, "memory"),
            quiesce=is_on(request, "quiesce"),
            by=request.user,
        )

    return dialog_page(request, dialog, act)


def _snapshot_warnings(user: Any, guest: Guest) -> Iterable[str]:
    """What is known to matter; the host looks itself before anything is done."""
    disks = Disk.objects.restrict(user, Action.VIEW).filter(guest=guest, device="disk", read_only=False)
    for target, form in disks.exclude(format__in=["qcow2", ""]).values_list("target", "format"):
        words = {"disk": target, "format": form}
        yield _("Disk %(disk)s is a %(format)s image, which holds no snapshot with memory.") % words
    if _runs(guest) and guest.passthrough:
        yield _("Devices of the host are passed through: the memory cannot be saved.")
    yield from [_("A guest with snapshots cannot be migrated.")] if not guest.snapshot_count else []


@act_page
def snapshot_revert(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    name, created_at = _given(request, "name"), _given(request, "created_at")
    found = snapshots.find_snapshot(guest, name, created_at)
    taken_at = parse_datetime(found.get("created_at") or "") if found else None
    words = {"name": guest.name, "snapshot": name, "when": format_age(taken_at) if taken_at else "?"}
    warnings = [
        _("Everything %(name)s did since is lost: what it wrote to its disks and what is in its memory.") % words,
    ]
    if found and not found.get("memory") and _runs(guest):
        warnings.append(_("The snapshot holds no memory: the guest is off afterwards."))
    dialog = Dialog(
        title=_("Revert %(name)s to %(snapshot)s?") % words,
        button=_("Revert"),
        crumbs=_crumbs(guest, "snapshots"),
        lead=_("It was taken %(when)s. The guest's state of now is in no snapshot, unless you take one first.") % words,
        warnings=tuple(warnings),
        hidden=(("name", name), ("created_at", created_at)),
        icon="rotate",
        risky=True,
        reason=_reason(guest, rules.SNAPSHOT_REVERT) or ("" if found else _no_snapshot()),
    )
    return dialog_page(
        request,
        dialog,
        lambda: snapshots.revert_snapshot(guest=guest, name=name, created_at=created_at, by=request.user),
    )


@act_page
def snapshot_delete(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    name, created_at = _given(request, "name"), _given(request, "created_at")
    found = snapshots.find_snapshot(guest, name, created_at)
    below = snapshots.children_of(guest, name) if found else []
    label = _("Also delete what descends from it: %(names)s") % {"names": ", ".join(below[:5])}
    hint = _("Otherwise they stay, and hang on its parent.")
    fields = (Field("children", label, kind="check", hint=hint),) if below else ()
    dialog = Dialog(
        title=_("Delete snapshot %(name)s?") % {"name": name},
        button=_("Delete"),
        crumbs=_crumbs(guest, "snapshots"),
        lead=_("The guest stays as it is. There is no way back to the deleted snapshot."),
        fields=fields,
        hidden=(("name", name), ("created_at", created_at)),
        icon="trash",
        risky=True,
        reason=_reason(guest, rules.SNAPSHOT_DELETE) or ("" if found else _no_snapshot()),
    )

    def act() -> Job:
        children = is_on(request, "children")
        return snapshots.delete_snapshot(
            guest=guest, name=name, created_at=created_at, children=children, by=request.user
        )

    return dialog_page(request, dialog, act)


def _no_snapshot() -> str:
    return _("The guest has no such snapshot any more.")


# -- settings


@act_page
def guest_edit(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    dialog = Dialog(
        title=_("Edit %(name)s") % {"name": guest.name},
        button=_("Save"),
        crumbs=_crumbs(guest),
        fields=tuple(_settings_fields(guest)),
        icon="edit",
        word=_("Edit"),
        reason=_reason(guest, rules.SETTINGS),
    )
    return dialog_page(
        request,
        dialog,
        lambda: settings.edit_guest(guest=guest, changes=_changes(request), by=request.user),
    )


def _settings_fields(guest: Guest) -> Iterable[Field]:
    now, stored = settings_of(guest), stored_settings(guest)
    source = guest.host.source
    fixed = fixed_reason(source, "name")
    if not fixed and _runs(guest):
        fixed = _("Only a guest that is off can be renamed.")
    elif not fixed and guest.snapshot_count:
        fixed = _("A guest with snapshots keeps its name.")
    yield Field("name", _("Name"), guest.name, required=True, watched=True, longest=99, reason=fixed)
    yield Field("title", _("Title"), guest.title, watched=True, longest=rules.LONGEST_TITLE)
    yield Field("notes", _("Notes"), guest.notes, kind="area", watched=True, longest=rules.LONGEST_NOTES)
    label = _("Start it together with its host")
    yield Field("autostart", label, "on", kind="check", on=guest.autostart, watched=True)
    runs, most = _runs(guest), stored["most_memory_bytes"]
    hint = (
        _("Counts at once up to %(most)s; more, after the next start.") % {"most": format_bytes(most)} if runs else ""
    )
    yield Field(
        "memory_bytes",
        _("Memory"),
        size_text(stored["memory_bytes"]),
        kind="size",
        watched=True,
        hint=_now_words(now["memory_bytes"], stored["memory_bytes"], format_bytes) or hint,
    )
    hint = (
        _("Counts at once up to %(most)s; more, after the next start.") % {"most": stored["most_vcpus"]} if runs else ""
    )
    yield Field(
        "vcpus",
        _("vCPUs"),
        str(stored["vcpus"]),
        kind="number",
        watched=True,
        hint=_now_words(now["vcpus"], stored["vcpus"], str) or hint,
        reason=fixed_reason(source, "vcpus"),
    )
    hint = _("Up to here it can be given more while it runs.")
    yield Field("most_memory_bytes", _("Most memory"), size_text(most), kind="size", watched=True, hint=hint)
    yield Field(
        "most_vcpus",
        _("Most vCPUs"),
        str(stored["most_vcpus"]),
        kind="number",
        watched=True,
        hint=hint,
        reason=fixed_reason(source, "most_vcpus"),
    )


def _now_words(now: int, stored: int, write: Callable[[int], str]) -> str:
    if now == stored:
        return ""
    return _("%(now)s now, %(later)s after the next start.") % {"now": write(now), "later": write(stored)}


def _changes(request: HttpRequest) -> dict[str, Any]:
    """What the person changed. Raises: Invalid."""
    read: dict[str, Callable[[str, str], Any]] = {
        "memory_bytes": read_size,
        "most_memory_bytes": read_size,
        "vcpus": read_number,
        "most_vcpus": read_number,
        "autostart": lambda text, _name: bool(text),
    }
    changed = {name: text_of(request, name) for name in LABELS if is_changed(request, name)}
    return {name: read[name](text, name) if name in read else text for name, text in changed.items()}


# -- disks and CDs


@act_page
def guest_media(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    """Insert an ISO; by POST without one, eject."""
    target = _given(request, "target")
    isos = tuple(map(volume_option, isos_on(guest.host, user=request.user)))
    none = _("There is no ISO image in a started datastore of this host.")
    label = _("Even if the guest has locked the drive")
    dialog = Dialog(
        title=_("Insert a CD into %(target)s of %(name)s") % {"target": target, "name": guest.name},
        button=_("Insert"),
        crumbs=_crumbs(guest, "hardware"),
        fields=(
            Field("volume", _("ISO image"), kind="select", options=isos, required=True),
            Field("force", label, kind="check"),
        ),
        hidden=(("target", target),),
        reason=_reason(guest, rules.MEDIA) or ("" if isos else none),
    )

    def act() -> Job:
        volume = _chosen_volume(request) if request.POST.get("volume") else None
        force = is_on(request, "force")
        return devices.change_media(guest=guest, target=target, volume=volume, force=force, by=request.user)

    return dialog_page(request, dialog, act)


@act_page
def disk_add(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    makes = may(request.user, Action.PROVISION)
    disks = tuple(map(volume_option, disks_on(guest.host, user=request.user)))
    stores = tuple(_store_options(guest)) if makes else ()
    new = [Option("new", _("A new, empty volume"))] if stores else []
    fields = [Field("volume", _("Volume"), kind="select", options=(*new, *disks), required=True)]
    if stores:
        hint = _("For a new volume.")
        fields += [
            Field("capacity", _("Size"), "20 GiB", kind="size", hint=hint),
            Field("datastore", _("Datastore"), kind="select", options=stores, hint=_("With what is free in it.")),
            Field("format", _("Format"), kind="select", options=_plain(FORMATS)),
        ]
    fields.append(Field("bus", _("Bus"), kind="select", options=_plain(devices.BUSES), hint=_bus_hint(guest)))
    fields.append(Field("cache", _("Cache"), kind="select", options=(Option("", _("default")), *_plain(CACHES))))
    none = _("No datastore of this host has a volume that nobody uses.")
    dialog = Dialog(
        title=_("Add a disk to %(name)s") % {"name": guest.name},
        button=_("Add disk"),
        crumbs=_crumbs(guest, "hardware"),
        fields=tuple(fields),
        icon="plus",
        reason=_reason(guest, rules.DISK_ADD) or ("" if new or not all(one.reason for one in disks) else none),
    )
    return dialog_page(request, dialog, lambda: _add_disk(request, guest))


CACHES = tuple(one for one in devices.CACHES if one)


def _bus_hint(guest: Guest) -> str:
    return _("SATA and IDE disks of a guest that runs come at its next start.") if _runs(guest) else ""


def _add_disk(request: HttpRequest, guest: Guest) -> Job:
    bus, cache = text_of(request, "bus") or "virtio", text_of(request, "cache")
    if text_of(request, "volume") != "new":
        return devices.add_disk(guest=guest, volume=_chosen_volume(request), bus=bus, cache=cache, by=request.user)
    store: Datastore = _chosen(request, "datastore", Datastore, _("Choose a datastore."))
    return devices.create_disk(
        guest=guest,
        datastore=store,
        capacity_bytes=read_size(text_of(request, "capacity"), "capacity"),
        format=text_of(request, "format") or "qcow2",
        bus=bus,
        cache=cache,
        by=request.user,
    )


@act_page
def disk_grow(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    target = _given(request, "target")
    disk = Disk.objects.restrict(request.user, Action.VIEW).filter(guest=guest, target=target).first()
    size = disk.capacity_bytes if disk else None
    dialog = Dialog(
        title=_("Grow disk %(target)s of %(name)s") % {"target": target, "name": guest.name},
        button=_("Grow"),
        crumbs=_crumbs(guest, "hardware"),
        lead=_("It has %(size)s now. It cannot be made smaller again, and its content stays.")
        % {"size": format_bytes(size) or "?"},
        fields=(Field("capacity", _("New size"), size_text(size), kind="size", required=True),),
        hidden=(("target", target),),
        reason=_reason(guest, rules.DISK_GROW),
    )

    def act() -> Job:
        capacity = read_size(text_of(request, "capacity"), "capacity")
        try:
            return devices.grow_disk(guest=guest, target=target, capacity_bytes=capacity, by=request.user)
        except Invalid as error:
            raise Invalid(error.message, field="capacity") from error

    return dialog_page(request, dialog, act)


@act_page
def disk_remove(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    target = _given(request, "target")
    warnings = []
    if _runs(guest):
        warnings = [_("The guest runs: unmount what is on it first, or what it has not yet written is lost.")]
    dialog = Dialog(
        title=_("Remove disk %(target)s from %(name)s?") % {"target": target, "name": guest.name},
        button=_("Remove"),
        crumbs=_crumbs(guest, "hardware"),
        lead=_("Its volume stays in its datastore, with all that is on it, and can be added again."),
        warnings=tuple(warnings),
        hidden=(("target", target),),
        icon="x",
        risky=True,
        reason=_reason(guest, rules.DISK_REMOVE),
    )
    return dialog_page(request, dialog, lambda: devices.remove_disk(guest=guest, target=target, by=request.user))


def _store_options(guest: Guest) -> Iterable[Option]:
    """Started datastores of the guest's host in which volumes can be made."""
    for mount in devices.mounts_for(guest):
        if mount.datastore.kind not in READ_ONLY_KINDS:
            free = format_bytes(mount.datastore.available_bytes)
            yield Option(str(mount.datastore_id), f"{mount.datastore.name} ({free})")


def volume_option(offer: Offer) -> Option:
    volume, store = offer.volume, offer.mount.datastore
    words = {"name": volume.name, "store": store.name, "size": format_bytes(volume.capacity_bytes)}
    return Option(str(volume.pk), _("%(store)s: %(name)s (%(size)s)") % words, offer.reason)


def _chosen_volume(request: HttpRequest) -> Volume:
    """Raises: Invalid."""
    return _chosen(request, "volume", Volume, _("Choose a volume."))  # type: ignore[no-any-return]


def _chosen(request: HttpRequest, name: str, model: Any, words: str) -> Any:
    """What was chosen in a list, as this user sees it. Raises: Invalid."""
    try:
        pk = UUID(text_of(request, name))
    except ValueError:
        raise Invalid(words, field=name) from None
    row = model.objects.restrict(request.user, Action.VIEW).filter(pk=pk).first()
    if row is None:
        raise Invalid(words, field=name)
    return row


def _plain(words: Iterable[str]) -> tuple[Option, ...]:
    return tuple(Option(word, word) for word in words)


# -- network adapters


@act_page
def nic_add(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    plugs = tuple(_plug_options(request.user, guest))
    dialog = Dialog(
        title=_("Add a NIC to %(name)s") % {"name": guest.name},
        button=_("Add NIC"),
        crumbs=_crumbs(guest, "hardware"),
        fields=(
            Field("plug", _("Virtual switch and port group"), kind="select", options=plugs, required=True),
            Field("model", _("Model"), kind="select", options=_plain(devices.MODELS)),
            Field("link_up", _("Link up"), kind="check", on=True),
        ),
        icon="plus",
        reason=_reason(guest, rules.NIC_ADD) or ("" if plugs else _no_switch()),
    )

    def act() -> Job:
        switch, port_group = _chosen_plug(request)
        return devices.add_nic(
            guest=guest,
            switch=switch,
            port_group=port_group,
            model=text_of(request, "model") or "virtio",
            link_up=is_on(request, "link_up"),
            by=request.user,
        )

    return dialog_page(request, dialog, act)


@act_page
def nic_change(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    """Plug it in elsewhere. A form with `link` alone switches the link."""
    mac = _given(request, "mac")
    nic = Nic.objects.restrict(request.user, Action.VIEW).filter(guest=guest, mac__iexact=mac).first()
    dialog = Dialog(
        title=_("Plug NIC %(mac)s of %(name)s in elsewhere") % {"mac": mac, "name": guest.name},
        button=_("Plug in"),
        crumbs=_crumbs(guest, "hardware"),
        fields=(
            Field(
                "plug",
                _("Virtual switch and port group"),
                _plug_value(nic) if nic else "",
                kind="select",
                options=tuple(_plug_options(request.user, guest)),
                required=True,
            ),
            Field("link_up", _("Link up"), kind="check", on=nic.link_up if nic else True),
        ),
        hidden=(("mac", mac),),
        icon="plug",
        reason=_reason(guest, rules.NIC_CHANGE),
    )

    def act() -> Job:
        link = text_of(request, "link")
        if link:
            return devices.change_nic(guest=guest, mac=mac, link_up=link == "up", by=request.user)
        switch, group = _chosen_plug(request)
        link_up = is_on(request, "link_up")
        return devices.change_nic(
            guest=guest, mac=mac, switch=switch, port_group=group, link_up=link_up, by=request.user
        )

    return dialog_page(request, dialog, act)


@act_page
def nic_remove(request: HttpRequest, guest: Guest) -> HttpResponseBase:
    mac = _given(request, "mac")
    dialog = Dialog(
        title=_("Remove NIC %(mac)s from %(name)s?") % {"mac": mac, "name": guest.name},
        button=_("Remove"),
        crumbs=_crumbs(guest, "hardware"),
        lead=_("The guest loses this connection. A NIC that is added later has another MAC address."),
        hidden=(("mac", mac),),
        icon="x",
        risky=True,
        reason=_reason(guest, rules.NIC_REMOVE),
    )
    return dialog_page(request, dialog, lambda: devices.remove_nic(guest=guest, mac=mac, by=request.user))


def _plug_options(user: Any, guest: Guest) -> Iterable[Option]:
    """Each switch of the host, and each of its port groups. The value holds the switch's id and the group's name."""
    switches = list(devices.switches_for(guest)[:OFFERED])
    rows = PortGroup.objects.restrict(user, Action.VIEW).filter(switch__in=switches).order_by("name")
    groups: dict[UUID, list[str]] = {}
    for switch_id, name in rows.values_list("switch", "name"):
        groups.setdefault(switch_id, []).append(name)
    for switch in switches:
        yield Option(f"{switch.pk}/", switch.name)
        for name in groups.get(switch.pk, []):
            yield Option(f"{switch.pk}/{name}", f"{switch.name} · {name}")


def _plug_value(nic: Nic) -> str:
    return f"{nic.switch_id}/{nic.port_group}" if nic.switch_id else ""


def _chosen_plug(request: HttpRequest) -> tuple[VirtualSwitch, str]:
    """Raises: Invalid."""
    words, (switch_id, _slash, group) = _("Choose a virtual switch."), text_of(request, "plug").partition("/")
    try:
        pk = UUID(switch_id)
    except ValueError:
        raise Invalid(words, field="plug") from None
    switch = VirtualSwitch.objects.restrict(request.user, Action.VIEW).filter(pk=pk).first()
    if switch is None:
        raise Invalid(words, field="plug")
    return switch, group


def _no_switch() -> str:
    return _("This host has no virtual switch.")


# -- the way back, and what goes on


@require_POST
def task_undo(request: HttpRequest, task_id: UUID) -> HttpResponseBase:
    """Set what a task changed to what it was."""
    job = get_object_or_404(job_list(user=request.user), pk=task_id)
    require(request.user, Action.CONFIGURE)
    try:
        undone = undo.undo_act(job=job, by=request.user)
    except Refused as error:
        messages.error(request, error.message)
        return redirect(task_url(job))
    messages.success(request, asked_sentence(undone))
    return redirect("guest_page", job.target_id)


@require_safe
def guest_now(request: HttpRequest, guest_id: UUID) -> HttpResponseBase:
    """What goes on with a guest, what was just done, and what waits for its next start."""
    return render(request, "guests/_guest_now.html", {"guest": visible_guest(request.user, guest_id)})


DIALOGS: dict[str, tuple[str, Callable[..., HttpResponseBase]]] = {
    "snapshot_create": ("snapshots/take", snapshot_create),
    "snapshot_revert": ("snapshots/revert", snapshot_revert),
    "snapshot_delete": ("snapshots/delete", snapshot_delete),
    "guest_edit": ("edit", guest_edit),
    "guest_media": ("media", guest_media),
    "disk_add": ("disks/add", disk_add),
    "disk_grow": ("disks/grow", disk_grow),
    "disk_remove": ("disks/remove", disk_remove),
    "nic_add": ("nics/add", nic_add),
    "nic_change": ("nics/change", nic_change),
    "nic_remove": ("nics/remove", nic_remove),
}
"""By name: the address below the guest's."""

urlpatterns = [
    *(path(f"guests/<uuid:guest_id>/{place}/", view, name=name) for name, (place, view) in DIALOGS.items()),
    path("guests/<uuid:guest_id>/now/", guest_now, name="guest_now"),
    path("tasks/<uuid:task_id>/undo/", task_undo, name="task_undo"),
]
