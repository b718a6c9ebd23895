"""Many sources at once, for scripts: importing them, and replacing their credentials."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import rest_framework.views  # noqa: F401 - as in api/organization.py
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import require
from access.roles import Action
from api.formats import Body, read_body
from api.serializers import Json
from api.views import Endpoint
from core.errors import Invalid
from hosts import batches, importing
from hosts.models import Source, SourceBatch, SourceDraft


class SourceBody(Body):
    address: str
    name: str = ""
    transport: str = ""
    port: int | None = None
    user: str = ""
    datacenter: str = ""
    hypervisor: str = ""


class ImportBody(Body):
    sources: list[SourceBody] = []
    range: str = ""
    transport: str = "ssh"
    port: int | None = None
    user: str = ""
    password: str = ""
    private_key: str = ""
    ca_certificate: str = ""
    client_certificate: str = ""
    client_key: str = ""
    datacenter: str = ""
    hypervisor: str = ""


class KeyBody(Body):
    id: UUID
    fingerprint: str


class KeysBody(Body):
    keys: list[KeyBody]


class CredentialsBody(Body):
    sources: list[UUID] = []
    names: list[str] = []
    of_user: str = ""
    by_tls: bool = False
    user: str = ""
    password: str = ""
    private_key: str = ""
    ca_certificate: str = ""
    client_certificate: str = ""
    client_key: str = ""


SECRETS = ("password", "private_key", "ca_certificate", "client_certificate", "client_key")


def _batch(request: Request, identifier: UUID) -> SourceBatch:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    return get_object_or_404(SourceBatch.objects.restrict(request.user, Action.SOURCES), pk=identifier)


def _answer(request: Request, batch: SourceBatch, code: int = status.HTTP_200_OK) -> Response:
    drafts = batch.drafts.restrict(request.user, Action.SOURCES).order_by("position", "pk")
    job = batches.last_task(batch)
    told: Json = {
        "id": batch.pk,
        "name": batch.title,
        "kind": batch.kind,
        "task": job.pk if job else None,
        "counts": batches.outcome_counts(batch),
        "refused": batch.refused,
        "sources": [_draft_json(draft) for draft in drafts],
    }
    return Response(told, status=code)


def _draft_json(draft: SourceDraft) -> Json:
    """Never its secrets."""
    return {
        "id": draft.pk,
        "name": draft.name,
        "address": draft.address,
        "hypervisor": draft.hypervisor,
        "transport": draft.transport,
        "port": draft.port,
        "user": draft.username,
        "datacenter": draft.datacenter_name,
        "outcome": draft.outcome,
        "message": draft.message,
        "fingerprint": draft.presented.get("fingerprint", ""),
        "source": draft.source_id,
    }


class SourceImport(Endpoint):
    def post(self, request: Request) -> Response:
        """Keep what can be taken, and have workers test that at once."""
        require(request.user, Action.SOURCES)
        body = read_body(request, ImportBody)
        title, lines = _named(body)
        words = {name: getattr(body, name) for name in ("hypervisor", "transport", "user", "datacenter", *SECRETS)}
        defaults = batches.Defaults(port=_text(body.port), **words)
        batch = batches.plan_import(title=title, lines=lines, defaults=defaults, by=request.user)
        if len(batch.refused) < len(lines):
            batches.test_batch(batch=batch, by=request.user)
        return _answer(request, batch, status.HTTP_202_ACCEPTED)


def _named(body: ImportBody) -> tuple[str, list[importing.Line]]:
    """Raises: Invalid."""
    if bool(body.sources) == bool(body.range):
        raise Invalid(_("Give “sources” or a “range”: one of them."), field="sources")
    if body.range:
        return body.range, importing.read_range(body.range)
    if len(body.sources) > importing.MOST_LINES:
        message = _("An import has at most %(n)d sources; split it.") % {"n": importing.MOST_LINES}
        raise Invalid(message, field="sources")
    lines = [
        importing.Line(**{**msgspec.structs.asdict(one), "number": number, "port": _text(one.port)})
        for number, one in enumerate(body.sources, 1)
    ]
    return _("%(n)d lines") % {"n": len(lines)}, lines


def _text(port: int | None) -> str:
    return "" if port is None else str(port)


class SourceCredentials(Endpoint):
    def post(self, request: Request) -> Response:
        """Have a new sign-in tried; it takes the place of the old one where it works."""
        require(request.user, Action.SOURCES)
        body = read_body(request, CredentialsBody)
        batch, _job = batches.plan_credentials(
            sources=_meant(request, body),
            username=body.user,
            by=request.user,
            **{name: getattr(body, name) for name in SECRETS},
        )
        return _answer(request, batch, status.HTTP_202_ACCEPTED)


def _meant(request: Request, body: CredentialsBody) -> list[UUID]:
    """Raises: Invalid."""
    if sum(map(bool, (body.sources, body.names, body.of_user, body.by_tls))) != 1:
        raise Invalid(_("Give “sources”, “names”, “of_user” or “by_tls”: one of them."), field="sources")
    if body.sources:
        return body.sources
    rows = Source.objects.restrict(request.user, Action.SOURCES)
    if body.names:
        return _by_name(rows, body.names)
    if "\0" in body.of_user:  # which PostgreSQL refuses to look for, and no source has
        return []
    way: dict[str, str] = {"transport": "tls"} if body.by_tls else {"transport": "ssh", "username": body.of_user}
    return list(rows.filter(**way).values_list("pk", flat=True)[: batches.MOST_AT_ONCE + 1])


def _by_name(rows: QuerySet[Source], names: list[str]) -> list[UUID]:
    """Raises: Invalid for a name that no source has."""
    wanted = list(dict.fromkeys(names))[: batches.MOST_AT_ONCE + 1]  # one more is refused as too many
    askable = [name for name in wanted if "\0" not in name]  # which PostgreSQL refuses to look for
    found = dict(rows.filter(name__in=askable).values_list("name", "pk"))
    unknown = [name for name in wanted if name not in found]
    if unknown:
        raise Invalid(_("There is no source named %(name)s.") % {"name": unknown[0][:100]}, field="names")
    return list(found.values())


class Batch(Endpoint):
    def get(self, request: Request, id: UUID) -> Response:  # noqa: A002 - the name in the URL
        return _answer(request, _batch(request, id))


class BatchTest(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        batch = _batch(request, id)
        batches.test_batch(batch=batch, by=request.user)
        return _answer(request, batch, status.HTTP_202_ACCEPTED)


class BatchAccept(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        batch = _batch(request, id)
        keys: dict[Any, str] = {key.id: key.fingerprint for key in read_body(request, KeysBody).keys}
        batches.accept_host_keys(batch=batch, keys=keys, by=request.user)
        return _answer(request, batch, status.HTTP_202_ACCEPTED)


class BatchAdd(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        batch = _batch(request, id)
        batches.add_batch(batch=batch, by=request.user)
        return _answer(request, batch, status.HTTP_202_ACCEPTED)


class BatchDiscard(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        batches.discard_batch(batch=_batch(request, id), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
