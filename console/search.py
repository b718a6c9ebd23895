"""Searching everything: the page of all results, and the few that show while one types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.areas import Tab
from console.tables import cells, datastores, guests, hosts, sources, switches, tags
from core.lists import ListError, Text
from inventory.find import EVERY_KIND, Result, Search, cursor_of, read_cursor
from inventory.places import place_of
from labels.models import Tag, Tagged
from labels.selectors import tags_of_many
from search.models import Kind

PAGE_SIZE = 50
SUGGESTED = 5  # of each kind

Tags = dict[tuple[str, UUID], list[Tag]]  # by kind and id

STATES: dict[Kind, Callable[[Any], SafeString | str]] = {
    Kind.GUEST: guests.state_cell,
    Kind.HOST: hosts.state_cell,
    Kind.DATASTORE: datastores.state_cell,
    Kind.SWITCH: switches.state_cell,
    Kind.SOURCE: sources.plain_state_cell,
    Kind.CLUSTER: lambda _row: "",
    Kind.DATACENTER: lambda _row: "",
}
ICONS = {
    Kind.GUEST: "device-desktop",
    Kind.HOST: "server-2",
    Kind.DATASTORE: "database",
    Kind.SWITCH: "network",
    Kind.SOURCE: "plug",
    Kind.CLUSTER: "affiliate",
    Kind.DATACENTER: "building",
}
LABELS: dict[Kind, Text] = {
    Kind.GUEST: gettext_lazy("Guests"),
    Kind.HOST: gettext_lazy("Hosts"),
    Kind.DATASTORE: gettext_lazy("Datastores"),
    Kind.SWITCH: gettext_lazy("Virtual switches"),
    Kind.SOURCE: gettext_lazy("Sources"),
    Kind.CLUSTER: gettext_lazy("Clusters"),
    Kind.DATACENTER: gettext_lazy("Datacenters"),
}
ONE: dict[Kind, Text] = {
    Kind.GUEST: gettext_lazy("Guest"),
    Kind.HOST: gettext_lazy("Host"),
    Kind.DATASTORE: gettext_lazy("Datastore"),
    Kind.SWITCH: gettext_lazy("Virtual switch"),
    Kind.SOURCE: gettext_lazy("Source"),
    Kind.CLUSTER: gettext_lazy("Cluster"),
    Kind.DATACENTER: gettext_lazy("Datacenter"),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One object as results show it. `where` is what it is on or in, with that object's address if it has a page."""

    id: str
    name: str
    url: str
    icon: str
    kind: Text
    state: SafeString | str
    where: str
    where_url: str
    tags: SafeString | str


@dataclass(frozen=True, slots=True)
class Group:
    """The best results of one kind; `url` leads to all of them if there are more."""

    label: Text
    name: str
    results: list[Shown]
    url: str


@require_safe
def search_page(request: HttpRequest) -> HttpResponse:
    """All results, best first; `kind` keeps to one kind."""
    require(request.user, Action.VIEW)
    text, kind = request.GET.get("q", ""), request.GET.get("kind", "")
    kinds = EVERY_KIND if not kind else tuple(one for one in Kind if one.label == kind)
    if not kinds:
        raise Http404
    context: dict[str, Any] = {
        "search_text": text,
        "tabs": _tabs(text, kind),
        "results": [],
        "next_url": "",
        "error": "",
    }
    try:
        search = Search(text, user=request.user)
        after = read_cursor(request.GET.get("cursor", ""), text)
        found = search.results(kinds, after=after, most=PAGE_SIZE + 1)
    except ListError as error:
        context["error"] = str(error)
        return render(request, "console/search_page.html", context, status=HTTPStatus.BAD_REQUEST)
    context |= {
        "results": _shown(found[:PAGE_SIZE], search, request.user),
        "is_short": search.query.is_short,
        "is_first": not after,
    }
    if len(found) > PAGE_SIZE:
        context["next_url"] = _address(text, kind, cursor_of(found[PAGE_SIZE - 1].hit, text))
    return render(request, "console/search_page.html", context)


@require_safe
def search_suggestions(request: HttpRequest) -> HttpResponse:
    """The best results of each kind while one types: a fragment."""
    require(request.user, Action.VIEW)
    text = request.GET.get("q", "")
    context: dict[str, Any] = {"search_text": text, "groups": [], "all_url": _address(text, "", ""), "error": ""}
    try:
        context["groups"] = _groups(Search(text, user=request.user), text, request.user)
    except ListError as error:
        context["error"] = str(error)
    context["count"] = sum(len(group.results) for group in context["groups"])
    return render(request, "console/_suggestions.html", context)


def _groups(search: Search, text: str, user: Any) -> list[Group]:
    """Kinds in the order of their best results."""
    by_kind = [search.results((kind,), most=SUGGESTED + 1) for kind in EVERY_KIND]
    ordered = sorted(filter(None, by_kind), key=lambda found: found[0].hit)
    tagged = _tags_of([one for found in ordered for one in found], search, user)
    return [_group(found, text, tagged) for found in ordered]


def _group(found: list[Result], text: str, tagged: Tags) -> Group:
    kind = found[0].kind
    url = _address(text, kind.label, "") if len(found) > SUGGESTED else ""
    results = [_result(one, tags.plain_chips(_of(one, tagged), tags.SHOWN_SHORT)) for one in found[:SUGGESTED]]
    return Group(LABELS[kind], kind.label, results, url)


def _shown(found: list[Result], search: Search, user: Any) -> list[Shown]:
    tagged = _tags_of(found, search, user)
    return [_result(one, _chips(one, tagged)) for one in found]


def _chips(found: Result, tagged: Tags) -> SafeString | str:
    mine = _of(found, tagged)
    return tags.chips(mine, Tagged(found.kind.label), tags.SHOWN) if mine else ""


def _tags_of(found: list[Result], search: Search, user: Any) -> Tags:
    """By name, those first by which an object was found."""
    tagged = tags_of_many(((one.kind.label, one.row.pk) for one in found), user=user)
    for mine in tagged.values():
        mine.sort(key=lambda tag: not any(word in tag.name_key for word in search.query.words))
    return tagged


def _of(found: Result, tagged: Tags) -> list[Tag]:
    return tagged.get((found.kind.label, found.row.pk), [])


def _result(found: Result, chips: SafeString | str) -> Shown:
    kind, row = found.kind, found.row
    place = place_of(kind, row)
    return Shown(
        id=f"{kind.label}-{row.pk}",
        name=row.name,
        url=cells.page_url(kind.label, row.pk),
        icon=ICONS[kind],
        kind=ONE[kind],
        state=STATES[kind](row),
        where=place.name if place else "",
        where_url=cells.page_url(place.kind, place.id) if place else "",
        tags=chips,
    )


def _tabs(text: str, kind: str) -> list[Tab]:
    """All kinds, and each by itself."""
    labels: list[tuple[str, Text]] = [("", _("Everything")), *((one.label, LABELS[one]) for one in Kind)]
    return [Tab(name, label, _address(text, name, ""), name == kind) for name, label in labels]


def _address(text: str, kind: str, cursor: str) -> str:
    asked = {"q": text, "kind": kind, "cursor": cursor}
    return f"{reverse('search')}?{urlencode({name: value for name, value in asked.items() if value})}"


urlpatterns = [
    path("search/", search_page, name="search"),
    path("search/suggestions/", search_suggestions, name="search_suggestions"),
]
