"""`manage migrate_guest GUEST HOST [--wait]` (`migrate` stays Django's)."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any, TypeVar
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _

from audit.services import COMMAND_LINE
from core.errors import Refused
from core.units import format_bytes, format_rate
from drivers.types import Severity
from hosts.models import Host
from inventory.models import Guest
from migrations.models import GuestMigration
from migrations.services import NotPossible, submit_migration
from operations.models import JobState

LOOK_SECONDS = 0.25
DATABASE_SECONDS = 30.0
LINE_SECONDS = 2.0  # how often a progress line comes where nothing overwrites it

M = TypeVar("M", bound=Model)


class Command(BaseCommand):
    help = (
        "Move a running guest to another host. GUEST and HOST are ids, or names that only one has. Prints the "
        "migration's id; with --wait shows the progress and exits 0 only when the guest has moved."
    )

    unread_since: float | None = None

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("guest", metavar="GUEST", help="id or name of the guest")
        parser.add_argument("host", metavar="HOST", help="id or name of the target host")
        parser.add_argument("--wait", action="store_true", help="wait for the end; exit 0 only when it succeeded")

    def handle(self, *_args: Any, **options: Any) -> None:
        guest = find_one(Guest.objects.select_related("host__source"), options["guest"], _("guest"))
        host = find_one(Host.objects.select_related("source"), options["host"], _("host"))
        try:
            migration = submit_migration(guest=guest, target_host=host, by=COMMAND_LINE)
        except NotPossible as refusal:
            raise CommandError("\n".join(sentences(refusal))) from None
        except Refused as refusal:
            raise CommandError(refusal.message) from None
        self.stdout.write(str(migration.pk))
        if options["wait"]:
            self.wait(migration)

    def wait(self, migration: GuestMigration) -> None:
        try:
            self.watch(migration)
        except KeyboardInterrupt:
            self.stdout.write("")
            raise CommandError(
                _("Not waiting any more. The migration goes on; cancel it on its page or through the API."),
                returncode=130,
            ) from None
        if migration.job.state != JobState.SUCCEEDED:
            raise CommandError(f"{JobState(migration.job.state).label}: {migration.job.message}")
        self.stdout.write(migration.job.message)

    def watch(self, migration: GuestMigration) -> None:
        """Show each change until the job has ended."""
        overwrites = self.stdout.isatty()
        shown, shown_at = "", 0.0
        while migration.job.is_open:
            time.sleep(LOOK_SECONDS)
            self.read_again(migration)
            line = line_of(migration)
            if line != shown and (overwrites or time.monotonic() - shown_at > LINE_SECONDS):
                self.stdout.write(f"\r\x1b[K{line}" if overwrites else line, ending="" if overwrites else "\n")
                self.stdout.flush()
                shown, shown_at = line, time.monotonic()
        if overwrites:
            self.stdout.write("")

    def read_again(self, migration: GuestMigration) -> None:
        """Read the row; a database that was restarted meanwhile gets another chance."""
        try:
            migration.job.refresh_from_db()
            self.unread_since = None
        except OperationalError:
            connection.close()
            self.unread_since = self.unread_since or time.monotonic()
            if time.monotonic() - self.unread_since > DATABASE_SECONDS:
                raise CommandError(_("The database does not answer. The migration goes on without it.")) from None


def find_one(rows: QuerySet[M], text: str, what: str) -> M:
    """The row with this id, or the only one with this name.

    Raises: CommandError.
    """
    try:
        found = list(rows.filter(pk=UUID(text))[:1])
    except ValueError:
        found = []
    found = found or list(rows.filter(name=text)[:2])
    if not found:
        raise CommandError(_("There is no %(what)s with the id or name %(name)s.") % {"what": what, "name": text})
    if len(found) > 1:
        raise CommandError(_("More than one %(what)s is named %(name)s; give the id.") % {"what": what, "name": text})
    return found[0]


def sentences(refusal: NotPossible) -> list[str]:
    """Each error with what to do about it."""
    errors = [finding for finding in refusal.findings if finding.severity is Severity.ERROR]
    return [" ".join(part for part in (finding.message, finding.fix) if part) for finding in errors]


def line_of(migration: GuestMigration) -> str:
    """One line on how far it is."""
    job = migration.job
    parts = [f"{JobState(job.state).label}"]
    progress = job.progress
    if progress.get("percent") is not None and job.state in {JobState.COPYING, JobState.SWITCHING}:
        parts.append(f"{progress['percent']} %")
    if progress.get("bytes_remaining") is not None and job.state == JobState.COPYING:
        parts.append(_("%(size)s left") % {"size": format_bytes(progress["bytes_remaining"])})
    if progress.get("rate_bytes_per_s") and job.state == JobState.COPYING:
        parts.append(format_rate(progress["rate_bytes_per_s"]))
    return ", ".join(parts)
