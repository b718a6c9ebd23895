"""Tags: made, renamed, recolored, deleted, put on objects and taken off. None of it reaches a hypervisor."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.db import OperationalError, connection
from django.db.models import Count
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from audit.services import record
from core.db import write_transaction
from core.errors import Conflict, Invalid
from core.events import Change, publish
from core.search import fold
from inventory.models import GUEST_LOCK_ORDER
from labels.models import ENTRIES, LONGEST_NAME, OBJECTS, Color, Tag, Tagged
from labels.searching import index_tag, index_tags
from labels.turn import take_turn
from search.models import Kind

T = TypeVar("T")

ATTEMPTS = 3
PAUSE_SECONDS = 0.1  # for those who waited for what a deadlock let go
DEADLOCK = "40P01"
MOST_TAGS = 2000
MOST_ON_ONE = 50
MOST_OBJECTS = 1000
MOST_NAMED = 100  # in an audit row; their number is there, too
LONGEST_KEY = 255
# What joins letters and signs of some scripts to one; nothing else that is not seen is part of a name.
JOINERS = {"\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}"}
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
SEEN = set("LNPS")
UNASSIGNED = "Cn"  # such as a sign of a Unicode newer than ours
# Unassigned for good.
# Source: https://www.unicode.org/faq/private_use.html#nonchar1
NEVER_A_SIGN = {chr(code) for code in (*range(0xFDD0, 0xFDF0), *range(0xFFFE, 0x110000, 0x10000))}
NEVER_A_SIGN |= {chr(code) for code in range(0xFFFF, 0x110000, 0x10000)}
# How reads lock what they may remove.
LOCKED_BY = {Tagged.GUEST: GUEST_LOCK_ORDER, Tagged.DATASTORE: ("pk",)}


def create_tag(*, name: str, color: str = "", by: Any) -> Tag:
    """A tag that nothing has yet; without a color it gets the next one.

    Raises: Forbidden; Invalid for a name that a tag has, in whatever letters; Conflict when there are too many.
    """
    require(by, Action.SOURCES)
    name, chosen = checked_name(name), _checked_color(color)
    with write_transaction():
        take_turn()
        _require_free(name)
        (row,) = _make([name], chosen)
        _record("tag.created", row, by=by, what="added", color=row.color)
    return row


def change_tag(*, tag: Tag, name: str | None = None, color: str | None = None, by: Any) -> Tag:
    """Another name, another color or both, for all that have it.

    Raises: Forbidden; Invalid for a name that another tag has; Conflict when it is gone.
    """
    require(by, Action.SOURCES)
    new_name = None if name is None else checked_name(name)
    new_color = _checked_color(color or "")

    def act() -> Tag:
        row = _current(tag)
        before = {"name": row.name, "color": row.color}
        after = {"name": new_name or row.name, "color": new_color or row.color}
        changed = {field: value for field, value in after.items() if value != before[field]}
        if not changed:
            return row
        key = fold(after["name"])
        is_renamed = key != row.name_key
        if is_renamed:
            _require_free(after["name"])
        row.name, row.color, row.name_key = after["name"], after["color"], key
        row.save(update_fields=["name", "color", "name_key"])
        if is_renamed:
            _lock_tagged(row)
            index_tag(row)
        detail: dict[str, Any] = {"before": {field: before[field] for field in changed}, "after": changed}
        _record("tag.changed", row, by=by, shown_by=_counts(row), **detail)
        return row

    return _in_turn(act)


def delete_tag(*, tag: Tag, by: Any) -> None:
    """Whatever has it loses it. One that is gone already is no error.

    Raises: Forbidden.
    """
    require(by, Action.SOURCES)

    def act() -> None:
        row = Tag.objects.filter(pk=tag.pk).first()
        if row is None:
            return
        counts = _counts(row)
        _record("tag.deleted", row, by=by, what="removed", shown_by=counts, **counts)
        _lock_tagged(row)
        index_tag(row, is_going=True)
        row.delete()

    _in_turn(act)


def change_tags(
    *,
    kind: Tagged | str,
    ids: Iterable[UUID],
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    add_tags: Iterable[UUID] = (),
    remove_tags: Iterable[UUID] = (),
    by: Any,
) -> int:
    """Put tags on objects of one kind and take others off, by name or by id; how many objects changed.

    A name that no tag has yet makes one. What is there already, or not there, is no error.
    Raises: Forbidden; Invalid for names and numbers that cannot be; Conflict when an object or a tag to put on is gone.
    """
    require(by, Action.CONFIGURE)
    kind, wanted = _checked_kind(kind), _wanted(ids)
    add_names, remove_names = _checked_names(add, "add"), _checked_names(remove, "remove")
    add_ids, remove_ids = set(add_tags), set(remove_tags)
    if not (add_names or remove_names or add_ids or remove_ids):
        raise Invalid(_("Name at least one tag."), field="add")

    def act() -> int:
        added = _names_now(add_ids, by=by)
        if len(added) < len(add_ids):
            raise Conflict(_("A tag that you chose is gone; somebody deleted it."))
        added, removed = {**added, **add_names}, {**_names_now(remove_ids, by=by), **remove_names}
        _require_difference(added, removed)
        names = _found(kind, wanted, by=by)
        tags = {tag.name_key: tag for tag in Tag.objects.filter(name_key__in=[*added, *removed])}
        new = _make([name for key, name in added.items() if key not in tags])
        tags |= {tag.name_key: tag for tag in new}
        put_on = _put_on(kind, wanted, [tags[key] for key in added])
        taken_off = _take_off(kind, wanted, [tags[key] for key in removed if key in tags])
        changed = sorted({pk for pks in (*put_on.values(), *taken_off.values()) for pk in pks})
        if changed:
            _require_few_enough(kind, {pk for pks in put_on.values() for pk in pks}, names)
            index_tags(Kind[kind.name], changed)
            _record_changes(kind, {pk: names[pk] for pk in changed}, put_on, taken_off, new, by=by)
        return len(changed)

    return _in_turn(act)


def _in_turn(act: Callable[[], T]) -> T:
    """Alone among those who write tags; once more when PostgreSQL ends a deadlock with a read of the same objects.

    Transaction: its own, or an open one, whose owner alone could try again.
    """
    left = 1 if connection.in_atomic_block else ATTEMPTS
    while True:
        left -= 1
        try:
            with write_transaction():
                take_turn()
                return act()
        except OperationalError as error:
            if not left or getattr(error.__cause__, "sqlstate", "") != DEADLOCK:
                raise
        time.sleep(PAUSE_SECONDS)


# -- what may be


def checked_name(text: str, field: str = "name") -> str:
    """A tag's name as it is kept: trimmed, with single blanks. Raises: Invalid."""
    text = text.strip()
    if any(_is_unseen(one) for one in text):
        raise Invalid(_("A tag's name has only characters that can be seen."), field=field)
    name = " ".join(text.split())
    categories = {unicodedata.category(one) for one in name}
    if UNASSIGNED not in categories and not any(one[0] in SEEN for one in categories):
        raise Invalid(_("A tag needs a name."), field=field)
    if len(name) > LONGEST_NAME or len(fold(name)) > LONGEST_KEY:
        raise Invalid(_("A tag's name has at most %(n)d characters.") % {"n": LONGEST_NAME}, field=field)
    if "," in name or '"' in name:
        raise Invalid(_("A tag's name has no comma and no quotation mark."), field=field)
    return name


