"""Lists: filters by query parameters, keyset paging, an address of the next page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact
from django.utils.translation import gettext as _
from rest_framework.request import Request

from core.lists import LARGEST_PAGE, PAGE_SIZE, Filter, Key, ListError, Page, Sort, any_contains, keyset_page, without
from core.models import by_name

M = TypeVar("M", bound=Model)

LIMIT = "limit"
CURSOR = "cursor"
SORT = "sort"
LONGEST_VALUE = 300
MOST_VALUES = 100


@dataclass(frozen=True, slots=True)
class Shape(Generic[M]):
    """What may be asked of one list: filters and orders by name."""

    filters: tuple[Filter, ...]
    sorts: dict[str, tuple[Key, ...]]
    default_sort: str

    def narrow(self, queryset: QuerySet[M], request: Request) -> QuerySet[M]:
        """Only the rows asked for; of several values of one parameter any is enough.

        A parameter with a "-" in front asks for the others: none of its values is met.
        Raises: ListError for parameters, values and orders that do not exist here.
        """
        by_name = {one.name: one for one in self.filters}
        for name, values in request.query_params.lists():
            if name in (LIMIT, CURSOR, SORT):
                continue
            field = name.removeprefix("-")
            if field not in by_name:
                raise ListError(_unknown_parameter(name, by_name))
            met = _any(by_name[field], [str(value) for value in values])
            queryset = queryset.filter(met) if field == name else without(queryset, met)
        return queryset

    def sort(self, text: str) -> Sort:
        text = text or self.default_sort
        name = text.removeprefix("-")
        if name not in self.sorts:
            raise ListError(_("This list is sorted by one of %(names)s.") % {"names": ", ".join(sorted(self.sorts))})
        return Sort(name, self.sorts[name], text.startswith("-"))


def read_page(queryset: QuerySet[M], shape: Shape[M], request: Request) -> tuple[Page[M], str | None]:
    """One page of a restricted queryset and the address of the next. Raises: ListError."""
    narrowed = shape.narrow(queryset, request)
    sort = shape.sort(request.query_params.get(SORT, ""))
    page = keyset_page(narrowed, sort, request.query_params.get(CURSOR, ""), read_limit(request))
    return page, following_address(request, page.next) if page.next else None


def following_address(request: Request, cursor: str) -> str:
    """The same request, from this cursor on."""
    query = request.query_params.copy()
    query[CURSOR] = cursor
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


def read_limit(request: Request) -> int:
    """Raises: ListError."""
    text = request.query_params.get(LIMIT, str(PAGE_SIZE))
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= LARGEST_PAGE:
        raise ListError(_("“limit” is a number from 1 to %(most)d.") % {"most": LARGEST_PAGE})
    return int(text)


def _any(one: Filter, values: list[str]) -> Q:
    condition = Q()
    if len(values) > MOST_VALUES:
        raise ListError(_("“%(name)s” is given too often.") % {"name": one.name})
    for value in values:
        if len(value) > LONGEST_VALUE or "\0" in value:
            raise ListError(_("The value of “%(name)s” is not usable.") % {"name": one.name})
        condition |= one.build(value)
    return condition


def _unknown_parameter(name: str, known: dict[str, Filter]) -> str:
    return _("There is no parameter “%(name)s” here; there are %(known)s.") % {
        "name": name[:40],
        "known": ", ".join(sorted([*known, LIMIT, CURSOR, SORT])),
    }


def object_filter(name: str, *, id_lookup: str, name_lookup: str) -> Filter:
    """Rows of one other object, given by its id or its whole name."""

    def build(value: str) -> Q:
        try:
            return Q(**{id_lookup: UUID(value)})
        except ValueError:
            return whole_name(value, name_lookup)

    return Filter(name, name, build)


def whole_name(value: str, lookup: str = "name") -> Q:
    """Rows of this name, whatever its case; the index of the lists by name finds them."""
    return Q(Exact(by_name(lookup), Lower(Value(value))))


NAME = Filter("name", "name", whole_name)


def words_filter(name: str, *lookups: str) -> Filter:
    """Rows in which one of these fields contains the value."""
    return Filter(name, name, lambda value: any_contains(lookups, value))


def flag_filter(name: str, lookup: str) -> Filter:
    """Rows whose field is true or false."""

    def build(value: str) -> Q:
        if value not in ("true", "false"):
            raise ListError(_("“%(name)s” is true or false.") % {"name": name})
        return Q(**{lookup: value == "true"})

    return Filter(name, name, build)


def values_filter(name: str, lookup: str, values: Sequence[str]) -> Filter:
    """Rows whose field is one of fixed values."""
    return conditions_filter(name, {value: Q(**{lookup: value}) for value in values})


def conditions_filter(name: str, conditions: dict[str, Q]) -> Filter:
    """Rows that meet the condition named by the value."""

    def build(value: str) -> Q:
        if value not in conditions:
            raise ListError(_("“%(name)s” is one of %(values)s.") % {"name": name, "values": ", ".join(conditions)})
        return conditions[value]

    return Filter(name, name, build)
