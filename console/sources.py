"""Sources: the list, one source, adding one, and everything an administrator does with it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access.models import require
from access.roles import Action
from console.forms import attempt, form_page, pem_values, values_of
from console.listing import list_response
from console.tables.sources import SOURCES, kind_label, place, seen_at, sign_in_words, source_rows
from core.errors import Refused
from core.models import by_name
from drivers.types import Hypervisor, Transport
from hosts import services
from hosts.certificates import warnings
from hosts.models import Connection, Datacenter, Host, Source, SourceDraft, SourceState
from hosts.selectors import hosts_seen_by
from hosts.validation import fingerprint
from hosts.words import hypervisor_label
from operations.models import Job

ASKED = ["GET", "HEAD", "POST"]
HOSTS_SHOWN = 200
PLACE = ("name", "hypervisor", "transport", "address", "port", "datacenter")
BY_SSH = ("username", "password", "private_key")
BY_TLS = ("ca_certificate", "client_certificate", "client_key")
SIGN_IN = (*BY_SSH, *BY_TLS)
TRANSPORTS = [
    (Transport.SSH, gettext_lazy("SSH: encrypted, the host key is checked")),
    (Transport.TLS, gettext_lazy("TLS: encrypted, certificates are checked on both sides")),
    (Transport.TCP, gettext_lazy("TCP: not encrypted, for a closed network")),
]
HYPERVISOR_CHOICES = [
    (Hypervisor.QEMU, gettext_lazy("KVM / QEMU: virtual machines")),
    (Hypervisor.LXC, gettext_lazy("LXC: system containers of libvirt")),
    (Hypervisor.XEN, gettext_lazy("Xen: virtual machines, by libxl")),
]


def sign_in_values(request: HttpRequest, transport: str) -> dict[str, str]:
    """What belongs to this transport: fields of the others are hidden, whatever stands in them."""
    shown = {Transport.SSH: BY_SSH, Transport.TLS: BY_TLS}
    names = next((names for one, names in shown.items() if one == transport), ())
    return dict.fromkeys(SIGN_IN, "") | pem_values(request, *names)


@require_safe
def source_list(request: HttpRequest) -> HttpResponseBase:
    context = {"heading": _("Sources"), "empty_icon": "plug", "empty_title": _("No hypervisor is read yet.")}
    return list_response(
        request, SOURCES, source_rows(user=request.user), template="sources/source_list.html", context=context
    )


# -- one source


@require_safe
def source_page(request: HttpRequest, source_id: UUID) -> HttpResponseBase:
    return render(request, "sources/source_page.html", _source_context(request, _visible(request, source_id)))


def _source_context(request: HttpRequest, source: Source) -> dict[str, Any]:
    hosts = Host.objects.restrict(request.user, Action.VIEW).filter(source=source).order_by(by_name(), "id")
    due = None if source.state == SourceState.PAUSED else min(source.next_states_at, source.next_inventory_at)
    return {
        "source": source,
        "kind": kind_label(source),
        "place": place(source),
        "sign_in": sign_in_words(source),
        "host_key": fingerprint(source.host_key),
        "seen_at": seen_at(source),
        "due_at": due,
        "hosts": hosts[:HOSTS_SHOWN],
        "seen_hosts": hosts_seen_by(source, user=request.user)[:HOSTS_SHOWN],
        "is_paused": source.state == SourceState.PAUSED,
        "signs_in": source.transport in services.SIGNING_IN,
        "by_tls": source.transport == Transport.TLS,
        "hypervisor": hypervisor_label(source.hypervisor),
        "certificates": certificate_rows(source),
        "warnings": warnings(source.certificates),
        **_test_context(source),
    }


def certificate_rows(source: Connection) -> list[dict[str, Any]]:
    """What is known of the certificates of both sides, as the page lists it."""
    told = source.certificates
    named = [(_("Client"), told.get("client")), *((_("CA"), one) for one in told.get("ca", []))]
    named.append((_("Host"), told.get("server")))
    return [
        {
            "name": name,
            "since": datetime.fromisoformat(one["not_before"]),
            "until": datetime.fromisoformat(one["not_after"]),
            **one,
        }
        for name, one in named
        if one
    ]


def _test_context(connection: Connection) -> dict[str, Any]:
    """The last test as its part of the page shows it."""
    job = services.last_test(connection)
    progress = job.progress if job else {}
    key = progress.get("host_key")
    ended = job is not None and not job.is_open
    # A key that was accepted since the test is no question any more.
    asks = ended and key and fingerprint(connection.host_key) != key["fingerprint"]
    return {
        "test": job,
        "test_steps": progress.get("steps", []),
        "test_open": job is not None and job.is_open,
        "key": key if asks else None,
        "is_ready": ended and bool(progress.get("ready")),
    }


def _visible(request: HttpRequest, source_id: UUID) -> Source:
    """Raises: Http404."""
    return get_object_or_404(source_rows(user=request.user), pk=source_id)


def _managed(request: HttpRequest, source_id: UUID) -> Source:
    """A source that is about to be changed. Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    return get_object_or_404(Source.objects.restrict(request.user, Action.SOURCES), pk=source_id)


