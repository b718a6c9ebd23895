"""Folders of guests: the page of one, and acts on it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from access.models import require
from access.roles import Action
from console.choosing import OFFERED, Choice, choose_page
from console.listing import list_response
from console.organization import ASKED, delete_place, managed_datacenter, name_page
from console.tables.guests import guest_rows, guest_spec
from core.models import by_name
from inventory import folders
from inventory.models import Folder, Guest


@require_safe
def folder_page(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The guests directly in a folder, and the folders in it."""
    require(request.user, Action.VIEW)
    folder = get_object_or_404(folders.folder_list(user=request.user), pk=pk)
    inner = folders.folder_list(user=request.user).filter(parent=folder).order_by(by_name(), "id")
    context = {"heading": folder.name, "folder": folder, "inner": list(inner[:OFFERED]), "crumbs": _crumbs(folder)[:-1]}
    rows = guest_rows(user=request.user).filter(folder_entry__folder=folder)
    template, live = "places/folder_page.html", "guests hosts folders loads"
    spec = guest_spec(user=request.user)
    return list_response(request, spec, rows, template=template, context=context, live=live)


def _crumbs(folder: Folder) -> list[tuple[str, str]]:
    """From the datacenter to the folder itself: names and addresses."""
    inside = [(one.name, reverse("folder_page", args=[one.pk])) for one in folders.path_of(folder)]
    return [(folder.datacenter.name, reverse("datacenter_page", args=[folder.datacenter_id])), *inside]


def _managed(request: HttpRequest, pk: UUID) -> Folder:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    rows = Folder.objects.restrict(request.user, Action.SOURCES).select_related("datacenter", "parent")
    return get_object_or_404(rows, pk=pk)


@require_http_methods(ASKED)
def folder_add(
    request: HttpRequest, datacenter_id: UUID | None = None, folder_id: UUID | None = None
) -> HttpResponseBase:
    """A folder in a datacenter, or in another folder."""
    parent = _managed(request, folder_id) if folder_id else None
    datacenter = parent.datacenter if parent else managed_datacenter(request, datacenter_id or UUID(int=0))
    back = reverse("folder_page", args=[parent.pk]) if parent else reverse("datacenter_page", args=[datacenter.pk])
    return name_page(
        request,
        lambda name: folders.create_folder(datacenter=datacenter, parent=parent, name=name, by=request.user),
        _("%(name)s is there; add guests to it."),
        "folder",
        title=_("New folder"),
        button=_("Create"),
        place=datacenter,
        hint=_("For guests, however you sort them. Nothing changes on the hosts."),
        back=back,
    )


@require_http_methods(ASKED)
def folder_rename(request: HttpRequest, folder_id: UUID) -> HttpResponseBase:
    folder = _managed(request, folder_id)
    return name_page(
        request,
        lambda name: folders.rename_folder(folder=folder, name=name, by=request.user),
        _("It is named %(name)s now."),
        "folder",
        folder.name,
        title=_("Rename folder"),
        button=_("Rename"),
        place=folder.datacenter,
        back=reverse("folder_page", args=[folder.pk]),
    )


@require_http_methods(ASKED)
def folder_delete(request: HttpRequest, folder_id: UUID) -> HttpResponseBase:
    folder = _managed(request, folder_id)
    above = _crumbs(folder)[-2]
    consequence = _("Its guests stay: they go to %(above)s. Only a folder without folders in it can be deleted.")
    return delete_place(
        request,
        lambda: folders.delete_folder(folder=folder, by=request.user),
        folder,
        to=above[1],
        consequence=consequence % {"above": above[0]},
        back=reverse("folder_page", args=[folder.pk]),
    )


@require_http_methods(ASKED)
def folder_assign(request: HttpRequest, folder_id: UUID) -> HttpResponseBase:
    """Choose among the guests of the datacenter; by POST, put them into the folder."""
    folder = _managed(request, folder_id)

    def done(n: int) -> str:
        text = ngettext("%(n)d guest was added to %(name)s.", "%(n)d guests were added to %(name)s.", n)
        return text % {"n": n, "name": folder.name}

    return _choose(
        request,
        folder,
        title=_("Add guests to %(name)s") % {"name": folder.name},
        button=_("Add"),
        rows=_guests(request).filter(datacenter=folder.datacenter_id).exclude(folder_entry__folder=folder),
        act=lambda chosen: folders.assign_guests(guests=chosen, folder=folder, by=request.user),
        done=done,
    )


@require_http_methods(ASKED)
def folder_release(request: HttpRequest, folder_id: UUID) -> HttpResponseBase:
    """Choose among the guests of the folder; by POST, take them out."""
    folder = _managed(request, folder_id)

    def done(n: int) -> str:
        text = ngettext("%(n)d guest was taken out of %(name)s.", "%(n)d guests were taken out of %(name)s.", n)
        return text % {"n": n, "name": folder.name}

    return _choose(
        request,
        folder,
        title=_("Take guests out of %(name)s") % {"name": folder.name},
        button=_("Take out"),
        rows=_guests(request).filter(folder_entry__folder=folder),
        act=lambda chosen: folders.release_guests(guests=chosen, folder=folder, by=request.user),
        done=done,
    )


def _choose(request: HttpRequest, folder: Folder, **choice: Any) -> HttpResponseBase:
    return choose_page(
        request, Choice(field="guests", crumbs=_crumbs(folder), hint=lambda guest: guest.host.name, **choice)
    )


def _guests(request: HttpRequest) -> QuerySet[Guest]:
    return Guest.objects.restrict(request.user, Action.SOURCES).filter(missing_since=None).select_related("host")


urlpatterns = [
    path("folders/<uuid:pk>/", folder_page, name="folder_page"),
    path("datacenters/<uuid:datacenter_id>/add-folder/", folder_add, name="datacenter_folder_add"),
    path("folders/<uuid:folder_id>/add-folder/", folder_add, name="folder_add"),
    path("folders/<uuid:folder_id>/rename/", folder_rename, name="folder_rename"),
    path("folders/<uuid:folder_id>/delete/", folder_delete, name="folder_delete"),
    path("folders/<uuid:folder_id>/add-guests/", folder_assign, name="folder_assign"),
    path("folders/<uuid:folder_id>/take-out-guests/", folder_release, name="folder_release"),
]
