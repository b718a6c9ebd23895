"""Acts on many sources at once: imports, and new credentials. Workers try each: see `hosts.batch_runner`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count
from django.utils import timezone
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from audit.services import record
from core.db import write_transaction
from core.errors import Conflict, Invalid
from hosts import services, validation
from hosts.credentials import FIELDS, SignIn, set_credentials
from hosts.importing import Line
from hosts.models import BatchKind, Outcome, Source, SourceBatch, SourceDraft
from operations.models import Job
from operations.services import submit_job

KIND = "source_batch"
TEST, ADD, REPLACE = "test", "add", "replace"
MOST_AT_ONCE = 1024
MOST_NAMED = 100


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every line that does not say otherwise; the secrets hold for all."""

    transport: str = "ssh"
    port: str = ""
    user: str = ""
    datacenter: str = ""
    hypervisor: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    ca_certificate: str = field(default="", repr=False)
    client_certificate: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)

    @property
    def by_ssh(self) -> SignIn:
        # The user is each line's own; this one only has the secrets checked.
        return SignIn(username="x", password=self.password, private_key=self.private_key)

    @property
    def by_tls(self) -> SignIn:
        return SignIn(
            ca_certificate=self.ca_certificate, client_certificate=self.client_certificate, client_key=self.client_key
        )


def plan_import(*, title: str, lines: Sequence[Line], defaults: Defaults, by: Any) -> SourceBatch:
    """Keep what an administrator named: a draft of each line that can be taken, a sentence for each that cannot.

    Nothing is connected to yet. Raises: Forbidden; Invalid for what holds for every line.
    """
    require(by, Action.SOURCES)
    drafts, refused = check_lines(lines, defaults)
    batch = SourceBatch(kind=BatchKind.IMPORT, title=title[:200], refused=refused, created_by=by.username)
    _save(batch, drafts, by=by, action="source_import.planned", refused=len(refused))
    return batch


def check_lines(lines: Sequence[Line], defaults: Defaults) -> tuple[list[SourceDraft], list[dict[str, Any]]]:
    """Drafts that are not stored yet, and the refused lines as `SourceBatch.refused` has them. Raises: Invalid."""
    _check_defaults(defaults)
    secrets = _secrets(defaults)
    known, drafts, refused = _Known(), [], []
    for line in lines:
        try:
            draft = _draft(line, defaults, secrets)
            known.add(draft)
        except Invalid as error:
            known_already = isinstance(error, AlreadyKnown)
            refused.append({"line": line.number, "text": line.text, "message": error.message, "known": known_already})
        else:
            drafts.append(draft)
    return drafts, refused


def _check_defaults(defaults: Defaults) -> None:
    """A mistake in what holds for all is told once, at its field. Raises: Invalid."""
    services.page_transport(defaults.transport)
    services.checked_hypervisor(defaults.hypervisor)
    validation.checked_port(defaults.port)
    validation.checked_username(defaults.user)
    if defaults.datacenter:
        validation.checked_name(defaults.datacenter, field="datacenter")


Secrets = dict[str, dict[str, Any]]
"""By transport the fields of a connection, checked and encrypted once for all."""


def _secrets(defaults: Defaults) -> Secrets:
    """Raises: Invalid."""
    found = {"ssh": _held("ssh", defaults.by_ssh)}
    if defaults.transport == "tls" or defaults.by_tls.for_tls:
        found["tls"] = _held("tls", defaults.by_tls)
    return found


def _held(transport: str, sign_in: SignIn) -> dict[str, Any]:
    holder = SourceDraft(transport=transport)
    set_credentials(holder, sign_in)
    return {name: getattr(holder, name) for name in FIELDS if name != "username"}


def _draft(line: Line, defaults: Defaults, secrets: Secrets) -> SourceDraft:
    """By the rules of `services.draft_source`. Raises: Invalid."""
    address = validation.checked_address(line.address)
    draft = SourceDraft(
        name=validation.checked_name(line.name or address[:100]),
        datacenter_name=validation.checked_name(
            line.datacenter or defaults.datacenter or services.DEFAULT_DATACENTER, field="datacenter"
        ),
        kind="libvirt",
        hypervisor=services.checked_hypervisor(line.hypervisor or defaults.hypervisor),
        transport=services.page_transport((line.transport or defaults.transport).lower()),
        address=address,
        port=validation.checked_port(line.port or defaults.port),
        position=line.number,
    )
    if draft.transport == "ssh":
        set_credentials(draft, SignIn(username=line.user or defaults.user))
    elif line.user:
        raise Invalid(_("Only ssh signs in; leave the user empty."), field="username")
    elif draft.transport == "tls" and "tls" not in secrets:
        raise Invalid(_("Enter a client certificate for the sources that are reached by tls."))
    for name, value in secrets.get(draft.transport, {}).items():
        setattr(draft, name, value)
    return draft


class AlreadyKnown(Invalid):
    """What the line names is a source already, or an earlier line's."""


