"""Filtering lists by tags."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from access.roles import Action
from core.ids import as_id
from core.lists import Filter
from core.search import fold
from labels.models import ENTRIES, Tag, Tagged


def tag_filter(kind: Tagged | str, *, user: Any, or_id: bool = False) -> Filter:
    """Objects that have this tag, whatever its case; with an empty value, written `tag:""`, those without any.

    What this user does not see is no tag. `or_id`: the value may be a tag's id, too.
    """
    kind = Tagged(kind)
    tags = Tag.objects.restrict(user, Action.VIEW)
    entries = ENTRIES[kind].objects.restrict(user, Action.VIEW).filter(**{kind.value: OuterRef("pk")})

    def build(value: str) -> Q:
        name = " ".join(value.split())
        if not name:
            return ~Q(Exists(entries.filter(Exists(tags.filter(pk=OuterRef("tag"))))))
        wanted = Q(name_key=fold(name))
        if or_id and (pk := as_id(name)):
            wanted |= Q(pk=pk)
        # Asked for here: PostgreSQL knows how many objects have a tag by its id, and plans a page of the list by that.
        found = list(tags.filter(wanted).values_list("pk", flat=True))
        return Q(Exists(entries.filter(tag__in=found))) if found else Q(pk__in=[])

    return Filter("tag", _("Tag"), build)
