"""Reading tags and what has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

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
