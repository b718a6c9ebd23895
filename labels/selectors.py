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
    tags = Tag.objects.restrict(user, Action.VIEW)
    entries = ENTRIES[kind].objects.restrict(user, Action.VIEW).filter(Exists(seen), tag__in=tags)
    entries = entries.filter(**{f"{kind}__in": list(found)}).select_related("tag").order_by("tag__name_key")
    for entry in entries:
        found[getattr(entry, f"{kind}_id")].append(entry.tag)
    return found
