"""The life of a migration, as data. `operations.states` says what reads it."""

from operations.models import JobState
from operations.states import ENDS, Machine, OnCancel

UNDER_WAY = frozenset({JobState.COPYING, JobState.SWITCHING, JobState.VERIFYING, JobState.CANCELLING})

MIGRATION = Machine(
    changes={
        JobState.QUEUED: frozenset({JobState.CHECKING}) | ENDS,
        # Nothing has been asked of the hypervisor before PREPARING is written: what ends here changed nothing.
        JobState.CHECKING: frozenset({JobState.PREPARING, JobState.CANCELLING}) | ENDS,
        JobState.PREPARING: UNDER_WAY | ENDS,
        # Progress readings may skip a state, none takes it back. An end is written only after both hosts were asked.
        # Only what we do not know at all, after our own failure, ends without that.
        JobState.COPYING: (UNDER_WAY - {JobState.COPYING}) | {JobState.NEEDS_ATTENTION},
        JobState.SWITCHING: frozenset({JobState.VERIFYING, JobState.NEEDS_ATTENTION}),
        # Back to copying: sight of it was lost, and the source is seen to work on it all the same.
        JobState.VERIFYING: frozenset({JobState.COPYING}) | ENDS,
        JobState.CANCELLING: ENDS,
    },
    on_cancel={
        JobState.QUEUED: OnCancel.AT_ONCE,
        JobState.CHECKING: OnCancel.ASK,
        JobState.PREPARING: OnCancel.ASK,
        JobState.COPYING: OnCancel.ASK,
        # The guest may already run on the target: aborting now could leave it on neither.
        JobState.SWITCHING: OnCancel.TOO_LATE,
        JobState.VERIFYING: OnCancel.TOO_LATE,
        JobState.CANCELLING: OnCancel.ALREADY,
    },
)
