"""Many sources at once: importing them, and replacing their credentials."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Case, Count, QuerySet, Value, When
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access.models import require
from access.roles import Action
from console.choosing import OFFERED, ids, offered
from console.forms import attempt, form_page, pem_values, values_of
from console.jobs import state_label, state_look
from console.sources import HYPERVISOR_CHOICES, SIGN_IN, TRANSPORTS
from core.errors import Invalid, Refused
from drivers.types import Hypervisor, Transport
from hosts import batches, importing
from hosts.models import BatchKind, Datacenter, Outcome, Source, SourceBatch
from hosts.services import DEFAULT_DATACENTER, SIGNING_IN

ASKED = ["GET", "HEAD", "POST"]
# Of each outcome at once: what a person can read through.
SHOWN = 200
IMPORT_FORM = ("lines", "range", "hypervisor", "transport", "port", "datacenter")
# Of all that match, in the form's choice of sources.
TICKED, OF_USER, BY_TLS = "ticked", "user:", "tls"


# -- one import: what it is made of


@sensitive_post_parameters()
@require_http_methods(ASKED)
def source_import(request: HttpRequest) -> HttpResponseBase:
    """Ask for a file, lines or a range; by POST, keep what can be taken and show it. Nothing is connected to yet."""
    require(request.user, Action.SOURCES)
    datacenters = list(Datacenter.objects.restrict(request.user, Action.SOURCES).order_by("name", "id")[:OFFERED])
    context: dict[str, Any] = {"transports": TRANSPORTS, "datacenters": datacenters, "most": importing.MOST_LINES}
    context["hypervisors"] = HYPERVISOR_CHOICES
    context["begun"] = _batches(request).filter(kind=BatchKind.IMPORT)[:SHOWN]
    if request.method != "POST":
        usual = datacenters[0].name if datacenters else DEFAULT_DATACENTER
        first = {"hypervisor": Hypervisor.QEMU, "transport": Transport.SSH, "datacenter": usual}
        return form_page(request, "sources/source_import.html", {**first}, **context)
    values = values_of(request, *IMPORT_FORM) | pem_values(request, *SIGN_IN)
    try:
        title, lines = _named(request, values)
        batch = batches.plan_import(title=title, lines=lines, defaults=_defaults(values), by=request.user)
    except Refused as error:
        return form_page(request, "sources/source_import.html", values, error, **context)
    return redirect("source_batch_page", batch.pk)


def _named(request: HttpRequest, values: dict[str, str]) -> tuple[str, list[importing.Line]]:
    """A title, and what one of the three ways names. Raises: Invalid."""
    upload = request.FILES.get("file")
    given = [bool(upload), bool(values["lines"].strip()), bool(values["range"].strip())]
    if sum(given) != 1:
        raise Invalid(_("Give a file, lines or a range: one of them."))
    if upload is not None:
        return str(upload.name), importing.read_lines(importing.decode(upload.read(importing.LARGEST_FILE + 1)))
    if values["range"].strip():
        return values["range"].strip(), importing.read_range(values["range"])
    lines = importing.read_lines(values["lines"])
    return _("%(n)d lines") % {"n": len(lines)}, lines


def _defaults(values: dict[str, str]) -> batches.Defaults:
    return batches.Defaults(
        user=values["username"],
        **{name: values[name] for name in (*IMPORT_FORM[2:], *SIGN_IN) if name != "username"},
    )


# -- new credentials


@sensitive_post_parameters()
@require_http_methods(ASKED)
def source_rotate(request: HttpRequest) -> HttpResponseBase:
    """Ask for a sign-in and for which sources; by POST, have it tried on each."""
    require(request.user, Action.SOURCES)
    asked = request.POST if request.method == "POST" else request.GET
    chosen, q = ids(asked.getlist("sources")), str(asked.get("q", ""))[:100]
    found = offered(_signing_in(request), chosen, q, ("name", "address", "username"))
    context = {"url": reverse("source_rotate"), **_ways_in(request), **found}
    if request.method != "POST":
        return form_page(request, "sources/source_rotate.html", {"who": TICKED, "q": q}, **context)
    who, values = str(request.POST.get("who", "")), pem_values(request, *SIGN_IN)
    try:
        batch, _job = batches.plan_credentials(sources=_meant(request, who, chosen), by=request.user, **values)
    except Refused as error:
        return form_page(request, "sources/source_rotate.html", {**values, "who": who, "q": q}, error, **context)
    return redirect("source_batch_page", batch.pk)


def _signing_in(request: HttpRequest) -> QuerySet[Source]:
    return Source.objects.restrict(request.user, Action.SOURCES).filter(transport__in=SIGNING_IN)


def _ways_in(request: HttpRequest) -> dict[str, Any]:
    """How many sources are reached by TLS, and by SSH as which user; TLS comes first and has no user."""
    user = Case(When(transport=Transport.TLS, then=Value("")), default="username")
    rows = _signing_in(request).annotate(user=user).order_by("-transport", "user").values_list("transport", "user")
    ways = list(rows.annotate(Count("pk"))[: OFFERED + 1])
    users = [(name, number) for transport, name, number in ways if transport == Transport.SSH]
    return {
        "users": [{"value": f"{OF_USER}{name}", "name": name, "number": number} for name, number in users],
        "by_tls": sum(number for transport, _user, number in ways if transport == Transport.TLS),
    }


def _meant(request: HttpRequest, who: str, chosen: list[UUID]) -> list[UUID]:
    rows = _signing_in(request)
    if who == BY_TLS:
        rows = rows.filter(transport=Transport.TLS)
    elif who.startswith(OF_USER):
        rows = rows.filter(transport=Transport.SSH, username=who.removeprefix(OF_USER).replace("\0", ""))
    else:
        return chosen
    return list(rows.values_list("pk", flat=True)[: batches.MOST_AT_ONCE + 1])


# -- the page of both


def _batches(request: HttpRequest) -> QuerySet[SourceBatch]:
    return SourceBatch.objects.restrict(request.user, Action.SOURCES)


def _batch(request: HttpRequest, pk: UUID) -> SourceBatch:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    return get_object_or_404(_batches(request), pk=pk)


@require_safe
def source_batch_page(request: HttpRequest, batch_id: UUID) -> HttpResponseBase:
    """What was named, what cannot be taken, and what came of each."""
    batch = _batch(request, batch_id)
    job, counts = batches.last_task(batch), batches.outcome_counts(batch)
    context = {
        "batch": batch,
        "is_import": batch.kind == BatchKind.IMPORT,
        "job": job,
        "job_open": job is not None and job.is_open,
        "job_look": state_look(job) if job else "",
        "job_label": state_label(job) if job else "",
        "counts": counts,
        "parts": [part for part in _parts(request, batch, counts) if part["number"]],
        "refused": batch.refused[:SHOWN],
        "refused_more": max(0, len(batch.refused) - SHOWN),
        "to_test": counts[Outcome.NEW] + counts[Outcome.FAILED],
    }
    return render(request, "sources/source_batch.html", context)


def _parts(request: HttpRequest, batch: SourceBatch, counts: dict[str, int]) -> list[dict[str, Any]]:
    """The drafts by outcome, those first that wait for a person."""
    titles = {
        Outcome.KEY: _("Host keys and certificates to accept"),
        Outcome.READY: _("Ready to be added"),
        Outcome.FAILED: _("Failed"),
        Outcome.NEW: _("Not tried yet"),
        Outcome.DONE: _("Added") if batch.kind == BatchKind.IMPORT else _("Replaced"),
    }
    rows = batch.drafts.restrict(request.user, Action.SOURCES).order_by("position", "pk")
    return [
        {
            "outcome": outcome.value,
            "title": title,
            "number": counts[outcome],
            "rows": list(rows.filter(outcome=outcome)[:SHOWN]),
            "more": max(0, counts[outcome] - SHOWN),
        }
        for outcome, title in titles.items()
        if counts[outcome]
    ]


@require_POST
def source_batch_test(request: HttpRequest, batch_id: UUID) -> HttpResponseBase:
    batch = _batch(request, batch_id)
    attempt(request, lambda: batches.test_batch(batch=batch, by=request.user))
    return redirect("source_batch_page", batch.pk)


@require_POST
def source_batch_keys(request: HttpRequest, batch_id: UUID) -> HttpResponseBase:
    """Accept the ticked host keys; each box says which fingerprint was seen."""
    batch, keys = _batch(request, batch_id), {}
    for text in request.POST.getlist("key")[: batches.MOST_AT_ONCE]:
        identifier, _space, seen = text.partition(" ")
        keys.update(dict.fromkeys(ids([identifier]), seen))
    attempt(
        request,
        lambda: batches.accept_host_keys(batch=batch, keys=keys, by=request.user),
        _("They are accepted; their hosts are tested now."),
    )
    return redirect("source_batch_page", batch.pk)


@require_POST
def source_batch_add(request: HttpRequest, batch_id: UUID) -> HttpResponseBase:
    batch = _batch(request, batch_id)
    attempt(request, lambda: batches.add_batch(batch=batch, by=request.user))
    return redirect("source_batch_page", batch.pk)


@require_POST
def source_batch_discard(request: HttpRequest, batch_id: UUID) -> HttpResponseBase:
    batch = _batch(request, batch_id)
    batches.discard_batch(batch=batch, by=request.user)
    messages.success(request, _("What was left of it is forgotten."))
    return redirect("source_list")


urlpatterns = [
    path("sources/import/", source_import, name="source_import"),
    path("sources/credentials/", source_rotate, name="source_rotate"),
    path("sources/batches/<uuid:batch_id>/", source_batch_page, name="source_batch_page"),
    path("sources/batches/<uuid:batch_id>/test/", source_batch_test, name="source_batch_test"),
    path("sources/batches/<uuid:batch_id>/host-keys/", source_batch_keys, name="source_batch_keys"),
    path("sources/batches/<uuid:batch_id>/add/", source_batch_add, name="source_batch_add"),
    path("sources/batches/<uuid:batch_id>/discard/", source_batch_discard, name="source_batch_discard"),
]