def _is_unseen(one: str) -> bool:
    return one in NEVER_A_SIGN or (unicodedata.category(one) in UNSEEN and one not in JOINERS)


def _checked_names(names: Iterable[str], field: str) -> dict[str, str]:
    """By what they are compared by; each once."""
    found: dict[str, str] = {}
    for name in names:
        clean = checked_name(name, field)
        found.setdefault(fold(clean), clean)
    return found


def _checked_color(color: str) -> str:
    """Raises: Invalid."""
    if color and color not in Color.values:
        raise Invalid(_("A color is one of %(colors)s.") % {"colors": ", ".join(Color.values)}, field="color")
    return color


def _checked_kind(kind: str) -> Tagged:
    """Raises: Invalid."""
    if kind not in Tagged.values:
        raise Invalid(_("Tags are put on one of %(kinds)s.") % {"kinds": ", ".join(Tagged.values)}, field="kind")
    return Tagged(kind)


def _wanted(ids: Iterable[UUID]) -> list[UUID]:
    wanted = sorted(set(ids))
    if not wanted:
        raise Invalid(_("Choose at least one object."), field="ids")
    if len(wanted) > MOST_OBJECTS:
        raise Invalid(_("Choose at most %(n)d objects at once.") % {"n": MOST_OBJECTS}, field="ids")
    return wanted


