"""What a person does with datastores and volumes."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from access.models import require
from access.roles import Action
from console.dialogs import Dialog, Field, Option, dialog_page, is_on, read_size, size_text, text_of
from console.forms import errors_of, values_of
from core.errors import Forbidden, Invalid, Refused
from core.units import format_bytes
from inventory.acts.volumes import directory_sentence, reason_to_keep, submit_volume_delete, submit_volume_grow
from operations.models import Job
from storage import acts
from storage.models import Datastore, DatastoreMount, Volume
from storage.naming import volume_name_like
from storage.uploads import own_uploads

ASKED = ["GET", "HEAD", "POST"]
# What stopping one means; the other acts need no question.
CONSEQUENCES = {
    acts.MountAct.STOP: gettext_lazy("The host lets go of it. Its volumes stay; no guest there can use them."),
}


def _store(request: HttpRequest, pk: UUID) -> Datastore:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.PROVISION)
    return get_object_or_404(Datastore.objects.restrict(request.user, Action.PROVISION), pk=pk)


def _volume(request: HttpRequest, pk: UUID) -> Volume:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.PROVISION)
    rows = Volume.objects.restrict(request.user, Action.PROVISION).select_related("datastore")
    return get_object_or_404(rows, pk=pk)


def _crumbs(store: Datastore) -> list[tuple[str, str]]:
    return [
        (_("Datastores"), reverse("datastore_list")),
        (store.name, reverse("datastore_tab", args=[store.pk, "volumes"])),
    ]


@require_http_methods(ASKED)
def volume_new(request: HttpRequest, datastore_id: UUID) -> HttpResponseBase:
    store = _store(request, datastore_id)
    formats = tuple(Option(one, one) for one in acts.FORMATS)
    dialog = Dialog(
        title=_("New volume in %(name)s") % {"name": store.name},
        button=_("Create"),
        crumbs=_crumbs(store),
        lead=_("%(free)s are free.") % {"free": format_bytes(store.available_bytes)},
        fields=(
            Field("name", _("Name"), required=True, longest=199),
            Field("capacity_bytes", _("Size"), value="20 GiB", kind="size", required=True, longest=20),
            Field("format", _("Format"), value="qcow2", kind="select", options=formats),
            Field("preallocate", _("Take its room at once"), kind="check"),
        ),
        icon="plus",
    )

    def act() -> Job:
        return acts.submit_volume_create(
            datastore=store,
            name=text_of(request, "name"),
            capacity_bytes=read_size(text_of(request, "capacity_bytes"), "capacity_bytes"),
            format=text_of(request, "format"),
            preallocate=is_on(request, "preallocate"),
            by=request.user,
        )

    return dialog_page(request, dialog, act)


@require_http_methods(ASKED)
def volume_upload(request: HttpRequest, datastore_id: UUID) -> HttpResponseBase:
    """Send a file, then have a task write it into the datastore."""
    store = _store(request, datastore_id)
    values = values_of(request, "upload", "name")
    if request.method != "POST":
        return _upload_form(request, store, values)
    try:
        job = _submit_upload(request, store, values)
    except Forbidden:
        raise
    except Refused as error:
        return _upload_form(request, store, values, error)
    messages.success(request, _("The file is here; now it is written to %(name)s.") % {"name": store.name})
    return redirect("task_page", job.pk)


def _submit_upload(request: HttpRequest, store: Datastore, values: dict[str, str]) -> Job:
    """Raises: Refused."""
    try:
        upload = own_uploads(user=request.user).filter(pk=UUID(values["upload"])).first()
    except ValueError:
        upload = None
    if upload is None:
        raise Invalid(_("Choose a file, and wait until it is sent."), field="upload")
    name = values["name"] or volume_name_like(upload.name)
    return acts.submit_volume_upload(upload=upload, datastore=store, name=name, by=request.user)


def _upload_form(
    request: HttpRequest, store: Datastore, values: dict[str, str], error: Refused | None = None
) -> HttpResponseBase:
    errors = errors_of(error) if error else {}
    context = {
        "datastore": store,
        "values": values,
        "errors": errors,
        "form_error": " ".join(words for name, words in errors.items() if name not in values),
    }
    status = 200 if error is None else 400 if isinstance(error, Invalid) else 409
    return render(request, "storage/volume_upload.html", context, status=status)


@require_http_methods(ASKED)
def volume_grow(request: HttpRequest, volume_id: UUID) -> HttpResponseBase:
    volume = _volume(request, volume_id)
    size = Field(
        "capacity_bytes",
        _("New size"),
        value=size_text(volume.capacity_bytes),
        kind="size",
        required=True,
        longest=40,
        hint=_("A volume only grows: it has %(size)s now.") % {"size": format_bytes(volume.capacity_bytes)},
    )
    dialog = Dialog(
        title=_("Grow %(name)s") % {"name": volume.name},
        button=_("Grow"),
        crumbs=_crumbs(volume.datastore),
        fields=(size,),
        icon="plus",
        reason=directory_sentence(volume) if volume.is_directory else "",
    )

    def act() -> Job:
        wanted = read_size(text_of(request, "capacity_bytes"), "capacity_bytes")
        return submit_volume_grow(volume=volume, capacity_bytes=wanted, by=request.user)

    return dialog_page(request, dialog, act)


@require_http_methods(ASKED)
def volume_delete(request: HttpRequest, volume_id: UUID) -> HttpResponseBase:
    volume = _volume(request, volume_id)
    dialog = Dialog(
        title=_("Delete %(name)s?") % {"name": volume.name},
        button=_("Delete"),
        crumbs=_crumbs(volume.datastore),
        lead=_("%(size)s with all that is on them; nothing brings them back.")
        % {"size": format_bytes(volume.capacity_bytes)},
        fields=(Field("confirmation", _("Type the volume's name to confirm"), required=True, longest=255),),
        icon="trash",
        risky=True,
        reason=reason_to_keep(volume),
    )

    def act() -> Job:
        return submit_volume_delete(volume=volume, confirmation=text_of(request, "confirmation"), by=request.user)

    return dialog_page(request, dialog, act)


@require_http_methods(ASKED)
def datastore_switch(request: HttpRequest, mount_id: UUID, action: str) -> HttpResponseBase:
    """Start, stop, refresh or autostart of a datastore on one host."""
    require(request.user, Action.PROVISION)
    if action not in set(acts.MountAct):
        raise Http404
    rows = DatastoreMount.objects.restrict(request.user, Action.PROVISION).select_related("host__source", "datastore")
    mount = get_object_or_404(rows, pk=mount_id)
    wanted = acts.MountAct(action)
    words = {"act": acts.MOUNT_ACTS[wanted], "name": mount.datastore.name, "host": mount.host.name}
    dialog = Dialog(
        title=_("%(act)s: %(name)s on %(host)s") % words,
        button=str(acts.MOUNT_ACTS[wanted]),
        crumbs=[
            (_("Datastores"), reverse("datastore_list")),
            (mount.datastore.name, reverse("datastore_page", args=[mount.datastore_id])),
        ],
        lead=str(CONSEQUENCES.get(wanted, "")),
        risky=wanted is acts.MountAct.STOP,
    )
    return dialog_page(
        request, dialog, lambda: acts.submit_datastore_switch(mount=mount, action=wanted, by=request.user)
    )


urlpatterns = [
    path("datastores/<uuid:datastore_id>/new-volume/", volume_new, name="volume_new"),
    path("datastores/<uuid:datastore_id>/upload/", volume_upload, name="volume_upload"),
    path("volumes/<uuid:volume_id>/grow/", volume_grow, name="volume_grow"),
    path("volumes/<uuid:volume_id>/delete/", volume_delete, name="volume_delete"),
    path("mounts/<uuid:mount_id>/<slug:action>/", datastore_switch, name="datastore_switch"),
]