class _Known:
    """Names and places that are taken: by sources, and by the lines before."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._places: dict[tuple[str, str, str, int], str] = {}
        rows = Source.objects.filter(uri="").values_list("name", "hypervisor", "transport", "address", "port")
        for name, hypervisor, transport, address, port in rows:
            self._places[_place(hypervisor, transport, address, port)] = name
        self._names.update(Source.objects.values_list("name", flat=True))

    def add(self, draft: SourceDraft) -> None:
        """Raises: Invalid."""
        place = _place(draft.hypervisor, draft.transport, draft.address, draft.port)
        if place in self._places:
            raise AlreadyKnown(
                _("This address is already read by the source %(name)s.") % {"name": self._places[place]}
            )
        if draft.name in self._names:
            raise Invalid(_("There is already a source named %(name)s.") % {"name": draft.name})
        self._places[place] = draft.name
        self._names.add(draft.name)


def _place(hypervisor: str, transport: str, address: str, port: int | None) -> tuple[str, str, str, int]:
    usual = {str(one): number for one, number in validation.DEFAULT_PORTS.items()}
    return str(hypervisor), str(transport), address, port or usual.get(str(transport), 0)


def plan_credentials(*, sources: Iterable[UUID], by: Any, **sign_in: str) -> tuple[SourceBatch, Job]:
    """Have a new sign-in tried on each source; it takes the place of the old one where it works, and only there.

    `sign_in` has fields of SignIn; by what it has, the sources are all reached by ssh, or all by tls.

    Raises: Forbidden, Invalid, Conflict when a source is gone or signs in nowhere.
    """
    require(by, Action.SOURCES)
    new = SignIn(**sign_in)
    transport, name = _transport_of(new), validation.checked_username(new.username)
    secrets = _held(transport, new if transport == "tls" else replace(new, username="x"))
    drafts = [_replacement(source, name, secrets) for source in _signing_in(sources, transport, by=by)]
    for position, draft in enumerate(drafts, 1):
        draft.position = position
    title = _("%(n)d sources") % {"n": len(drafts)} if len(drafts) > 1 else drafts[0].name
    batch = SourceBatch(kind=BatchKind.CREDENTIALS, title=title, created_by=by.username)
    with write_transaction():
        _save(batch, drafts, by=by, action="source_credentials.planned", username=name)
        job = _submit(batch, REPLACE, by=by)
    return batch, job


def _transport_of(new: SignIn) -> str:
    """Raises: Invalid."""
    if new.for_tls and (new.password or new.private_key):
        raise Invalid(_("Give a sign-in for ssh or one for tls, not both."), field="client_certificate")
    if new.for_tls:
        return "tls"
    if not new.password and not new.private_key:
        raise Invalid(_("Enter the new private key or password."), field="private_key")
    return "ssh"


def _signing_in(sources: Iterable[UUID], transport: str, *, by: Any) -> list[Source]:
    wanted = set(sources)
    if not wanted:
        raise Invalid(_("Choose at least one source."), field="sources")
    if len(wanted) > MOST_AT_ONCE:
        raise Invalid(_("Choose at most %(n)d sources at once.") % {"n": MOST_AT_ONCE}, field="sources")
    rows = Source.objects.restrict(by, Action.SOURCES).filter(pk__in=wanted, transport=transport)
    found = list(rows.order_by("name", "pk"))
    if len(found) < len(wanted):
        raise Conflict(_("A source that you chose is gone or needs no such sign-in; look at the list again."))
    return found


SAME = ("name", "kind", "hypervisor", "transport", "address", "port", "host_key", "uri")


def _replacement(source: Source, username: str, secrets: dict[str, Any]) -> SourceDraft:
    same = {name: getattr(source, name) for name in SAME}
    if source.ca_certificate_encrypted and not secrets["ca_certificate_encrypted"]:
        same["host_key"] = ""  # from before the CA: without it a person accepts the certificate anew
    return SourceDraft(source=source, username=username or source.username, **secrets, **same)


def _save(batch: SourceBatch, drafts: list[SourceDraft], *, by: Any, action: str, **detail: Any) -> None:
    for draft in drafts:
        draft.batch, draft.created_by = batch, batch.created_by
    with write_transaction():
        expire_batches()
        batch.save(force_insert=True)
        SourceDraft.objects.bulk_create(drafts, batch_size=200)
        _record(action, batch, by=by, **_named(drafts), **detail)


def expire_batches(now: datetime | None = None) -> None:
    """Forget what was begun a day ago, with its secrets. A task that still runs on it ends."""
    before = (now or timezone.now()) - services.KEEP_DRAFTS
    SourceBatch.objects.filter(created_at__lt=before).delete()


def add_lines(
    *, lines: Sequence[Line], defaults: Defaults, host_keys: Mapping[str, str]
) -> tuple[list[Source], list[dict[str, Any]]]:
    """Add sources from the server's own command line: by the same rules, tried by nobody; the workers read them.

    `host_keys`: what is accepted, by address. Returns the sources and the refused lines. Raises: Invalid.
    """
    drafts, refused = check_lines(lines, defaults)
    added = []
    for draft in drafts:
        draft.host_key = host_keys.get(draft.address, "") if draft.transport == "ssh" else ""
        source = services.source_of(draft, by=services.COMMAND_LINE)
        try:
            with write_transaction():
                services.insert_source(source, draft.datacenter_name, by=services.COMMAND_LINE)
        except Invalid as error:  # somebody was faster
            refused.append({"line": draft.position, "text": draft.name, "message": error.message, "known": True})
        else:
            added.append(source)
    return added, refused


def test_batch(*, batch: SourceBatch, by: Any) -> Job:
    """Have workers try what was not tried yet, and what failed, once more.

    Raises: Forbidden, operations.errors.AlreadyOpen, Conflict when there is nothing to try.
    """
    require(by, Action.SOURCES)
    with write_transaction():
        drafts = _locked(batch).drafts
        drafts.filter(outcome=Outcome.FAILED).update(outcome=Outcome.NEW, message="")
        if not drafts.filter(outcome=Outcome.NEW).exists():
            raise Conflict(_("There is nothing left to test here."))
        return _submit(batch, REPLACE if batch.kind == BatchKind.CREDENTIALS else TEST, by=by)


def accept_host_keys(*, batch: SourceBatch, keys: dict[UUID, str], by: Any) -> Job:
    """Pin the SSH host keys and certificates that the test showed, and go on.

    `keys` are the fingerprints a person saw, by draft.

    Raises: Forbidden, Invalid, Conflict when a host showed another key or is not waiting; AlreadyOpen.
    """
    require(by, Action.SOURCES)
    if not keys:
        raise Invalid(_("Tick the host keys that you accept."), field="keys")
    with write_transaction():
        drafts = list(_locked(batch).drafts.filter(pk__in=keys, outcome=Outcome.KEY).select_for_update())
        shown = [draft for draft in drafts if draft.presented.get("fingerprint") == keys[draft.pk]]
        if len(shown) < len(keys):
            raise Conflict(_("These are not the host keys of the last test; look at the list again."))
        for draft in shown:
            draft.host_key = validation.checked_identity(draft.presented["key"])
            draft.outcome, draft.message = Outcome.NEW, ""
        SourceDraft.objects.bulk_update(shown, ["host_key", "outcome", "message"], batch_size=200)
        accepted = {draft.address: draft.presented["fingerprint"] for draft in shown[:MOST_NAMED]}
        _record("source_import.host_keys_accepted", batch, by=by, number=len(shown), keys=accepted)
        return _submit(batch, TEST, by=by)


def add_batch(*, batch: SourceBatch, by: Any) -> Job:
    """Have every source added whose test succeeded; each is read at once.

    Raises: Forbidden, AlreadyOpen, Conflict when none is ready.
    """
    require(by, Action.SOURCES)
    with write_transaction():
        if not _locked(batch).drafts.filter(outcome=Outcome.READY).exists():
            raise Conflict(_("No source is ready; test them first."))
        return _submit(batch, ADD, by=by)


def discard_batch(*, batch: SourceBatch, by: Any) -> None:
    """Forget what is not added; a task that is at it stops.

    Raises: Forbidden.
    """
    require(by, Action.SOURCES)
    with write_transaction():
        deleted, _kinds = SourceBatch.objects.filter(pk=batch.pk).delete()
        if deleted:
            _record(f"{_audited(batch)}.discarded", batch, by=by)


def last_task(batch: SourceBatch) -> Job | None:
    return Job.objects.filter(kind=KIND, target_kind=KIND, target_id=str(batch.pk)).first()


def outcome_counts(batch: SourceBatch) -> dict[str, int]:
    """How many drafts stand where; every outcome is there."""
    counts = dict(batch.drafts.order_by().values_list("outcome").annotate(Count("pk")))
    return {outcome.value: counts.get(outcome.value, 0) for outcome in Outcome}


def _locked(batch: SourceBatch) -> SourceBatch:
    """Raises: Conflict when it is gone."""
    fresh = SourceBatch.objects.select_for_update().filter(pk=batch.pk).first()
    if fresh is None:
        raise Conflict(_("This is gone: it was discarded, or begun more than a day ago."))
    return fresh


def _submit(batch: SourceBatch, act: str, *, by: Any) -> Job:
    return submit_job(
        kind=KIND,
        target_kind=KIND,
        target_id=batch.pk,
        target_name=batch.title,
        parameters={"action": act},
        exclusive=f"{KIND}:{batch.pk}",
        by=by,
    )


def _named(drafts: list[SourceDraft]) -> dict[str, Any]:
    return {"number": len(drafts), "addresses": [draft.address for draft in drafts[:MOST_NAMED]]}


def _audited(batch: SourceBatch) -> str:
    return "source_import" if batch.kind == BatchKind.IMPORT else "source_credentials"


def _record(action: str, batch: SourceBatch, *, by: Any, **detail: Any) -> None:
    record(action=action, by=by, target_kind=KIND, target_id=batch.pk, target_name=batch.title, **detail)
