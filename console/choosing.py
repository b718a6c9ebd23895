"""Choosing some among many in a dialog: boxes, and a search that keeps what is ticked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from console.forms import form_page
from core.errors import Refused
from core.lists import any_contains
from core.models import by_name

# A dialog with more boxes than this is a wall: one types a part of the name.
OFFERED = 200
MOST_CHOSEN = 1024
LONGEST_SEARCH = 100


@dataclass(frozen=True, slots=True)
class Choice:
    """What a dialog offers. `hint`: what stands beside a row's name; `done`: the sentence afterwards, of a number."""

    field: str
    title: str
    button: str
    crumbs: list[tuple[str, str]]  # names and addresses of what contains it, the page to go back to last
    rows: QuerySet[Any]
    act: Callable[[list[UUID]], list[Any]]
    done: Callable[[int], str]
    hint: Callable[[Any], str]


def choose_page(request: HttpRequest, choice: Choice) -> HttpResponseBase:
    """Offer rows; by POST, act with those that are ticked."""
    asked = request.POST if request.method == "POST" else request.GET
    chosen = ids(asked.getlist(choice.field))
    error: Refused | None = None
    if request.method == "POST":
        try:
            moved = choice.act(chosen)
        except Refused as refused:
            error = refused
        else:
            messages.success(request, choice.done(len(moved)))
            return redirect(choice.crumbs[-1][1])
    values = {"q": str(asked.get("q", ""))[:LONGEST_SEARCH]}
    # All that can be wrong is said at the top: no field is typed into.
    refusal = error.message if error else ""
    context = {"choice": choice, "back": choice.crumbs[-1][1], "url": request.path, "refusal": refusal}
    found = offered(choice.rows, chosen, values["q"], ("name",))
    for row in (*found["chosen"], *found["offered"]):
        row.hint = choice.hint(row)
    return form_page(request, "places/choose.html", values, error, **context, **found)


def ids(texts: list[str]) -> list[UUID]:
    """The ids among what was sent; what is none names nothing. One more than may be, so that too many are refused."""
    found = []
    for text in texts[: MOST_CHOSEN + 1]:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


def offered(rows: QuerySet[Any], chosen: list[UUID], q: str, lookups: tuple[str, ...]) -> dict[str, Any]:
    """The first rows in which every word is found. What is chosen stays in sight, whatever is typed."""
    ordered = rows.order_by(by_name(), "pk")
    words = Q()
    for word in q.replace("\0", "").split():
        words &= any_contains(lookups, word)
    matching = ordered.filter(words).exclude(pk__in=chosen)
    shown = list(matching[:OFFERED])
    more = matching.count() - len(shown) if len(shown) == OFFERED else 0
    return {"chosen": list(ordered.filter(pk__in=chosen)) if chosen else [], "offered": shown, "more": more}