def _require_difference(added: dict[str, str], removed: dict[str, str]) -> None:
    """Raises: Invalid."""
    if len(added) > MOST_ON_ONE:
        raise Invalid(_("An object has at most %(n)d tags.") % {"n": MOST_ON_ONE}, field="add")
    if len(removed) > MOST_TAGS:
        raise Invalid(_("There are at most %(n)d tags.") % {"n": MOST_TAGS}, field="remove")
    if both := [name for key, name in added.items() if key in removed]:
        raise Invalid(_("The tag %(name)s is to be put on and taken off.") % {"name": both[0]}, field="remove")


# -- rows


def _current(tag: Tag) -> Tag:
    """Raises: Conflict."""
    row = Tag.objects.filter(pk=tag.pk).first()
    if row is None:
        raise Conflict(_("The tag %(name)s is gone; somebody deleted it.") % {"name": tag.name})
    return row


def _names_now(ids: set[UUID], *, by: Any) -> dict[str, str]:
    """By what they are compared by; a tag that is gone is left out."""
    if not ids:
        return {}
    return dict(Tag.objects.restrict(by, Action.VIEW).filter(pk__in=ids).values_list("name_key", "name"))


def _require_free(name: str) -> None:
    """Raises: Invalid."""
    if Tag.objects.filter(name_key=fold(name)).exists():
        raise Invalid(_("There is already a tag named %(name)s.") % {"name": name}, field="name")


def _make(names: Sequence[str], color: str = "") -> list[Tag]:
    """Raises: Conflict."""
    if not names:
        return []
    there = Tag.objects.count()
    if there + len(names) > MOST_TAGS:
        raise Conflict(_("There are at most %(n)d tags. Delete some that nobody needs.") % {"n": MOST_TAGS})
    colors = Color.values
    rows = [
        Tag(name=name, name_key=fold(name), color=color or colors[(there + number) % len(colors)])
        for number, name in enumerate(names)
    ]
    return Tag.objects.bulk_create(rows)


def _found(kind: Tagged, wanted: list[UUID], *, by: Any) -> dict[UUID, str]:
    """The objects' names. Raises: Conflict."""
    rows = OBJECTS[kind].objects.restrict(by, Action.CONFIGURE).filter(pk__in=wanted)
    names: dict[UUID, str] = dict(_locked(kind, rows).values_list("pk", "name"))
    if len(names) < len(wanted):
        raise Conflict(_("Something that you chose is gone; look at the list again."))
    return names


def _locked(kind: Tagged, rows: Any) -> Any:
    """Guests and datastores as reads lock them, which may remove some: a tag on such a row would end in an error.

    Hosts and virtual switches go with their source only, which takes a turn before.
    """
    order = LOCKED_BY.get(kind)
    return rows.order_by(*order).select_for_update(no_key=True, of=("self",)) if order else rows.order_by()


def _lock_tagged(tag: Tag) -> None:
    for kind in LOCKED_BY:
        list(_locked(kind, OBJECTS[kind].objects.filter(tag_entries__tag=tag)).values_list("pk"))