@require_POST
def source_test(request: HttpRequest, source_id: UUID) -> HttpResponseBase:
    """Have a worker try it; the page shows each step."""
    source = _managed(request, source_id)
    attempt(request, lambda: services.test_source(source=source, by=request.user))
    return redirect("source_page", source.pk)


@require_POST
def source_accept_key(request: HttpRequest, source_id: UUID) -> HttpResponseBase:
    """Pin the host key that the last test showed."""
    source = _managed(request, source_id)
    _accept_key(request, source)
    return redirect("source_page", source.pk)


def _accept_key(request: HttpRequest, connection: Connection) -> None:
    """Accept, then test again with it: both in answer to one click."""
    job = services.last_test(connection) or Job()
    seen = str(request.POST.get("fingerprint", ""))

    def act() -> Job:
        services.accept_host_key(source=connection, job=job, fingerprint=seen, by=request.user)
        return services.test_source(source=connection, by=request.user)

    attempt(request, act, _("What the host showed is accepted."))


@require_POST
def source_pause(request: HttpRequest, source_id: UUID) -> HttpResponseBase:
    source = _managed(request, source_id)
    services.pause_source(source=source, by=request.user)
    messages.success(request, _("%(source)s is paused: nothing is read from it.") % {"source": source.name})
    return redirect("source_page", source.pk)


@require_POST
def source_resume(request: HttpRequest, source_id: UUID) -> HttpResponseBase:
    source = _managed(request, source_id)
    services.resume_source(source=source, by=request.user)
    messages.success(request, _("%(source)s is read again.") % {"source": source.name})
    return redirect("source_page", source.pk)


@require_POST
def source_read(request: HttpRequest, source_id: UUID) -> HttpResponseBase:
    """Read without waiting for the next turn."""
    source = _managed(request, source_id)

    def act() -> bool:
        services.read_source_now(source=source, by=request.user)
        return True

    attempt(request, act, _("%(source)s is read now.") % {"source": source.name})
    return redirect("source_page", source.pk)


@sensitive_post_parameters()
@require_http_methods(ASKED)
def source_credentials(request: HttpRequest, source_id: UUID) -> HttpResponseBase:
    """Ask for another sign-in; by POST, keep it and test it."""
    source = _managed(request, source_id)
    template, values = "sources/source_credentials.html", sign_in_values(request, source.transport)
    context: dict[str, Any] = {"source": source, "sign_in": sign_in_words(source)}
    context["by_tls"] = source.transport == Transport.TLS
    if request.method != "POST":
        return form_page(request, template, {"username": source.username}, **context)
    try:
        services.update_credentials(source=source, by=request.user, **values)
    except Refused as error:
        return form_page(request, template, values, error, **context)
    attempt(
        request,
        lambda: services.test_source(source=source, by=request.user),
        _("The new sign-in is stored and tested now."),
    )
    return redirect("source_page", source.pk)


@require_http_methods(ASKED)
def source_remove(request: HttpRequest, source_id: UUID) -> HttpResponseBase:
    """Ask for the source's name; by POST, forget it and what was read from it."""
    source, values = _managed(request, source_id), values_of(request, "confirmation")
    context: dict[str, Any] = {"source": source, "hosts": source.hosts.count()}
    if request.method != "POST":
        return form_page(request, "sources/source_remove.html", values, **context)
    try:
        services.remove_source(source=source, confirmation=values["confirmation"], by=request.user)
    except Refused as error:
        return form_page(request, "sources/source_remove.html", values, error, **context)
    messages.success(
        request, _("%(source)s is removed. The hypervisor itself was not touched.") % {"source": source.name}
    )
    return redirect("source_list")


