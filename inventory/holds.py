"""Guests whose place a job is changing right now: the job says where they end up, not a poll."""

from collections.abc import Iterable
from uuid import UUID

from operations.models import Job, JobState

# A queued job has done nothing yet, and `running` belongs to power actions, which move nothing.
MOVING = (
    JobState.CHECKING,
    JobState.PREPARING,
    JobState.COPYING,
    JobState.SWITCHING,
    JobState.VERIFYING,
    JobState.CANCELLING,
)
_PREFIX = "guest:"


def exclusive_key(guest_id: UUID | str) -> str:
    """What a job that moves or switches this guest holds while it is open."""
    return f"{_PREFIX}{guest_id}"


def moving_guests() -> frozenset[UUID]:
    """The ids of the guests under way. Few at a time, so one query without a list of ids."""
    keys = Job.objects.filter(state__in=MOVING, exclusive__startswith=_PREFIX).values_list("exclusive", flat=True)
    return frozenset(_ids(keys))


def _ids(keys: Iterable[str]) -> Iterable[UUID]:
    for key in keys:
        try:
            yield UUID(key.removeprefix(_PREFIX))
        except ValueError:
            continue
