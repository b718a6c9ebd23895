"""Forms without magic: named values in, one sentence per field out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from core.errors import Forbidden, Invalid, Refused

T = TypeVar("T")

# Shown again after a mistake, all but these.
SECRET = frozenset({"password", "private_key", "current", "new", "again"})
# Files of keys and certificates are small; whoever pastes a whole PEM file may paste a key with it.
PEM_FIELDS = frozenset({"private_key", "ca_certificate", "client_certificate", "client_key"})
LARGEST_PEM = 64 * 1024


def values_of(request: HttpRequest, *names: str) -> dict[str, str]:
    """The named values of a form; what else was sent counts for nothing."""
    return {name: str(request.POST.get(name, "")) for name in names}


def pem_values(request: HttpRequest, *names: str) -> dict[str, str]:
    """As `values_of`; where a file was chosen in place of the text, what stands in it."""
    return values_of(request, *names) | {
        name: _content(request.FILES[f"{name}_file"]) for name in names if f"{name}_file" in request.FILES
    }


def _content(upload: Any) -> str:
    """What is longer or no text is shown as such by whoever checks it."""
    content: bytes = upload.read(LARGEST_PEM + 1)
    return content.decode("utf-8", errors="replace")


def shown_again(values: dict[str, str]) -> dict[str, str]:
    """What a form that was refused is filled with: never a secret."""
    return {name: value for name, value in values.items() if name not in SECRET | PEM_FIELDS}


def errors_of(error: Refused) -> dict[str, str]:
    """The sentence by the field it belongs to; an empty name is the whole form."""
    return {error.field if isinstance(error, Invalid) else "": error.message}


def form_page(
    request: HttpRequest, template: str, values: dict[str, str], error: Refused | None = None, **context: Any
) -> HttpResponse:
    """A form, filled, with what was wrong with it."""
    errors = errors_of(error) if error else {}
    status = 200 if error is None else 403 if isinstance(error, Forbidden) else 400
    shown = {**context, "values": shown_again(values), "errors": errors, "form_error": errors.get("", "")}
    return render(request, template, shown, status=status)


def delete_page(
    request: HttpRequest,
    act: Callable[[], None],
    *,
    row: Any,
    crumb: tuple[str, str],
    back: str,
    to: str,
    consequence: str,
    question: str = "",
    done: str = "",
) -> HttpResponseBase:
    """Say what it means to delete `row`; by POST, do it and go `to` where it was. `crumb`: the list it is in."""
    context = {
        "row": row,
        "list": crumb,
        "back": back,
        "consequence": consequence,
        "question": question or _("Delete %(name)s?") % {"name": row.name},
    }
    if request.method != "POST":
        return form_page(request, "console/delete.html", {}, **context)
    try:
        act()
    except Refused as error:
        return form_page(request, "console/delete.html", {}, error, **context)
    messages.success(request, done or _("%(name)s is deleted.") % {"name": row.name})
    return redirect(to)


def own_page(request: HttpRequest, wanted: str, otherwise: str) -> str:
    """Where to go after a form: a page of ours, nothing else."""
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if safe and wanted.startswith("/") else otherwise


def attempt(request: HttpRequest, act: Callable[[], T], done: str = "") -> T | None:
    """Do something a button asks for; its refusal or success becomes a message of the next page. None when refused.

    Raises: Forbidden, which is a page of its own.
    """
    try:
        result = act()
    except Forbidden:
        raise
    except Refused as error:
        messages.error(request, error.message)
        return None
    if done:
        messages.success(request, done)
    return result
