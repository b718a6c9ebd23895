"""Acts on sources and hosts."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from audit.services import record
from core.crypto import encrypt_anew
from core.db import write_transaction
from core.errors import Conflict, Invalid
from core.events import Change, publish
from drivers.registry import KINDS
from drivers.types import Hypervisor, Transport
from hosts import validation
from hosts.credentials import FIELDS, SignIn, fields_after, forget_accepted, set_credentials
from hosts.models import SECRETS, Connection, Datacenter, Host, Source, SourceDraft, SourceState
from hosts.owners import hand_over_hosts, lock_with_heirs
from hosts.recording import record_hosts
from hosts.search import index_places, index_sources
from hosts.signals import source_locked, source_removing
from hosts.uri import SourceParts, parse_uri
from operations.models import ENDED, Job, JobState
from operations.services import submit_job
from search.models import Kind
from search.services import forget

DEFAULT_DATACENTER = "Datacenter"
SOURCE_TEST = "source_test"
COMMAND_LINE = "command line"
SIGNING_IN = (Transport.SSH, Transport.TLS)
KEEP_DRAFTS = timedelta(days=1)


def draft_source(
    *,
    name: str,
    transport: str,
    address: str,
    hypervisor: str = "",
    port: Any = None,
    datacenter: str = "",
    by: Any,
    **sign_in: str,
) -> SourceDraft:
    """Keep what a person typed, checked part by part and with its secrets encrypted, to be tested and then added.

    `sign_in` has fields of SignIn.

    Raises: Forbidden, Invalid.
    """
    require(by, Action.SOURCES)
    draft = SourceDraft(
        name=_free_name(name),
        datacenter_name=validation.checked_name(datacenter or DEFAULT_DATACENTER, field="datacenter"),
        kind="libvirt",
        hypervisor=checked_hypervisor(hypervisor),
        transport=page_transport(transport),
        address=validation.checked_address(address),
        port=validation.checked_port(port),
        created_by=by.username,
    )
    set_credentials(draft, SignIn(**sign_in))
    require_new_place(draft)
    with write_transaction():
        expire_drafts()
        draft.save(force_insert=True)
        record_act(
            "source_draft.created",
            draft,
            by=by,
            hypervisor=draft.hypervisor,
            transport=draft.transport,
            address=draft.address,
            port=draft.port,
            username=draft.username,
        )
    return draft


def expire_drafts() -> None:
    """Forget what was begun and never added, with its secrets."""
    SourceDraft.objects.filter(created_at__lt=timezone.now() - KEEP_DRAFTS).delete()


def test_source(*, source: Connection, by: Any) -> Job:
    """Have a worker try a source or a draft; the job's progress tells each step.

    Raises: Forbidden, operations.errors.AlreadyOpen.
    """
    require(by, Action.SOURCES)
    return submit_job(
        kind=SOURCE_TEST,
        target_kind=_kind_of(source),
        target_id=source.pk,
        target_name=str(source),
        parameters={},
        exclusive=f"{SOURCE_TEST}:{source.pk}",
        by=by,
    )


def accept_host_key(*, source: Connection, job: Job, fingerprint: str, by: Any) -> None:
    """Pin the SSH host key or certificate that a test has just shown; `fingerprint` is what the person saw.

    Raises: Forbidden, Conflict when the test showed another one or was of another source.
    """
    require(by, Action.SOURCES)
    shown = job.progress.get("host_key") or {}
    if job.kind != SOURCE_TEST or job.target_id != str(source.pk) or shown.get("fingerprint") != fingerprint:
        raise Conflict(_("This is not what the host showed in the last test; test the source again."))
    key = validation.checked_identity(shown["key"])
    act = "source.certificate_accepted" if validation.is_certificate(key) else "source.host_key_accepted"
    with write_transaction():
        before = validation.fingerprint(source.host_key)
        source.host_key = key
        source.save(update_fields=["host_key"])
        record_act(act, source, by=by, before=before, after=fingerprint)
        if isinstance(source, Source):
            make_due(source)


def discard_draft(*, draft: SourceDraft, by: Any) -> None:
    """Forget a source that was being added.

    Raises: Forbidden.
    """
    require(by, Action.SOURCES)
    with write_transaction():
        deleted, _kinds = SourceDraft.objects.filter(pk=draft.pk).delete()
        if deleted:
            record_act("source_draft.discarded", draft, by=by)


def add_source(*, draft: SourceDraft, by: Any) -> Source:
    """Turn a draft whose last test succeeded into a source; it is read at once.

    Raises: Forbidden, Conflict, Invalid.
    """
    require(by, Action.SOURCES)
    last = last_test(draft)
    if last is None or last.state != JobState.SUCCEEDED or not last.progress.get("ready"):
        raise Conflict(_("Test this source first; it is added once the test succeeded."))
    source = source_of(draft, by=by)
    with write_transaction():
        SourceDraft.objects.filter(pk=draft.pk).delete()
        insert_source(source, draft.datacenter_name, by=by)
    return source


def source_of(draft: SourceDraft, *, by: Any) -> Source:
    """What becomes of a draft; `insert_source` stores it."""
    source = new_source(draft.name, by=by)
    for field in Connection._meta.get_fields():
        if field.name not in {"id", "created_at", "created_by"}:
            setattr(source, field.name, getattr(draft, field.name))
    return source


def add_configured_source(
    *, name: str, uri: str, host_key: str = "", datacenter: str = "", **sign_in: str
) -> tuple[Source, bool]:
    """Add a source from the server's own configuration; one of this name that is there already stays as it is.

    Returns it and whether it is new. Raises: Invalid.
    """
    parts = parse_uri(uri)
    known = Source.objects.filter(name=name).first()
    if known is not None:
        return known, False
    source = _from_parts(parts, new_source(validation.checked_name(name), by=COMMAND_LINE))
    set_credentials(source, SignIn(username=parts.username, **sign_in))
    source.host_key = validation.checked_identity(host_key) if host_key else ""
    with write_transaction():
        insert_source(
            source, validation.checked_name(datacenter or DEFAULT_DATACENTER, field="datacenter"), by=COMMAND_LINE
        )
    return source, True


def update_credentials(*, source: Source, by: Any, **sign_in: str) -> Source:
    """Sign in another way from now on; `sign_in` has fields of SignIn.

    By ssh an empty password and key keep those stored; certificates change as a whole.

    Raises: Forbidden, Invalid, Conflict for a source that needs none.
    """
    require(by, Action.SOURCES)
    if source.transport not in SIGNING_IN:
        raise Conflict(_("This source is reached without a sign-in."))
    accepted = source.host_key
    changed = set_credentials(source, SignIn(**sign_in))
    with write_transaction():
        source.save(update_fields=fields_after(source, accepted))
        record_act("source.credentials_changed", source, by=by, username=source.username, changed=changed)
        make_due(source)
    return source


def replace_credentials(source: Source, tried: SourceDraft, *, by: Any) -> None:
    """Sign in from now on as was tried with a draft. The caller has checked that `by` may.

    Transaction: the one that notes what came of the draft.
    """
    presented = {name: told for name, told in source.certificates.items() if name == "server"}
    accepted, had_ca = source.host_key, bool(source.ca_certificate_encrypted)
    for name in FIELDS:
        setattr(source, name, getattr(tried, name))
    forget_accepted(source, had_ca=had_ca)
    source.certificates = {**source.certificates, **presented}
    source.save(update_fields=fields_after(source, accepted))
    changed = ["client certificate" if source.transport == Transport.TLS else _kept(source)]
    record_act("source.credentials_changed", source, by=by, username=source.username, changed=changed, tested=True)
    make_due(source)


def _kept(source: Source) -> str:
    return "password" if source.password_encrypted else "private key"


def encrypt_credentials_anew(*, by: str) -> int:
    """Encrypt every stored credential with the newest key; how many sources have one.

    Raises: UnreadableSecret. Transaction: one for all.
    """
    count = 0
    with write_transaction():
        for model in (Source, SourceDraft):
            for row in model._default_manager.exclude(**dict.fromkeys(SECRETS, "")).order_by("pk"):
                for name in SECRETS:
                    setattr(row, name, encrypt_anew(getattr(row, name)))
                row.save(update_fields=SECRETS)
                count += 1
        record(action="source.credentials_encrypted_anew", by=by, target_kind="source", number=count)
    return count


def pause_source(*, source: Source, by: Any) -> None:
    """Stop reading; a read under way writes nothing any more.

    Raises: Forbidden.
    """
    require(by, Action.SOURCES)
    with write_transaction():
        heirs = lock_with_heirs(source)
        paused = (
            Source.objects.filter(pk=source.pk)
            .exclude(state=SourceState.PAUSED)
            .update(
                state=SourceState.PAUSED,
                state_message="",
                state_since=timezone.now(),
                lease_token=F("lease_token") + 1,
                lease_until=None,
            )
        )
        if paused:
            record_act("source.paused", source, by=by, **_handed_over(source, heirs))


def resume_source(*, source: Source, by: Any) -> None:
    """Read again, at once.

    Raises: Forbidden.
    """
    require(by, Action.SOURCES)
    with write_transaction():
        resumed = Source.objects.filter(pk=source.pk, state=SourceState.PAUSED).update(
            state=SourceState.NEW, state_message="", state_since=timezone.now()
        )
        if resumed:
            make_due(source)
            record_act("source.resumed", source, by=by)


def read_source_now(*, source: Source, by: Any) -> None:
    """Read without waiting for the next turn.

    Raises: Forbidden, Conflict while it is paused.
    """
    require(by, Action.SOURCES)
    if source.state == SourceState.PAUSED:
        raise Conflict(_("This source is paused; resume it first."))
    with write_transaction():
        make_due(source)
        record_act("source.read_asked", source, by=by)


def remove_source(*, source: Source, confirmation: str, by: Any) -> None:
    """Forget a source and all that was read from it; the hypervisor itself is not touched.

    Raises: Forbidden, Invalid unless `confirmation` is its name, Conflict while tasks are open there.
    """
    require(by, Action.SOURCES)
    if confirmation.strip() != source.name:
        raise Invalid(_("Type the source's name to confirm."), field="confirmation")
    with write_transaction():
        heirs = lock_with_heirs(source, to_remove=True)
        Source.objects.select_for_update().get(pk=source.pk)
        source_locked.send(Source, source=source)
        _require_idle(source)
        handed = _handed_over(source, heirs)
        source_removing.send(Source, source=source)
        gone = list(source.hosts.order_by().values_list("pk", flat=True))
        record_hosts(source.datacenter_id, {}, at=timezone.now(), gone=gone)
        forget(Kind.HOST, source.hosts.values("pk"))
        forget(Kind.SOURCE, [source.pk])
        hosts = source.hosts.count()
        record_act("source.removed", source, by=by, what="removed", hosts=hosts, **handed)
        Source.objects.filter(pk=source.pk).delete()
        publish(*(Change(kind, "*") for kind in ("host", "guest", "datastore", "switch") if hosts))


def set_maintenance(*, host: Host, on: bool, by: Any) -> Host:
    """Take a host out of the migration targets, or back in.

    Raises: Forbidden.
    """
    require(by, Action.MAINTENANCE)
    with write_transaction():
        if Host.objects.filter(pk=host.pk, maintenance=not on).update(maintenance=on):
            action = "host.maintenance_entered" if on else "host.maintenance_left"
            record(action=action, by=by, target_kind="host", target_id=host.pk, target_name=host.name)
            publish(Change("host", str(host.pk)))
    host.maintenance = on
    return host


def last_test(source: Connection) -> Job | None:
    """The newest test of a source or draft."""
    return Job.objects.filter(kind=SOURCE_TEST, target_kind=_kind_of(source), target_id=str(source.pk)).first()


def new_source(name: str, *, by: Any) -> Source:
    now = timezone.now()
    creator = str(getattr(by, "username", by))
    return Source(name=name, created_by=creator, state_since=now, next_inventory_at=now, next_states_at=now)


def _from_parts(parts: SourceParts, source: Source) -> Source:
    source.kind = parts.kind
    source.hypervisor = parts.hypervisor
    source.transport = parts.transport
    source.address = parts.address
    source.port = parts.port
    source.username = parts.username
    source.uri = parts.uri
    return source


def insert_source(source: Source, datacenter: str, *, by: Any) -> None:
    source.datacenter = locked_datacenter(datacenter)
    # Each looks once more: since the draft was checked another may have come to its place.
    require_new_place(source)
    try:
        source.save(force_insert=True)
    except IntegrityError as error:
        raise Invalid(_("There is already a source of this name."), field="name") from error
    index_sources([source.pk])
    index_places([source.datacenter])  # which may be new
    record_act(
        "source.added",
        source,
        by=by,
        what="added",
        hypervisor=source.hypervisor,
        transport=source.transport,
        address=source.address,
        port=source.port,
        username=source.username,
        uri=source.uri,
    )


def locked_datacenter(name: str) -> Datacenter:
    """The datacenter of this name, in whatever letters; a new one if there is none.

    All of them are locked: sources are added one at a time, and nobody deletes this one meanwhile.
    """
    named = Datacenter.objects.filter(name=name).first() or Datacenter.objects.filter(name__iexact=name).first()
    row = named or Datacenter.objects.get_or_create(name=name)[0]
    locked = Datacenter.objects.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True)
    return row if row.pk in list(locked) else locked_datacenter(name)


def _free_name(text: str) -> str:
    name = validation.checked_name(text)
    if Source.objects.filter(name=name).exists():
        raise Invalid(_("There is already a source of this name."), field="name")
    return name


def page_transport(text: str) -> Transport:
    if text not in KINDS["libvirt"].page_transports:
        raise Invalid(_("Choose ssh, tls or tcp."), field="transport")
    return Transport(text)


def checked_hypervisor(text: str) -> Hypervisor:
    """QEMU unless something is said. Raises: Invalid."""
    try:
        return Hypervisor(text.strip().lower() or Hypervisor.QEMU)
    except ValueError as error:
        raise Invalid(_("Choose qemu, lxc or xen."), field="hypervisor") from error


def require_new_place(new: Connection) -> None:
    """One hypervisor read by two sources would show each guest twice."""
    if new.uri:
        same = Q(uri=new.uri)
    else:
        default = validation.DEFAULT_PORTS[Transport(new.transport)]
        port = new.port or default
        same_port = Q(port=port) | Q(port=None) if port == default else Q(port=port)
        same = Q(uri="", address=new.address, transport=new.transport, hypervisor=new.hypervisor) & same_port
    known = Source.objects.filter(same).first()
    if known is not None:
        raise Invalid(_("This address is already read by the source %(name)s.") % {"name": known.name}, field="address")


def _handed_over(source: Source, heirs: frozenset[UUID]) -> dict[str, Any]:
    """For the audit log: who reads its hosts from now on."""
    handed = hand_over_hosts(source, heirs)
    return {"handed_over": handed} if handed else {}


def make_due(source: Source) -> None:
    """Both reads are due now, and it gets a fresh start among the healthy ones."""
    now = timezone.now()
    Source.objects.filter(pk=source.pk).update(next_inventory_at=now, next_states_at=now, suspect=False)


def _require_idle(source: Source) -> None:
    names = [str(pk) for pk in source.hosts.values_list("pk", flat=True)]
    busy = (
        Job.objects.exclude(state__in=ENDED)
        .exclude(kind=SOURCE_TEST)
        .filter(Q(target_kind="host", target_id__in=names) | Q(target_kind="source", target_id=str(source.pk)))
        .first()
    )
    if busy is not None:
        raise Conflict(
            _("A task is open on %(target)s; wait for it to end or cancel it.") % {"target": busy.target_name}
        )


def _kind_of(source: Connection) -> str:
    return "source" if isinstance(source, Source) else "source_draft"


def record_act(action: str, source: Connection, *, by: Any, what: str = "changed", **detail: Any) -> None:
    record(
        action=action,
        by=by,
        target_kind=_kind_of(source),
        target_id=source.pk,
        target_name=str(source),
        **detail,
    )
    if isinstance(source, Source):
        publish(Change("source", str(source.pk), what))
