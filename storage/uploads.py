"""Files that people send to be volumes: begun, sent in pieces, handed to a job, or forgotten."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from audit.services import record
from core.db import after_commit, write_transaction
from core.errors import Conflict, Invalid
from core.units import format_bytes
from operations.models import ENDED, Job
from storage import staging
from storage.models import Upload

# One that nobody goes on with, and no job needs.
KEEP = timedelta(days=1)
MOST_AT_ONCE = 20  # begun by one user
LARGEST_PIECE_BYTES = 1 << 20  # what one request may bring; see config.body_limit
_SHA256 = re.compile(r"[0-9a-f]{64}")


def own_uploads(*, user: Any) -> QuerySet[Upload]:
    """Those this user began: nobody else sees them."""
    return Upload.objects.restrict(user, Action.PROVISION).filter(created_by_id=str(getattr(user, "pk", "")))


def begin_upload(*, name: str, size_bytes: int, sha256: str = "", by: Any) -> Upload:
    """Promise room for a file. `sha256`, if told, is compared when it is written to the datastore.

    Raises: Forbidden, Invalid, Conflict; StorageFull.
    """
    require(by, Action.PROVISION)
    _check(size_bytes, sha256)
    upload = Upload(
        name=_shown_name(name),
        size_bytes=size_bytes,
        sha256=sha256.lower(),
        created_at=timezone.now(),
        created_by_id=str(by.pk),
        created_by_name=by.username,
    )
    with write_transaction():
        others = list(Upload.objects.values_list("pk", "size_bytes", "created_by_id"))
        if sum(owner == upload.created_by_id for _id, _size, owner in others) >= MOST_AT_ONCE:
            raise Conflict(_("You have begun too many uploads; end or discard some of them first."))
        staging.require_room(size_bytes, sum(size - staging.received_bytes(pk) for pk, size, _owner in others))
        upload.save(force_insert=True)
        _record("upload.begun", upload, by=by, size_bytes=size_bytes)
    return upload


def _check(size_bytes: int, sha256: str) -> None:
    if size_bytes <= 0:
        raise Invalid(_("The file is empty."), field="size_bytes")
    if size_bytes > settings.UPLOAD_LARGEST_BYTES:
        most = format_bytes(settings.UPLOAD_LARGEST_BYTES)
        raise Invalid(_("A file may have %(most)s at most.") % {"most": most}, field="size_bytes")
    if sha256 and not _SHA256.fullmatch(sha256.lower()):
        raise Invalid(_("This is not a SHA-256: 64 hexadecimal digits."), field="sha256")


def _shown_name(name: str) -> str:
    """For people only: no path is made of it."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(one for one in last if one.isprintable()).strip()[:255] or "upload"


def add_piece(*, upload: Upload, offset: int, piece: bytes, by: Any) -> int:
    """Write what follows; returns how much is here then.

    Raises: Forbidden, Invalid, Conflict; StorageFull.
    """
    require(by, Action.PROVISION)
    if not piece or len(piece) > LARGEST_PIECE_BYTES:
        raise Invalid(_("A piece has 1 byte to 1 MiB."))
    if offset + len(piece) > upload.size_bytes:
        raise Invalid(_("This is more than was announced."))
    require_free(upload)
    end = staging.write_piece(upload.pk, offset, piece)
    if not Upload.objects.filter(pk=upload.pk).exists():  # forgotten while it was written
        staging.remove(upload.pk)
        raise Conflict(_not_here())
    return end


def require_free(upload: Upload) -> None:
    """Raises: Conflict while a task reads it."""
    if upload.job_id is not None and Job.objects.filter(pk=upload.job_id).exclude(state__in=ENDED).exists():
        raise Conflict(_("A task writes this upload to a datastore already."))


def lock_upload(upload: Upload) -> Upload:
    """As it is now, until the transaction ends. Raises: Conflict when it was discarded meanwhile."""
    found = Upload.objects.select_for_update().filter(pk=upload.pk).first()
    if found is None:
        raise Conflict(_not_here())
    return found


def _not_here() -> str:
    return _("The uploaded file is not here any more; send it again.")


def require_whole(upload: Upload) -> None:
    """Raises: Conflict."""
    if staging.received_bytes(upload.pk) != upload.size_bytes:
        raise Conflict(_("The upload is not whole yet."))


def discard_upload(*, upload: Upload, by: Any) -> None:
    """Forget it and what came of it.

    Raises: Forbidden, Conflict.
    """
    require(by, Action.PROVISION)
    identifier = upload.pk
    with write_transaction():
        require_free(lock_upload(upload))
        _record("upload.discarded", upload, by=by)
        upload.delete()
    staging.remove(identifier)


def forget_upload(upload_id: UUID | str) -> None:
    """It is a volume now.

    Transaction: joins the caller's, which ends the job; the file goes when that is committed.
    """
    identifier = UUID(str(upload_id))
    Upload.objects.filter(pk=identifier).delete()
    after_commit(staging.remove, identifier)


def expire_uploads() -> int:
    """Forget what nobody goes on with; returns how many.

    Transaction: its own for each.
    """
    old = Upload.objects.filter(created_at__lt=timezone.now() - KEEP)
    gone = sum(_expire(upload.pk) for upload in old if _is_left(upload))
    known = frozenset(str(pk) for pk in Upload.objects.values_list("pk", flat=True))
    for path in staging.strays(known, KEEP.total_seconds()):
        path.unlink(missing_ok=True)
    return gone


def _expire(identifier: UUID) -> bool:
    """Forget it unless somebody went on with it since. Neither a piece nor a task comes between look and end."""
    with staging.held(identifier) as held:
        if not held:
            return False
        with write_transaction():
            upload = Upload.objects.select_for_update().filter(pk=identifier).first()
            if upload is not None and not _is_left(upload):
                return False
            Upload.objects.filter(pk=identifier).delete()
        staging.remove(identifier)
    return upload is not None


def _is_left(upload: Upload) -> bool:
    idle = staging.idle_seconds(upload.pk)
    if idle is not None and idle < KEEP.total_seconds():
        return False
    return upload.job_id is None or not Job.objects.filter(pk=upload.job_id).exclude(state__in=ENDED).exists()


def _record(action: str, upload: Upload, *, by: Any, **detail: Any) -> None:
    record(action=action, by=by, target_kind="upload", target_id=upload.pk, target_name=upload.name, **detail)
