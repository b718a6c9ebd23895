"""What may follow what, and what a request to cancel gets in each state: data, read by one function each."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from operations.models import ENDED, JobState

Changes = Mapping[JobState, frozenset[JobState]]
ENDS = frozenset(ENDED)
NONE: frozenset[JobState] = frozenset()


class OnCancel(Enum):
    """What a request to cancel does."""

    AT_ONCE = "at once"  # nothing has happened yet: it ends here
    ASK = "ask"  # its worker stops it and says how that ended
    ALREADY = "already"  # somebody asked before
    TOO_LATE = "too late"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Machine:
    """The life of one kind of job."""

    changes: Changes
    on_cancel: Mapping[JobState, OnCancel]

    def allows(self, before: str, after: str) -> bool:
        return JobState(after) in self.changes.get(JobState(before), NONE)

    def answer_cancel(self, state: str) -> OnCancel:
        return OnCancel.ENDED if state in ENDED else self.on_cancel[JobState(state)]


SIMPLE = Machine(
    changes={
        JobState.QUEUED: frozenset({JobState.RUNNING}) | ENDS,
        JobState.RUNNING: frozenset({JobState.CANCELLING}) | ENDS,
        JobState.CANCELLING: ENDS,
    },
    on_cancel={
        JobState.QUEUED: OnCancel.AT_ONCE,
        JobState.RUNNING: OnCancel.ASK,
        JobState.CANCELLING: OnCancel.ALREADY,
    },
)
"""One step: what a power action needs."""


UNKNOWN = Machine(
    changes={state: ENDS for state in JobState if state not in ENDED},
    on_cancel={state: OnCancel.AT_ONCE for state in JobState if state not in ENDED},
)
"""Of a kind this version does not have: nobody here works on it, so it may only end."""


class ForbiddenChange(Exception):
    """A state does not follow the one the job is in: a mistake in our code, never in what a person did."""


def require_change(machine: Machine, before: str, after: str) -> None:
    """Raises: ForbiddenChange."""
    if not machine.allows(before, after):
        raise ForbiddenChange(f"{before} is not followed by {after}")
