"""Tags: the list, the page of one with all that has it, and acts on it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from access.models import require
from access.roles import Action
from console.areas import tabs
from console.choosing import Choice, choose_page
from console.forms import delete_page, form_page, values_of
from console.listing import list_response
from console.tables.datastores import datastore_rows, datastore_spec
from console.tables.guests import guest_rows, guest_spec
from console.tables.hosts import host_rows, host_spec
from console.tables.switches import switch_rows, switch_spec
from console.tables.tags import LABELS, TABS, tag_spec, tag_url
from console.tagging import number_of, objects_to_tag
from core.errors import Refused
from labels import services
from labels.models import ENTRIES, Color, Tag, Tagged
from labels.selectors import tag_list as tag_rows

ASKED = ["GET", "HEAD", "POST"]
KINDS = {name: kind for kind, name in TABS.items()}


@require_safe
def tag_list(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.VIEW)
    context = {
        "heading": _("Tags"),
        "empty_icon": "tag",
        "empty_title": _("No tags yet."),
        "empty_hint": _("Tags are made by putting them on guests, hosts, datastores and virtual switches."),
    }
    spec, rows = tag_spec(user=request.user), tag_rows(user=request.user)
    return list_response(request, spec, rows, template="tags/tag_list.html", context=context)


@require_safe
def tag_page(request: HttpRequest, pk: UUID, tab: str = "guests") -> HttpResponseBase:
    """All of one kind that has a tag."""
    require(request.user, Action.VIEW)
    if tab not in KINDS:
        raise Http404
    tag, kind = get_object_or_404(tag_rows(user=request.user), pk=pk), KINDS[tab]
    spec, rows = _list_of(kind, request.user)
    having = ENTRIES[kind].objects.restrict(request.user, Action.VIEW).filter(tag=tag)
    labels = [(name, LABELS[one], getattr(tag, f"{one}_count")) for one, name in TABS.items()]
    context = {
        "heading": tag.name,
        "tag": tag,
        "kind": kind.value,
        "assign_label": _assign_label(kind),
        "tabs": tabs("tag", tag.pk, tab, labels),
        "empty_icon": "tag",
        "empty_title": _("None of them has this tag."),
    }
    live = f"{tab} tag:{tag.pk} loads"
    return list_response(
        request,
        spec,
        rows.filter(pk__in=having.values(kind.value)),
        template="tags/tag_page.html",
        context=context,
        live=live,
    )


def _list_of(kind: Tagged, user: Any) -> tuple[Any, QuerySet[Any]]:
    if kind == Tagged.GUEST:
        return guest_spec(user=user), guest_rows(user=user)
    if kind == Tagged.HOST:
        return host_spec(user=user), host_rows(user=user)
    if kind == Tagged.DATASTORE:
        return datastore_spec(user=user), datastore_rows(user=user)
    return switch_spec(user=user), switch_rows(user=user)


def _assign_label(kind: Tagged) -> str:
    return {
        Tagged.GUEST: _("Put on guests…"),
        Tagged.HOST: _("Put on hosts…"),
        Tagged.DATASTORE: _("Put on datastores…"),
        Tagged.SWITCH: _("Put on virtual switches…"),
    }[kind]


# -- names and colors


def _managed(request: HttpRequest, rows: QuerySet[Tag], pk: UUID) -> Tag:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    return get_object_or_404(rows, pk=pk)


@require_http_methods(ASKED)
def tag_add(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.SOURCES)
    context: dict[str, Any] = {
        "title": _("New tag"),
        "button": _("Create"),
        "back": reverse("tag_list"),
        "colors": [("", _("the next one")), *Color.choices],
    }
    if request.method != "POST":
        return form_page(request, "tags/tag_form.html", {"name": "", "color": ""}, **context)
    values = values_of(request, "name", "color")
    try:
        tag = services.create_tag(**values, by=request.user)
    except Refused as error:
        return form_page(request, "tags/tag_form.html", values, error, **context)
    messages.success(request, _("The tag %(name)s is there; put it on what it is for.") % {"name": tag.name})
    return redirect("tag_page", tag.pk)


@require_http_methods(ASKED)
def tag_edit(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Ask for a name and a color; by POST, give them to the tag."""
    tag = _managed(request, Tag.objects.restrict(request.user, Action.VIEW), pk)
    context: dict[str, Any] = {
        "tag": tag,
        "title": _("Edit tag"),
        "button": _("Save"),
        "back": tag_url(tag.pk),
        "colors": Color.choices,
    }
    if request.method != "POST":
        return form_page(request, "tags/tag_form.html", {"name": tag.name, "color": tag.color}, **context)
    values = values_of(request, "name", "color")
    try:
        services.change_tag(tag=tag, name=values["name"], color=values["color"] or None, by=request.user)
    except Refused as error:
        return form_page(request, "tags/tag_form.html", values, error, **context)
    messages.success(request, _("The tag was changed."))
    return redirect("tag_page", tag.pk)


