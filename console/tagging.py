"""Putting tags on objects and taking them off: of one object, and of all that a list finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access.models import require
from access.roles import Action
from console.choosing import OFFERED, ids
from console.forms import form_page, own_page
from console.tables.cells import page_url
from console.tables.tags import LABELS, TABS, chip, chips
from core.errors import Invalid, Refused
from core.lists import ListError, ListSpec
from core.models import by_name
from core.search import fold
from labels.models import LONGEST_NAME, OBJECTS, Tag, Tagged
from labels.selectors import tags_of
from labels.services import MOST_OBJECTS, MOST_ON_ONE, change_tags

TAGS_OFFERED = 50
LONGEST_TYPED = (LONGEST_NAME + 2) * 8  # several names at once
LISTS = {kind: f"{kind}_list" for kind in Tagged}


# -- which tags


@dataclass(frozen=True, slots=True)
class Picked:
    """What a person did in the dialog so far.

    `had`: what was on the object when it was opened; `names`: new tags; `gone`: tags that were ticked and are no more.
    """

    had: list[Tag] = field(default_factory=list)
    ticked: list[Tag] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    typed: str = ""
    gone: list[UUID] = field(default_factory=list)

    @property
    def new(self) -> list[str]:
        """Names to put on. What was typed only to find a tag counts for nothing."""
        return [*self.names, *(name for name in _names(self.typed) if not self._found_by(name))]

    @property
    def added(self) -> list[UUID]:
        """What was ticked, by id: a tag may be renamed or deleted meanwhile."""
        had = {tag.pk for tag in self.had}
        return [*(tag.pk for tag in self.ticked if tag.pk not in had), *self.gone]

    @property
    def removed(self) -> list[UUID]:
        left = {tag.pk for tag in self.ticked}
        named = {fold(name) for name in self.new}
        return [tag.pk for tag in self.had if tag.pk not in left and tag.name_key not in named]

    def _found_by(self, typed: str) -> bool:
        key, had = fold(typed), {tag.pk for tag in self.had}
        keys = [tag.name_key for tag in self.ticked if tag.pk not in had]
        return any(key in one for one in (*keys, *map(fold, self.names)))


def _names(text: str) -> list[str]:
    """Several are separated by commas, which no name has."""
    return [name for piece in text.split(",") if (name := " ".join(piece.split()))]


def _tags(user: Any) -> QuerySet[Tag]:
    return Tag.objects.restrict(user, Action.VIEW).order_by("name_key")


def _picked(asked: QueryDict, user: Any) -> Picked:
    """One more and one longer than may be are kept, so that they are refused."""
    had, ticked = ids(asked.getlist("had")), ids(asked.getlist("tag"))
    rows = {tag.pk: tag for tag in _tags(user).filter(pk__in={*had, *ticked})}
    return Picked(
        [tag for pk, tag in rows.items() if pk in had],
        [tag for pk, tag in rows.items() if pk in ticked],
        [str(name)[: LONGEST_NAME * 2] for name in asked.getlist("new")[: MOST_ON_ONE + 1]],
        str(asked.get("q", ""))[: LONGEST_TYPED + 1],
        [pk for pk in ticked if pk not in rows and pk not in had],
    )


def _checked(asked: QueryDict, user: Any) -> Picked:
    """What to act on. Raises: Invalid."""
    picked = _picked(asked, user)
    if len(picked.typed) > LONGEST_TYPED:
        raise Invalid(_("Type at most %(n)d characters at once.") % {"n": LONGEST_TYPED}, field="q")
    return picked


def _put(picked: Picked, user: Any) -> Picked:
    """What was typed becomes ticked: known tags by their name, others as new ones."""
    keys = [fold(name) for name in _names(picked.typed)]
    known = {tag.name_key: tag for tag in _tags(user).filter(name_key__in=keys)}
    ticked, names = {tag.pk: tag for tag in picked.ticked}, {fold(name): name for name in picked.names}
    for name in _names(picked.typed):
        tag = known.get(fold(name))
        if tag:
            ticked[tag.pk] = tag
        else:
            names.setdefault(fold(name), name)
    rows = sorted(ticked.values(), key=lambda tag: tag.name_key)
    return Picked(picked.had, rows, list(names.values()), "")


def _offer(picked: Picked, user: Any) -> dict[str, Any]:
    """The tags to tick: first those that are ticked or were there, then those in which the last typed word is found."""
    first = {tag.pk: tag for tag in (*picked.had, *picked.ticked)}
    looked_for = fold((_names(picked.typed) or [""])[-1])
    found = _tags(user).exclude(pk__in=first)
    if looked_for:
        found = found.filter(name_key__contains=looked_for)
    shown = list(found[: TAGS_OFFERED + 1])
    ticked = {tag.pk for tag in picked.ticked}
    ordered = sorted(first.values(), key=lambda tag: tag.name_key)
    rows = [{"tag": tag, "chip": chip(tag), "on": tag.pk in ticked} for tag in (*ordered, *shown[:TAGS_OFFERED])]
    return {
        "pick_rows": rows,
        "pick_names": picked.names,
        "pick_had": [tag.pk for tag in picked.had],
        "pick_typed": picked.typed,
        "pick_more": len(shown) > TAGS_OFFERED,
        "longest_typed": LONGEST_TYPED,
    }


@require_safe
def tag_pick(request: HttpRequest) -> HttpResponse:
    """The part of a dialog that offers tags, while one types."""
    require(request.user, Action.CONFIGURE)
    picked = _picked(request.GET, request.user)
    if request.GET.get("step") == "put" and len(picked.typed) <= LONGEST_TYPED:
        picked = _put(picked, request.user)
    return render(request, "tags/_pick.html", _offer(picked, request.user))


# -- of one object


def objects_to_tag(kind: Tagged, user: Any) -> QuerySet[Any]:
    rows: QuerySet[Any] = OBJECTS[kind].objects.restrict(user, Action.CONFIGURE)
    return rows


@require_http_methods(["GET", "HEAD", "POST"])
def object_tags(request: HttpRequest, pk: UUID, kind: str) -> HttpResponseBase:
    """Ask for the tags of an object; by POST, put on and take off what was changed."""
    require(request.user, Action.CONFIGURE)
    row = get_object_or_404(objects_to_tag(Tagged(kind), request.user), pk=pk)
    if request.method != "POST":
        present = tags_of(kind, [row.pk], user=request.user)[row.pk]
        return _ask_object(request, kind, row, Picked(present, present))
    try:
        picked = _checked(request.POST, request.user)
        if request.POST.get("step") == "put":
            return _ask_object(request, kind, row, _put(picked, request.user))
        _save_object(request, kind, row, picked)
    except Refused as error:
        return _ask_object(request, kind, row, _picked(request.POST, request.user), error)
    return redirect(page_url(kind, row.pk))


def tags_fact(kind: str, pk: UUID, *, user: Any) -> dict[str, Any]:
    """What the page of an object shows of its tags."""
    tags = tags_of(kind, [pk], user=user)[pk]
    return {"tag_chips": chips(tags, Tagged(kind)), "tags_url": reverse(f"{kind}_tags", args=[pk])}


def _save_object(request: HttpRequest, kind: str, row: Any, picked: Picked) -> None:
    """Raises: Forbidden, Invalid, Conflict."""
    new, added, removed = picked.new, picked.added, picked.removed
    changed = (new or added or removed) and change_tags(
        kind=kind, ids=[row.pk], add=new, add_tags=added, remove_tags=removed, by=request.user
    )
    if changed:
        messages.success(request, _("The tags of %(name)s were changed.") % {"name": row.name})
    else:
        messages.info(request, _("The tags of %(name)s are as they were.") % {"name": row.name})


def _ask_object(
    request: HttpRequest, kind: str, row: Any, picked: Picked, error: Refused | None = None
) -> HttpResponse:
    context = {
        "row": row,
        "back": page_url(kind, row.pk),
        "list_url": reverse(LISTS[Tagged(kind)]),
        "list_label": LABELS[Tagged(kind)],
        **_offer(picked, request.user),
    }
    return _form(request, "tags/object_tags.html", error, context)


def _form(request: HttpRequest, template: str, error: Refused | None, context: dict[str, Any]) -> HttpResponse:
    """All that can be wrong here is said at the top: the field is one of many ways to name a tag."""
    return form_page(request, template, {}, error, refusal=error.message if error else "", **context)


# -- of many


def number_of(kind: Tagged, n: int) -> str:
    """Such as "12 guests"."""
    text = {
        Tagged.GUEST: ngettext("%(n)d guest", "%(n)d guests", n),
        Tagged.HOST: ngettext("%(n)d host", "%(n)d hosts", n),
        Tagged.DATASTORE: ngettext("%(n)d datastore", "%(n)d datastores", n),
        Tagged.SWITCH: ngettext("%(n)d virtual switch", "%(n)d virtual switches", n),
    }[kind]
    return text % {"n": n}


def tag_found(request: HttpRequest, spec: ListSpec[Any], queryset: QuerySet[Any], back: str) -> HttpResponse:
    """Ask which tags to put on what a list finds, or to take off. `queryset` is the list's, not yet narrowed.

    Raises: Forbidden.
    """
    require(request.user, Action.CONFIGURE)
    kind = Tagged(spec.name)
    try:
        found = spec.narrow(queryset, request.GET.get("q", "").strip()).order_by().values("pk")
    except ListError as error:
        return _ask_many(request, kind, [], back, Picked(), reason=str(error))
    rows = objects_to_tag(kind, request.user).filter(pk__in=found)
    chosen = list(rows.only("name").order_by(by_name(), "pk")[: MOST_OBJECTS + 1])
    reason = ""
    if len(chosen) > MOST_OBJECTS:
        words = _("The list finds %(what)s; at most %(most)d are tagged at once. Narrow it with a filter first.")
        reason = words % {"what": number_of(kind, rows.count()), "most": MOST_OBJECTS}
    elif not chosen:
        reason = _("The list finds nothing that could be tagged.")
    return _ask_many(request, kind, [] if reason else chosen, back, Picked(), reason=reason)


@require_POST
def tag_many(request: HttpRequest, kind: str) -> HttpResponseBase:
    """Put tags on objects, or take them off."""
    require(request.user, Action.CONFIGURE)
    of, user = Tagged(kind), request.user
    back = own_page(request, request.POST.get("next", ""), reverse(LISTS[of]))
    chosen = _ids(request.POST, "ids")
    among = _chosen(of, _ids(request.POST, "among") or chosen, user)
    off = request.POST.get("how") == "off"
    try:
        picked = _checked(request.POST, user)
        if not chosen:
            raise Invalid(_("Choose at least one object."), field="ids")
        if request.POST.get("step") == "put":
            return _ask_many(request, of, among, back, _put(picked, user), ticked=chosen)
        new, tags = picked.new, picked.added
        way: dict[str, Iterable[Any]] = {"remove": new, "remove_tags": tags} if off else {"add": new, "add_tags": tags}
        changed = change_tags(kind=of, ids=chosen, **way, by=user)
    except Refused as error:
        return _ask_many(request, of, among, back, _picked(request.POST, user), ticked=chosen, error=error)
    messages.success(request, _told(of, changed, off=off))
    return redirect(back)


def _told(kind: Tagged, changed: int, *, off: bool) -> str:
    if not changed:
        return _("Nothing changed: none of them had these tags.") if off else _("They had these tags already.")
    text = _("Tags were taken off %(what)s.") if off else _("Tags were put on %(what)s.")
    return text % {"what": number_of(kind, changed)}


def _ids(asked: QueryDict, name: str) -> list[UUID]:
    return ids([one for text in asked.getlist(name) for one in text.split(",")])


def _chosen(kind: Tagged, chosen: list[UUID], user: Any) -> list[Any]:
    return list(objects_to_tag(kind, user).filter(pk__in=chosen).only("name").order_by(by_name(), "pk"))


def _ask_many(
    request: HttpRequest,
    kind: Tagged,
    among: list[Any],
    back: str,
    picked: Picked,
    *,
    ticked: list[UUID] | None = None,
    error: Refused | None = None,
    reason: str = "",
) -> HttpResponse:
    """Few objects can be left out one by one, and ticked again; many are one field of the form. `ticked`: else all."""
    few = len(among) <= OFFERED
    wanted = {row.pk for row in among} if ticked is None else set(ticked)
    left = [row.pk for row in among if row.pk in wanted]
    if not among and not reason:
        reason = _("Nothing is left to choose; look at the list again.")
    context = {
        "url": reverse(f"{kind}_tag_many"),
        "title": _("Tag %(what)s") % {"what": number_of(kind, len(left))} if left else _("Tag"),
        "what": number_of(kind, len(left)),
        "list_label": LABELS[kind],
        "back": back,
        "reason": reason,
        "few": among if few else [],
        "ticked": left,
        "some_left_out": len(left) < len(among),
        "all_ids": ",".join(str(row.pk) for row in among),
        **_offer(picked, request.user),
    }
    return _form(request, "tags/tag_many.html", error, context)


urlpatterns = [
    path("tags/pick/", tag_pick, name="tag_pick"),
    *(path(f"tags/put-on-{TABS[kind]}/", tag_many, {"kind": kind.value}, name=f"{kind}_tag_many") for kind in Tagged),
    *(
        path(f"{name}/<uuid:pk>/tags/", object_tags, {"kind": kind.value}, name=f"{kind}_tags")
        for kind, name in TABS.items()
    ),
]
