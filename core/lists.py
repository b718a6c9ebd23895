"""The list kit: keyset paging, sort, filter text and columns. It knows nothing about what is listed.

Every order ends with the row's id and every sort key is NOT NULL, so that no row is skipped or shown twice and both
databases agree: see `core.models.NameField` for texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.core import signing
from django.core.exceptions import ValidationError
from django.db.models import Exists, F, Field, Model, OuterRef, Q, QuerySet
from django.db.models.expressions import BaseExpression, Combinable
from django.utils.functional import Promise
from django.utils.translation import gettext as _

M = TypeVar("M", bound=Model)
Text = str | Promise
Key = str | BaseExpression | Combinable
Values = tuple[Any, ...]  # of a row's sort keys, its id last
ExportValue = str | int | float | datetime | bool | None

PAGE_SIZE = 100
LARGEST_PAGE = 1000
# Rows fetched at once while an export streams: few enough to keep memory flat, enough to make queries rare.
EXPORT_CHUNK = 2000
LONGEST_FILTER = 500
MOST_TERMS = 20
LAST = "last"
_SALT = "core.lists.cursor"


class ListError(ValueError):
    """The list cannot be shown as asked; the text is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Sort:
    """An order: keys that are never NULL, all in one direction; the id is added as the last one."""

    name: str
    keys: tuple[Key, ...]
    descending: bool = False

    @classmethod
    def by(cls, *fields: str, descending: bool = False) -> Sort:
        return cls(fields[0], fields, descending)

    @property
    def text(self) -> str:
        """As written in a URL: `name` or `-name`."""
        return f"-{self.name}" if self.descending else self.name

    def reversed(self) -> Sort:
        return replace(self, descending=not self.descending)


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """One page of rows. `next` and `previous` are opaque cursors, empty at the ends; `first` counts from 1."""

    rows: list[M]
    next: str
    previous: str
    first: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page starts: after or before a row, given by its sort values and id."""

    sort: str
    values: tuple[Any, ...]
    backwards: bool
    row_number: int  # of that row when the cursor was made


def keyset_page(queryset: QuerySet[M], sort: Sort, cursor: str = "", size: int = PAGE_SIZE) -> Page[M]:
    """The page of rows that a cursor from an earlier page points at; without one, the first page.

    Raises: ListError when the cursor is not one of ours or belongs to another order.
    """
    size = max(1, min(size, LARGEST_PAGE))
    keyed, names = _with_keys(queryset, sort)
    if cursor == LAST:
        return _last_page(queryset, keyed, names, sort, size)
    place = _read_cursor(cursor, sort, keyed, names) if cursor else None
    backwards = place is not None and place.backwards
    direction = sort.reversed() if backwards else sort
    if place is not None:
        keyed = keyed.filter(_beyond(names, place.values, direction.descending))
    found = _keys(keyed, names, direction.descending, size + 1)
    more = len(found) > size
    found = found[:size]
    if backwards:
        found.reverse()
    return _page(queryset, found, sort, place, more)


def _page(queryset: QuerySet[M], found: list[Values], sort: Sort, place: _Place | None, more: bool) -> Page[M]:
    if not found:
        return Page([], "", "", 1)
    backwards = place is not None and place.backwards
    first = _first_number(place, len(found), more)
    has_next = more if not backwards else True
    has_previous = more if backwards else place is not None
    return Page(
        _rows(queryset, found),
        next=_cursor(found[-1], sort, False, first + len(found) - 1) if has_next else "",
        previous=_cursor(found[0], sort, True, first) if has_previous else "",
        first=first,
    )


def _first_number(place: _Place | None, count: int, more: bool) -> int:
    if place is None or (place.backwards and not more):
        return 1
    return max(1, place.row_number - count) if place.backwards else place.row_number + 1


def _last_page(queryset: QuerySet[M], keyed: QuerySet[M], names: list[str], sort: Sort, size: int) -> Page[M]:
    total = queryset.count()
    wanted = (total % size) or min(size, total)
    found = _keys(keyed, names, not sort.descending, wanted)
    found.reverse()
    first = max(1, total - len(found) + 1)
    previous = _cursor(found[0], sort, True, first) if found and first > 1 else ""
    return Page(_rows(queryset, found), "", previous, first)


def all_rows(queryset: QuerySet[M], sort: Sort, prepare: Callable[[list[M]], None] | None = None) -> Iterator[M]:
    """Every row in order, fetched in chunks by key, so that memory stays flat and no cursor stays open.

    `prepare` sees each chunk before its rows are given out.
    """
    keyed, names = _with_keys(queryset, sort)
    found = _keys(keyed, names, sort.descending, EXPORT_CHUNK)
    while found:
        rows = _rows(queryset, found)
        if prepare:
            prepare(rows)
        yield from rows
        if len(found) < EXPORT_CHUNK:
            return
        beyond = keyed.filter(_beyond(names, found[-1], sort.descending))
        found = _keys(beyond, names, sort.descending, EXPORT_CHUNK)


def _with_keys(queryset: QuerySet[M], sort: Sort) -> tuple[QuerySet[M], list[str]]:
    names = [f"_key{number}" for number in range(len(sort.keys))]
    keys = {name: F(key) if isinstance(key, str) else key for name, key in zip(names, sort.keys, strict=True)}
    return queryset.annotate(**keys), [*names, "pk"]


def _keys(keyed: QuerySet[M], names: list[str], descending: bool, size: int) -> list[Values]:
    """The sort values and ids of the first rows: a database that has to sort moves nothing else about."""
    ordered = keyed.order_by(*(f"-{name}" if descending else name for name in names))
    return list(ordered.values_list(*names)[:size])


def _rows(queryset: QuerySet[M], found: list[Values]) -> list[M]:
    """The rows behind the keys, in their order; one deleted meanwhile is left out."""
    ids = [values[-1] for values in found]
    by_id = {row.pk: row for row in queryset.order_by().filter(pk__in=ids)}
    return [by_id[pk] for pk in ids if pk in by_id]


def _beyond(names: Sequence[str], values: Sequence[Any], descending: bool) -> Q:
    """Rows after these values. The outer bound on the first key lets the database seek into its index."""
    lookup = "lt" if descending else "gt"
    condition = Q(**{f"{names[-1]}__{lookup}": values[-1]})
    for name, value in zip(reversed(names[:-1]), reversed(values[:-1]), strict=True):
        condition = Q(**{f"{name}__{lookup}": value}) | (Q(**{name: value}) & condition)
    if len(names) > 1:
        condition = Q(**{f"{names[0]}__{lookup}e": values[0]}) & condition
    return condition


def _cursor(found: Values, sort: Sort, backwards: bool, number: int) -> str:
    values = [_plain(value) for value in found]
    return signing.Signer(salt=_SALT).sign_object([sort.text, values, backwards, number])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _read_cursor(cursor: str, sort: Sort, queryset: QuerySet[M], names: list[str]) -> _Place:
    try:
        text, values, backwards, number = signing.Signer(salt=_SALT).unsign_object(cursor)
        if text != sort.text or len(values) != len(names):
            raise ListError(_("This page belongs to another order of the list; start from its first page."))
        typed = tuple(_field(queryset, name).to_python(value) for name, value in zip(names, values, strict=True))
    except (signing.BadSignature, ValidationError, TypeError) as error:
        raise ListError(_("This page's address is damaged; start from the first page of the list.")) from error
    return _Place(text, typed, backwards, number)


def _field(queryset: QuerySet[M], name: str) -> Field[Any, Any]:
    if name == "pk":
        primary: Field[Any, Any] = queryset.model._meta.pk
        return primary
    output: Field[Any, Any] = queryset.query.annotations[name].output_field
    return output


@dataclass(frozen=True, slots=True)
class Filter:
    """One `name:value` of the filter text. `build` turns the value into a condition or raises ListError.

    The condition crosses no relation to many rows, which would show an object once for each: use Exists or pk__in.
    """

    name: str
    label: Text
    build: Callable[[str], Q]
    choices: tuple[tuple[str, Text], ...] = ()


def text_filter(name: str, label: Text, *lookups: str) -> Filter:
    """Rows in which one of these fields contains the value, whatever its case (ASCII letters)."""
    return Filter(name, label, lambda value: any_contains(lookups, value))


def exact_filter(name: str, label: Text, lookup: str) -> Filter:
    """Rows in which the field is the value, whatever its case (ASCII letters)."""
    return Filter(name, label, lambda value: Q(**{f"{lookup}__iexact": value}))


def none_filter(name: str, label: Text, lookup: str, link: str) -> Filter:
    """As exact_filter; with an empty value, written `name:""`, rows that have no such `link`."""
    return Filter(name, label, lambda value: Q(**{f"{lookup}__iexact": value} if value else {link: None}))


def choice_filter(name: str, label: Text, lookup: str, choices: Sequence[tuple[str, Text]]) -> Filter:
    """Rows whose field is one of a fixed set of values."""
    return mapped_filter(name, label, {value: (text, Q(**{lookup: value})) for value, text in choices})


def mapped_filter(name: str, label: Text, conditions: Mapping[str, tuple[Text, Q]]) -> Filter:
    """Rows that meet the condition named by the value."""

    def build(value: str) -> Q:
        found = conditions.get(value.lower())
        if found is None:
            raise ListError(
                _("“%(field)s” is one of %(values)s, not “%(value)s”.")
                % {"field": name, "values": ", ".join(conditions), "value": value}
            )
        return found[1]

    return Filter(name, label, build, tuple((value, text) for value, (text, _q) in conditions.items()))


def number_filter(name: str, label: Text, lookup: str) -> Filter:
    """Rows whose field is this whole number."""

    def build(value: str) -> Q:
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise ListError(
                _("“%(field)s” is compared with a whole number, not with “%(value)s”.")
                % {"field": name, "value": value}
            )
        return Q(**{lookup: int(value)})

    return Filter(name, label, build)


def any_contains(lookups: Sequence[str], value: str) -> Q:
    condition = Q()
    for lookup in lookups:
        condition |= Q(**{f"{lookup}__icontains": value})
    return condition


@dataclass(frozen=True, slots=True)
class Term:
    """One piece of a filter text: `field` is empty for free text. `negated`: rows that it does not find."""

    field: str
    value: str
    negated: bool = False

    @property
    def text(self) -> str:
        looks_like_a_field = not self.field and _FIELD.match(self.value) and not _ADDRESS.fullmatch(self.value)
        is_quoted = not self.value or re.search(r"[\s\"]", self.value) or looks_like_a_field
        value = f'"{self.value}"' if is_quoted else self.value
        return f"{'-' * self.negated}{self.field}:{value}" if self.field else value


_TERM = re.compile(r'\s*(?:(?P<negated>-)?(?P<field>[A-Za-z_]+):)?(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s"]+))(?=\s|$)')
_FIELD = re.compile(r"-?[A-Za-z_]+:")
_ADDRESS = re.compile(r"[0-9A-Fa-f:]+")


def parse_filter(text: str, known: Sequence[str]) -> list[Term]:
    """The terms of a filter text such as `state:running host:"rack 4" -tag:test web`.

    Only a field is negated: a word may begin with "-", and so may an address, whose colon makes no field of it.
    Raises: ListError.
    """
    text = text.strip()
    if len(text) > LONGEST_FILTER or "\0" in text:
        raise ListError(_("This filter is too long; use at most %(n)d characters.") % {"n": LONGEST_FILTER})
    terms: list[Term] = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            raise ListError(_syntax_sentence(text[position:].strip()))
        terms.append(_term(match, known))
        position = match.end()
    if len(terms) > MOST_TERMS:
        raise ListError(_("This filter has too many parts; use at most %(n)d.") % {"n": MOST_TERMS})
    return terms


def _syntax_sentence(rest: str) -> str:
    if rest.count('"') % 2:
        return _('A quotation mark is not closed; write name:"two words".')
    return _("“%(part)s” is not understood; write words, or field:value.") % {"part": rest[:40]}


def _term(match: re.Match[str], known: Sequence[str]) -> Term:
    field, plain = (match["field"] or "").lower(), match["plain"] or ""
    if not field and plain.endswith(":") and plain[:-1].removeprefix("-").lower() in known:
        raise ListError(_("“%(field)s” needs a value right after it.") % {"field": plain})
    value = plain if match["quoted"] is None else match["quoted"]
    if not field or field in known:
        return Term(field, value, negated=bool(match["negated"]))
    whole = match[0].strip()
    if _ADDRESS.fullmatch(whole.removeprefix("-")):  # a MAC or IPv6 address may start like a field's name
        return Term("", whole)
    raise ListError(
        _("There is no field “%(field)s” here; the fields are %(known)s.") % {"field": field, "known": ", ".join(known)}
    )


def filtered(
    queryset: QuerySet[M], terms: Sequence[Term], filters: Sequence[Filter], free_text: Sequence[str]
) -> QuerySet[M]:
    """The rows that meet all terms: of several values for one field any is enough, of negated ones none may be met.

    Raises: ListError.
    """
    by_name = {one.name: one for one in filters}
    fields: dict[str, Q] = {}
    condition, unwanted = Q(), Q()
    for term in terms:
        if term.negated:
            unwanted |= by_name[term.field].build(term.value)
        elif term.field:
            fields[term.field] = fields.get(term.field, Q()) | by_name[term.field].build(term.value)
        else:
            condition &= any_contains(free_text, term.value)
    for one in fields.values():
        condition &= one
    rows = queryset.filter(condition) if condition else queryset
    return without(rows, unwanted) if unwanted else rows


def without(queryset: QuerySet[M], condition: Q) -> QuerySet[M]:
    """The rows that do not meet a condition, also where it is neither true nor false, as of a host in no cluster."""
    meeting = queryset.model._default_manager.filter(condition, pk=OuterRef("pk"))
    return queryset.filter(~Exists(meeting))


@dataclass(frozen=True, slots=True)
class Column(Generic[M]):
    """One column. `cell` gives what the page shows (escaped HTML or text), `value` what an export writes."""

    name: str
    label: Text
    cell: Callable[[M], str]
    value: Callable[[M], ExportValue]
    sort: tuple[Key, ...] = ()
    numeric: bool = False
    css: str = ""  # classes of its cells
    export_only: bool = False
    page_only: bool = False


def export_column(name: str, label: Text, value: Callable[[M], ExportValue]) -> Column[M]:
    """A column that only files have."""
    return Column(name, label, lambda _row: "", value, export_only=True)


@dataclass(frozen=True, slots=True)
class ListSpec(Generic[M]):
    """A list as a declaration: columns, filters and where free text is looked for."""

    name: str
    columns: tuple[Column[M], ...]
    filters: tuple[Filter, ...] = ()
    free_text: tuple[str, ...] = ()
    default_sort: str = "name"
    prepare: Callable[[list[M]], None] | None = None  # loads what the rows of one page need, in few queries
    label: Text = ""

    def sort(self, text: str) -> Sort:
        """The order a URL asks for.

        Raises: ListError.
        """
        text = text or self.default_sort
        name = text.removeprefix("-")
        for column in self.columns:
            if column.name == name and column.sort:
                return Sort(name, column.sort, text.startswith("-"))
        raise ListError(_("This list cannot be sorted by “%(name)s”.") % {"name": name[:40]})

    def terms(self, text: str) -> list[Term]:
        """Raises: ListError."""
        return parse_filter(text, [one.name for one in self.filters])

    def narrow(self, queryset: QuerySet[M], text: str) -> QuerySet[M]:
        """Only the rows that meet a filter text.

        Raises: ListError.
        """
        terms = self.terms(text)
        return filtered(queryset, terms, self.filters, self.free_text) if terms else queryset

    def page(self, queryset: QuerySet[M], sort: Sort, cursor: str = "", size: int = PAGE_SIZE) -> Page[M]:
        """One page of an already narrowed queryset.

        Raises: ListError.
        """
        page = keyset_page(queryset, sort, cursor, size)
        if self.prepare and page.rows:
            self.prepare(page.rows)
        return page

    def written(self) -> tuple[Column[M], ...]:
        """What files have."""
        return tuple(column for column in self.columns if not column.page_only)

    def shown(self) -> tuple[Column[M], ...]:
        return tuple(column for column in self.columns if not column.export_only)


# A spreadsheet runs a text that starts like this as a formula, even from a CSV file; some strip blanks first.
# Source: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def csv_cell(value: ExportValue) -> str | int | float:
    """A value for a CSV file: a text that a spreadsheet would run as a formula gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and (value.startswith(_FORMULA_START) or value.lstrip().startswith(_FORMULA_START)):
        return f"'{value}"
    return value