@require_http_methods(ASKED)
def tag_delete(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    tag = _managed(request, tag_rows(user=request.user), pk)
    return delete_page(
        request,
        lambda: services.delete_tag(tag=tag, by=request.user),
        row=tag,
        crumb=(_("Tags"), reverse("tag_list")),
        back=tag_url(tag.pk),
        to=reverse("tag_list"),
        consequence=_consequence(tag),
        question=_("Delete the tag %(name)s?") % {"name": tag.name},
        done=_("The tag %(name)s is deleted.") % {"name": tag.name},
    )


def _consequence(tag: Tag) -> str:
    counts = {kind: int(getattr(tag, f"{kind}_count")) for kind in Tagged}
    parts = [number_of(kind, n) for kind, n in counts.items() if n]
    if not parts:
        return _("Nothing has this tag.")
    words = _(
        "It is taken off %(what)s. Nothing else changes on them. What was tagged is kept nowhere: there is no undo."
    )
    return words % {"what": ", ".join(parts)}


# -- what has it


# What tells one from others of its name.
_PLACES = {
    Tagged.GUEST: "host",
    Tagged.HOST: "datacenter",
    Tagged.DATASTORE: "datacenter",
    Tagged.SWITCH: "host",
}


@require_http_methods(ASKED)
def tag_assign(request: HttpRequest, pk: UUID, kind: str) -> HttpResponseBase:
    """Choose among what has not got the tag; by POST, put it on."""
    return _choose(request, pk, kind, off=False)


@require_http_methods(ASKED)
def tag_release(request: HttpRequest, pk: UUID, kind: str) -> HttpResponseBase:
    """Choose among what has the tag; by POST, take it off."""
    return _choose(request, pk, kind, off=True)


def _choose(request: HttpRequest, pk: UUID, kind: str, *, off: bool) -> HttpResponseBase:
    require(request.user, Action.CONFIGURE)
    if kind not in Tagged.values:
        raise Http404
    of, user = Tagged(kind), request.user
    tag = get_object_or_404(Tag.objects.restrict(user, Action.VIEW), pk=pk)
    having = ENTRIES[of].objects.restrict(user, Action.VIEW).filter(tag=tag).values(kind)
    rows = objects_to_tag(of, user).select_related(_PLACES[of])

    def act(chosen: list[UUID]) -> list[UUID]:
        way: dict[str, Any] = {"remove_tags": [tag.pk]} if off else {"add_tags": [tag.pk]}
        return chosen[: services.change_tags(kind=kind, ids=chosen, **way, by=user)]

    def done(n: int) -> str:
        text = _("%(name)s was taken off %(what)s.") if off else _("%(name)s was put on %(what)s.")
        return text % {"name": tag.name, "what": number_of(of, n)}

    choice = Choice(
        field="ids",
        title=(_("What loses the tag %(name)s?") if off else _("What gets the tag %(name)s?")) % {"name": tag.name},
        button=_("Take off") if off else _("Put on"),
        crumbs=[(_("Tags"), reverse("tag_list")), (tag.name, tag_url(tag.pk, of))],
        rows=rows.filter(pk__in=having) if off else rows.exclude(pk__in=having),
        act=act,
        done=done,
        hint=lambda row: str(getattr(row, _PLACES[of]).name),
    )
    return choose_page(request, choice)


urlpatterns = [
    path("tags/", tag_list, name="tag_list"),
    path("tags/add/", tag_add, name="tag_add"),
    path("tags/<uuid:pk>/", tag_page, name="tag_page"),
    path("tags/<uuid:pk>/edit/", tag_edit, name="tag_edit"),
    path("tags/<uuid:pk>/delete/", tag_delete, name="tag_delete"),
    path("tags/<uuid:pk>/put-on/<slug:kind>/", tag_assign, name="tag_assign"),
    path("tags/<uuid:pk>/take-off/<slug:kind>/", tag_release, name="tag_release"),
    path("tags/<uuid:pk>/<slug:tab>/", tag_page, name="tag_tab"),
]
