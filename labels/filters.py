"""Filtering lists by tags."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from core.lists import Filter
from core.search import fold
from labels.models import ENTRIES, Tagged


def tag_filter(kind: Tagged | str) -> Filter:
    """Objects that have this tag, whatever its case; with an empty value, written `tag:""`, those without any."""
    kind = Tagged(kind)

    def build(value: str) -> Q:
        entries = ENTRIES[kind].objects.filter(**{kind.value: OuterRef("pk")})
        name = fold(" ".join(value.split()))
        return Q(Exists(entries.filter(tag__name_key=name))) if name else ~Q(Exists(entries))

    return Filter("tag", _("Tag"), build)
