"""Filtering lists by tags."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from core.lists import Filter
from core.search import fold
from labels.models import ENTRIES, Tag, Tagged


def tag_filter(kind: Tagged | str) -> Filter:
    """Objects that have this tag, whatever its case; with an empty value, written `tag:""`, those without any."""
    kind = Tagged(kind)

    def build(value: str) -> Q:
        name = " ".join(value.split())
        if not name:
            return ~Q(Exists(ENTRIES[kind].objects.filter(**{kind.value: OuterRef("pk")})))
        # Asked for here: PostgreSQL knows how many objects have a tag by its id, and plans a page of the list by that.
        tag = Tag.objects.filter(name_key=fold(name)).values_list("pk", flat=True).first()
        return has_tag(kind, tag) if tag else Q(pk__in=[])

    return Filter("tag", _("Tag"), build)


def has_tag(kind: Tagged, tag: UUID) -> Q:
    return Q(Exists(ENTRIES[kind].objects.filter(**{kind.value: OuterRef("pk"), "tag": tag})))
