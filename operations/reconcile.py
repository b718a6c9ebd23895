"""Finding jobs that nobody works on although somebody should, and sending them again."""

from celery import current_app
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from kombu.exceptions import ChannelError, OperationalError

from core.db import write_transaction
from core.queue import OPERATIONS, enqueue
from operations.leases import moment
from operations.models import ENDED, Job
from operations.services import RUN_TASK

# Longer than a message takes to a free worker. A message that is merely late does no harm: one claim wins.
LOST_AFTER_SECONDS = 4.0
# While messages wait, a job that nobody holds most likely waits with them: sending it again soon would only lengthen
# the line. Some messages die with the worker that had fetched them, though.
LOST_IN_LINE_AFTER_SECONDS = 60.0
AT_ONCE = 500  # as many as one round sends; the next is two seconds away


def reconcile_jobs() -> int:
    """Send again what lost its worker or its message. Returns how many.

    Transaction: its own, only when there is something to send.
    """
    if not _forgotten(everything=True).exists():
        return 0
    waiting = messages_waiting()
    with write_transaction():
        chosen = list(
            _forgotten(everything=waiting == 0)
            .select_for_update(skip_locked=True)
            .values_list("pk", flat=True)[:AT_ONCE]
        )
        Job.objects.filter(pk__in=chosen).update(sent_at=Now())
        for job_id in chosen:
            enqueue(RUN_TASK, str(job_id), queue=OPERATIONS)
    return len(chosen)


def _forgotten(*, everything: bool) -> QuerySet[Job]:
    patience = LOST_AFTER_SECONDS if everything else LOST_IN_LINE_AFTER_SECONDS
    unclaimed = Q(lease_until__isnull=True)
    lapsed = Q(lease_until__lt=Now())
    never_sent = unclaimed & Q(sent_at__isnull=True)
    orphaned = lapsed & (Q(sent_at__isnull=True) | Q(sent_at__lte=F("lease_until")))
    # Also of an orphan, which keeps its old lease: its next message may be lost like any other.
    lost = (unclaimed | lapsed) & Q(sent_at__lt=moment(-patience))
    chosen = never_sent | orphaned | lost
    return Job.objects.filter(chosen).exclude(state__in=ENDED).order_by("submitted_at", "pk")


def messages_waiting() -> int:
    """How many messages no worker has taken yet; 0 also when the broker lost the queue or does not answer."""
    try:
        with current_app.connection_for_read() as connection:
            return int(connection.default_channel.queue_declare(queue=OPERATIONS, passive=True).message_count)
    except (ChannelError, OperationalError, OSError):
        return 0