# -- adding one: form → test → host key accepted → added


@sensitive_post_parameters()
@require_http_methods(ASKED)
def source_add(request: HttpRequest) -> HttpResponseBase:
    """Ask where it is; by POST, keep that as a draft and test it."""
    require(request.user, Action.SOURCES)
    datacenters = list(Datacenter.objects.restrict(request.user, Action.SOURCES)[:HOSTS_SHOWN])
    context: dict[str, Any] = {"transports": TRANSPORTS, "hypervisors": HYPERVISOR_CHOICES, "datacenters": datacenters}
    if request.method != "POST":
        usual = datacenters[0].name if datacenters else services.DEFAULT_DATACENTER
        first = {"hypervisor": Hypervisor.QEMU, "transport": Transport.SSH, "datacenter": usual}
        return form_page(request, "sources/source_add.html", {**first}, **context)
    values = values_of(request, *PLACE)
    values |= sign_in_values(request, values["transport"])
    try:
        draft = services.draft_source(**values, by=request.user)
        services.test_source(source=draft, by=request.user)
    except Refused as error:
        return form_page(request, "sources/source_add.html", values, error, **context)
    return redirect("source_draft", draft.pk)


def _draft(request: HttpRequest, draft_id: UUID) -> SourceDraft:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    return get_object_or_404(SourceDraft.objects.restrict(request.user, Action.SOURCES), pk=draft_id)


@require_safe
def source_draft(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    """The draft, its test while it runs, and what comes next."""
    draft = _draft(request, draft_id)
    where = f"{draft.address}:{draft.port}" if draft.port else draft.address
    context = {"draft": draft, "place": where, "host_key": fingerprint(draft.host_key), **_test_context(draft)}
    return render(request, "sources/source_draft.html", context)


@require_POST
def source_draft_test(request: HttpRequest, draft_id: UUID) -> HttpResponseBase:
    draft = _draft(request, draft_id)
    attempt(request, lambda: services.test_source(source=draft, by=request.user))
    return redirect("source_draft", draft.pk)


@require_POST
def source_draft_accept_key(request: HttpRequest, draft_id: UUID) -> HttpResponseBase:
    draft = _draft(request, draft_id)
    _accept_key(request, draft)
    return redirect("source_draft", draft.pk)


@require_POST
def source_draft_add(request: HttpRequest, draft_id: UUID) -> HttpResponseBase:
    """Turn the draft into a source."""
    draft = _draft(request, draft_id)
    sentence = _("%(source)s is added; its first read is under way.") % {"source": draft.name}
    source = attempt(request, lambda: services.add_source(draft=draft, by=request.user), sentence)
    return redirect("source_page", source.pk) if source else redirect("source_draft", draft.pk)


@require_POST
def source_draft_discard(request: HttpRequest, draft_id: UUID) -> HttpResponseBase:
    draft = _draft(request, draft_id)
    services.discard_draft(draft=draft, by=request.user)
    messages.success(request, _("%(source)s was not added.") % {"source": draft.name})
    return redirect("source_list")


urlpatterns = [
    path("sources/", source_list, name="source_list"),
    path("sources/add/", source_add, name="source_add"),
    path("sources/add/<uuid:draft_id>/", source_draft, name="source_draft"),
    path("sources/add/<uuid:draft_id>/test/", source_draft_test, name="source_draft_test"),
    path("sources/add/<uuid:draft_id>/host-key/", source_draft_accept_key, name="source_draft_accept_key"),
    path("sources/add/<uuid:draft_id>/finish/", source_draft_add, name="source_draft_add"),
    path("sources/add/<uuid:draft_id>/discard/", source_draft_discard, name="source_draft_discard"),
    path("sources/<uuid:source_id>/", source_page, name="source_page"),
    path("sources/<uuid:source_id>/test/", source_test, name="source_test"),
    path("sources/<uuid:source_id>/host-key/", source_accept_key, name="source_accept_key"),
    path("sources/<uuid:source_id>/pause/", source_pause, name="source_pause"),
    path("sources/<uuid:source_id>/resume/", source_resume, name="source_resume"),
    path("sources/<uuid:source_id>/read/", source_read, name="source_read"),
    path("sources/<uuid:source_id>/credentials/", source_credentials, name="source_credentials"),
    path("sources/<uuid:source_id>/remove/", source_remove, name="source_remove"),
]
