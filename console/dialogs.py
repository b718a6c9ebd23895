"""A question before an act, as data: what it says, what is asked, and the button. Shown in a dialog or as a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from core.errors import Forbidden, Invalid, Refused
from operations.models import Job
from operations.selectors import job_title

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SIZE = re.compile(r"(\d{1,12}(?:[.,]\d{1,9})?)\s*([kmgtp]?)(?:i?b)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Option:
    """`reason`: why it cannot be chosen, when it is shown all the same."""

    value: str
    label: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """`kind`: text, area, number, size, select, check. A check's `value` is what it sends, `on` whether it is set.

    `watched`: what it was goes with the form, so that only what the person changed is changed.
    """

    name: str
    label: str
    value: str = ""
    kind: str = "text"
    hint: str = ""
    options: tuple[Option, ...] = ()
    required: bool = False
    on: bool = False
    watched: bool = False
    longest: int = 256
    reason: str = ""  # why it cannot be filled in


@dataclass(frozen=True, slots=True)
class Dialog:
    """`crumbs`: names and addresses of what is around it, the page to go back to last. `reason`: why it is grey."""

    title: str
    button: str
    crumbs: list[tuple[str, str]]
    lead: str = ""
    warnings: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    hidden: tuple[tuple[str, str], ...] = ()
    icon: str = "check"
    risky: bool = False
    reason: str = ""
    word: str = ""  # the page's heading, when it is not what the button says

    @property
    def heading(self) -> str:
        return self.word or self.button

    @property
    def back(self) -> str:
        return self.crumbs[-1][1]


def dialog_page(request: HttpRequest, dialog: Dialog, act: Callable[[], Job]) -> HttpResponseBase:
    """Ask; by POST, act, and go back to where it was asked.

    Raises: Forbidden, which is a page of its own.
    """
    if request.method != "POST":
        return _show(request, dialog)
    try:
        job = act()
    except Forbidden:
        raise
    except Refused as error:
        return _show(request, dialog, error)
    messages.success(request, asked_sentence(job))
    return redirect(dialog.back)


def asked_sentence(job: Job) -> str:
    return _("%(title)s of %(name)s was asked for.") % {"title": job_title(job), "name": job.target_name}


def _show(request: HttpRequest, dialog: Dialog, error: Refused | None = None) -> HttpResponse:
    sent = request.POST if error is not None else {}
    errors = {error.field if isinstance(error, Invalid) else "": error.message} if error else {}
    names = {one.name for one in dialog.fields}
    context = {
        "dialog": dialog,
        "fields": [_filled(one, sent, errors.get(one.name, "")) for one in dialog.fields],
        "form_error": next((words for name, words in errors.items() if name not in names), ""),
        "task": getattr(error, "job", None),
    }
    status = 200 if error is None else 400 if isinstance(error, Invalid) else 409
    return render(request, "console/dialog.html", context, status=status)


def _filled(one: Field, sent: Any, error: str) -> dict[str, Any]:
    """A field with what was sent before it was refused."""
    value = str(sent.get(one.name, one.value))
    on = one.name in sent if sent and one.kind == "check" else one.on
    return {"field": one, "value": one.value if one.kind == "check" else value, "on": on, "error": error}


# -- what was sent


def text_of(request: HttpRequest, name: str) -> str:
    return str(request.POST.get(name, ""))


def is_on(request: HttpRequest, name: str) -> bool:
    return name in request.POST


def is_changed(request: HttpRequest, name: str) -> bool:
    """Whether the person changed a watched field. An unset box sends nothing."""
    return text_of(request, name).replace("\r\n", "\n") != text_of(request, f"was_{name}").replace("\r\n", "\n")


def read_size(text: str, name: str) -> int:
    """Bytes of "4 GiB", "512m" or "1.5 TiB". Raises: Invalid."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not (match[2] or match[1] == "0"):
        raise Invalid(_("Write a size with its unit, such as 4 GiB or 512 MiB."), field=name)
    return int(Decimal(match[1].replace(",", ".")) * UNITS[match[2].lower()])


def read_number(text: str, name: str) -> int:
    """Raises: Invalid."""
    if not text.strip().isdecimal() or len(text.strip()) > 9:  # noqa: PLR2004
        raise Invalid(_("Write a whole number."), field=name)
    return int(text)


def size_text(value: int | None) -> str:
    """A size that `read_size` takes, exact to the byte."""
    if not value:
        return ""
    for unit, label in (("t", "TiB"), ("g", "GiB"), ("m", "MiB"), ("k", "KiB")):
        if value % UNITS[unit] == 0:
            return f"{value // UNITS[unit]} {label}"
    return f"{Decimal(value) / UNITS['k']:.9f}".rstrip("0").rstrip(".") + " KiB"