def _put_on(kind: Tagged, wanted: list[UUID], tags: list[Tag]) -> dict[Tag, list[UUID]]:
    """Which objects got which tag."""
    entries = ENTRIES[kind].objects.filter(**{f"{kind}__in": wanted})
    there = set(entries.filter(tag__in=tags).values_list("tag_id", f"{kind}_id")) if tags else set()
    got = {tag: [pk for pk in wanted if (tag.pk, pk) not in there] for tag in tags}
    rows = [ENTRIES[kind](**{"tag_id": tag.pk, f"{kind}_id": pk}) for tag in tags for pk in got[tag]]
    ENTRIES[kind].objects.bulk_create(rows, batch_size=1000)  # type: ignore[arg-type]
    return got


def _require_few_enough(kind: Tagged, grown: set[UUID], names: dict[UUID, str]) -> None:
    """Raises: Invalid."""
    entries = ENTRIES[kind].objects.filter(**{f"{kind}__in": grown}).values(f"{kind}_id")
    full = entries.annotate(number=Count("pk")).filter(number__gt=MOST_ON_ONE).order_by(f"{kind}_id").first()
    if full is not None:
        words = {"n": MOST_ON_ONE, "name": names[full[f"{kind}_id"]]}
        raise Invalid(_("An object has at most %(n)d tags; %(name)s would have more.") % words, field="add")


def _take_off(kind: Tagged, wanted: list[UUID], tags: list[Tag]) -> dict[Tag, list[UUID]]:
    """Which objects lost which tag."""
    if not tags:
        return {}
    entries = ENTRIES[kind].objects.filter(**{"tag__in": tags, f"{kind}__in": wanted})
    lost: dict[UUID, list[UUID]] = {tag.pk: [] for tag in tags}
    for tag_id, pk in entries.values_list("tag_id", f"{kind}_id"):
        lost[tag_id].append(pk)
    entries.delete()
    return {tag: lost[tag.pk] for tag in tags}


# -- telling


def _counts(tag: Tag) -> dict[str, int]:
    """How many objects have it, by their kind."""
    counts = {kind.value: ENTRIES[kind].objects.filter(tag=tag).count() for kind in Tagged}
    return {kind: count for kind, count in counts.items() if count}


def _record_changes(
    kind: Tagged,
    objects: dict[UUID, str],
    put_on: dict[Tag, list[UUID]],
    taken_off: dict[Tag, list[UUID]],
    new: list[Tag],
    *,
    by: Any,
) -> None:
    """Of one object by its name; of several by their kind, with names in the details."""
    detail: dict[str, Any] = {
        "added": {tag.name: len(pks) for tag, pks in put_on.items() if pks},
        "removed": {tag.name: len(pks) for tag, pks in taken_off.items() if pks},
        "created": [tag.name for tag in new],
    }
    target: dict[str, Any] = {"target_kind": kind.value}
    if len(objects) == 1:
        ((target["target_id"], target["target_name"]),) = objects.items()
        detail = {field: list(value) for field, value in detail.items()}
    else:
        detail |= {"number": len(objects), "objects": sorted(objects.values())[:MOST_NAMED]}
    record(action="tag.assigned", by=by, **target, **{field: value for field, value in detail.items() if value})
    touched = [tag for tag, pks in (*put_on.items(), *taken_off.items()) if pks]
    publish(
        *(Change(kind.value, str(pk)) for pk in objects),
        *(Change("tag", str(tag.pk)) for tag in touched),
    )


def _record(
    action: str, row: Tag, *, by: Any, what: str = "changed", shown_by: Iterable[str] = (), **detail: Any
) -> None:
    """`shown_by`: kinds of objects that have it."""
    record(action=action, by=by, target_kind="tag", target_id=row.pk, target_name=row.name, **detail)
    publish(Change("tag", str(row.pk), what), *(Change(kind, "*") for kind in shown_by))
