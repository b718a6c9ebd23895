"""Asking for a migration."""

import secrets
from typing import Any

from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from core.db import write_transaction
from core.errors import Conflict, Invalid
from drivers.types import Finding, Severity
from hosts.models import Host
from inventory.holds import exclusive_key
from inventory.models import Guest
from migrations.models import GuestMigration
from migrations.planner import Target, as_data, check_target
from operations import services as operations
from operations.services import submit_job


class NotPossible(Conflict):
    """A pre-check stands against it; `findings` are all of the check's results."""

    code = "not_possible"

    def __init__(self, message: str, *, findings: tuple[Finding, ...]) -> None:
        super().__init__(message)
        self.findings = findings


def submit_migration(*, guest: Guest, target_host: Host, live: bool = True, by: Any) -> GuestMigration:
    """Queue the move of a running guest. The migration and its job (`migration.job`) share their id.

    `by` is a user, or the name of what acts for the server (a management command).

    Raises: Forbidden; NotPossible, with findings; AlreadyOpen, naming the open task; Invalid.
    Transaction: its own.
    """
    if not isinstance(by, str):
        require(by, Action.MIGRATE)
    if not live:
        raise Invalid(_("Only running guests are moved, without stopping them: send live as true."), field="live")
    target = check_target(guest, target_host)
    _require_possible(target)
    with write_transaction():
        job = submit_job(
            kind="migration",
            target_kind="guest",
            target_id=guest.pk,
            target_name=guest.name,
            parameters={"target_host": str(target_host.pk), "target_host_name": target_host.name, "live": True},
            exclusive=exclusive_key(guest.pk),
            by=by,
        )
        return GuestMigration.objects.create(
            job=job,
            guest=guest,
            guest_uuid=guest.uuid,
            guest_name=guest.name,
            source_host=guest.host,
            source_host_name=guest.host.name,
            target_host=target_host,
            target_host_name=target_host.name,
            # The id alone would do to tell attempts apart; what cannot be guessed cannot be written by a guest's owner.
            stamp=f"{job.pk}-{secrets.token_hex(8)}",
            findings=as_data(target.findings),
        )


def _require_possible(target: Target) -> None:
    errors = [finding for finding in target.findings if finding.severity is Severity.ERROR]
    if errors:
        sentence = " ".join(part for part in (errors[0].message, errors[0].fix) if part)
        raise NotPossible(sentence, findings=target.findings)


def request_cancel(*, migration: GuestMigration, by: Any) -> GuestMigration:
    """Ask a migration to stop; see `operations.services.request_cancel`.

    Raises: Forbidden; CannotCancel, with a sentence, once it is too late.
    """
    migration.job = operations.request_cancel(job=migration.job, by=by)
    return migration
