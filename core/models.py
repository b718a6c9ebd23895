"""The base of our rows."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Lower

from core.ids import new_id


class Row(models.Model):
    """A row whose id is ours: opaque, and the same in URLs, API and command line."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)

    class Meta:
        abstract = True


if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class NameField(_CharField):
    """A name that lists are sorted by: `by_name()` gives one order on every database.

    PostgreSQL would sort by its cluster's language; here it compares bytes as SQLite does, and its `lower` then also
    folds ASCII letters only.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters: dict[str, Any] = dict(super().db_parameters(connection))
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters


def by_name(field: str = "name") -> Lower:
    """The key that sorts a NameField whatever the letters' case. Index it with `by_name_index`."""
    return Lower(field)


def by_name_index(name: str, *before: str) -> models.Index:
    """The index behind a list sorted by name and id, within `before` if given."""
    return models.Index(*before, Lower("name"), "id", name=name)


def count_of(rows: QuerySet[Any], key: str, **which: Any) -> Coalesce:
    """How many of `rows` point at each row of a query by `key`: counted by index, for the rows shown only.

    `which` is what `Count` takes besides, such as a filter.
    """
    counted = rows.filter(**{key: OuterRef("pk")}).order_by().values(key).annotate(number=Count("pk", **which))
    return Coalesce(Subquery(counted.values("number"), output_field=IntegerField()), Value(0))
