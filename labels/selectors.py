"""Reading tags and what has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, QuerySet, Value

from access.roles import Action
from core.models import count_of
from labels.models import ENTRIES, OBJECTS, Tag, Tagged


def tag_list(*, user: Any) -> QuerySet[Tag]:
    """With `guest_count`, `host_count`, `datastore_count` and `switch_count` of what this user sees."""
    counts = {
        f"{kind}_count": count_of(model.objects.restrict(user, Action.VIEW), "tag_entries__tag")
        for kind, model in OBJECTS.items()
    }
    return Tag.objects.restrict(user, Action.VIEW).annotate(**counts)


def tags_of(kind: Tagged | str, ids: Iterable[UUID], *, user: Any) -> dict[UUID, list[Tag]]:
    """The tags of each of these objects, by name; in one query."""
    kind = Tagged(kind)
    found: dict[UUID, list[Tag]] = {pk: [] for pk in ids}
    if not found:
        return found
    seen = OBJECTS[kind].objects.restrict(user, Action.VIEW).filter(pk=OuterRef(kind.value))
    tags = Tag.objects.restrict(user, Action.VIEW).filter(pk=OuterRef("tag"))  # with IN, SQLite goes through all tags
    entries = ENTRIES[kind].objects.restrict(user, Action.VIEW).filter(Exists(seen), Exists(tags))
    named = entries.filter(**{f"{kind}__in": list(found)}).order_by()
    fields = [field.attname for field in Tag._meta.concrete_fields]
    known: dict[UUID, Tag] = {}  # a tag of a thousand objects is one: exports read very many entries
    for pk, tag_id, *values in named.values_list(f"{kind}_id", "tag_id", *(f"tag__{name}" for name in fields)):
        if tag_id not in known:
            known[tag_id] = Tag.from_db(named.db, fields, values)
        found[pk].append(known[tag_id])
    for mine in found.values():
        mine.sort(key=lambda tag: tag.name_key)
    return found


def tags_of_many(objects: Iterable[tuple[str, UUID]], *, user: Any) -> dict[tuple[str, UUID], list[Tag]]:
    """The tags of objects of several kinds, by name, in one query; objects of other kinds have none."""
    wanted: dict[Tagged, list[UUID]] = {}
    for kind, pk in objects:
        if kind in Tagged.values:
            wanted.setdefault(Tagged(kind), []).append(pk)
    parts = [_entries(kind, ids, user) for kind, ids in wanted.items()]
    found: dict[tuple[str, UUID], list[Tag]] = {}
    if parts:
        rows = parts[0].union(*parts[1:], all=True) if len(parts) > 1 else parts[0]
        for kind, pk, key, tag, name, color in sorted(rows):
            found.setdefault((kind, pk), []).append(Tag(pk=tag, name=name, name_key=key, color=color))
    return found


def _entries(kind: Tagged, ids: list[UUID], user: Any) -> Any:
    entries = ENTRIES[kind].objects.restrict(user, Action.VIEW).filter(**{f"{kind}__in": ids})
    tags = Tag.objects.restrict(user, Action.VIEW).filter(pk=OuterRef("tag"))
    named = entries.filter(Exists(tags)).annotate(kind=Value(kind.value), object=F(f"{kind}_id"))
    return named.values_list("kind", "object", "tag__name_key", "tag_id", "tag__name", "tag__color")
