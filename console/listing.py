"""A list on a page: what the URL asks for, one page of rows, and links to the other ways to see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from access.models import may
from access.roles import Action
from console.exports import FORMATS, export_response
from console.tagging import tag_found
from core.lists import LAST, PAGE_SIZE, Column, Filter, ListError, ListSpec, Page, Sort, Term, Text
from labels.models import Tagged

TAG = "tag"  # an act on all that a list finds

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Header:
    """A column's head: where a click on it leads."""

    column: Column[Any]
    url: str
    aria_sort: str


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    label: Text
    active: bool
    url: str


@dataclass(frozen=True, slots=True)
class FilterMenu:
    """A filter with few values, offered as a menu."""

    filter: Filter
    choices: list[Choice]
    count: int


@dataclass(frozen=True, slots=True)
class Row:
    """One row as shown: its cells with their classes."""

    id: str
    url: str
    cells: list[tuple[Column[Any], str]]


@dataclass
class Listing(Generic[M]):
    """Everything a list's template needs."""

    spec: ListSpec[M]
    path: str
    live: str
    kept: dict[str, str]
    q: str
    label: str = ""
    error: str = ""
    total: int = 0
    page: Page[M] = field(default_factory=lambda: Page([], "", "", 1))
    headers: list[Header] = field(default_factory=list)
    menus: list[FilterMenu] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    may_export: bool = False
    may_tag: bool = False

    def url(self, **changes: str) -> str:
        """This list's address with some parameters changed; empty ones are left out."""
        values = {key: value for key, value in {**self.kept, **changes}.items() if value}
        return f"{self.path}?{urlencode(values)}" if values else self.path

    @property
    def last(self) -> int:
        return self.page.first + len(self.page.rows) - 1 if self.page.rows else 0

    @property
    def first_url(self) -> str:
        return self.url() if self.page.previous else ""

    @property
    def previous_url(self) -> str:
        return self.url(at=self.page.previous) if self.page.previous else ""

    @property
    def next_url(self) -> str:
        return self.url(at=self.page.next) if self.page.next else ""

    @property
    def last_url(self) -> str:
        return self.url(at=LAST) if self.page.next and self.total > PAGE_SIZE else ""

    @property
    def unfiltered_url(self) -> str:
        return self.url(q="")

    @property
    def tag_url(self) -> str:
        """The question which tags to put on what the list finds."""
        return self.url(act=TAG)

    @property
    def exports(self) -> list[tuple[str, Text]]:
        return [(self.url(export=name), label) for name, label in FORMATS.items()]


def list_response(
    request: HttpRequest,
    spec: ListSpec[M],
    queryset: QuerySet[M],
    *,
    template: str = "console/list_page.html",
    context: Mapping[str, Any] | None = None,
    live: str = "",
) -> HttpResponseBase:
    """The page of a list, or the file when the URL asks for an export.

    `queryset` is already restricted to what the user may see. `live` names the changes that refresh the list.
    """
    wanted = request.GET.get("export", "")
    if wanted:
        return export_response(request, spec, queryset, wanted)
    if request.GET.get("act") == TAG and spec.name in Tagged.values:
        return tag_found(request, spec, queryset, _address_of(request, spec))
    listing = build_listing(request, spec, queryset, live=live)
    listing.label = str((context or {}).get("heading") or spec.label or spec.name)
    status = HTTPStatus.BAD_REQUEST if listing.error else HTTPStatus.OK
    return render(request, template, {**(context or {}), "list": listing}, status=status)


def _kept(request: HttpRequest) -> dict[str, str]:
    return {"q": request.GET.get("q", "").strip(), "sort": request.GET.get("sort", "")}


def _address_of(request: HttpRequest, spec: ListSpec[M]) -> str:
    """Of the list itself, as it is filtered and sorted."""
    return Listing(spec, request.path, "", _kept(request), "").url()


def build_listing(request: HttpRequest, spec: ListSpec[M], queryset: QuerySet[M], *, live: str = "") -> Listing[M]:
    """One page of the list a URL asks for. A mistake in the URL becomes a sentence beside an empty list."""
    kept = _kept(request)
    q, sort_text = kept["q"], kept["sort"]
    listing = Listing(
        spec,
        request.path,
        live or f"{spec.name}s",
        kept,
        q,
        may_export=may(request.user, Action.EXPORT),
        may_tag=spec.name in Tagged.values and may(request.user, Action.CONFIGURE),
    )
    sort, terms = spec.sort(""), []
    try:
        sort = spec.sort(sort_text)
        terms = spec.terms(q)
        narrowed = spec.narrow(queryset, q)
        listing.page = spec.page(narrowed, sort, request.GET.get("at", ""))
        listing.total = narrowed.count()
    except ListError as error:
        listing.error = str(error)
    listing.headers = [_header(listing, column, sort) for column in spec.shown()]
    listing.menus = [_menu(listing, one, terms) for one in spec.filters if one.choices]
    listing.rows = [_row(spec, row) for row in listing.page.rows]
    return listing


def _header(listing: Listing[M], column: Column[M], sort: Sort) -> Header:
    if not column.sort:
        return Header(column, "", "")
    if column.name != sort.name:
        first = f"-{column.name}" if column.numeric else column.name  # of numbers one wants the largest
        return Header(column, listing.url(sort=first), "none")
    url = listing.url(sort=sort.reversed().text)
    return Header(column, url, "descending" if sort.descending else "ascending")


def _menu(listing: Listing[M], one: Filter, terms: list[Term]) -> FilterMenu:
    mine = [term for term in terms if term.field == one.name]
    chosen = {term.value.lower() for term in mine if not term.negated}
    choices = []
    for value, label in one.choices:
        active = value in chosen
        kept = [term for term in terms if (term.field, term.value.lower()) != (one.name, value)]
        text = " ".join(term.text for term in (kept if active else [*kept, Term(one.name, value)]))
        choices.append(Choice(value, label, active, listing.url(q=text)))
    return FilterMenu(one, choices, len(mine))


def _row(spec: ListSpec[M], row: M) -> Row:
    link = getattr(row, "page_url", "")
    return Row(str(row.pk), link, [(column, column.cell(row)) for column in spec.shown()])
