"""Where is the guest? What two hosts say about one attempt, and what follows from it: a table.

The return of our own call is no witness: it may fail although the guest moved, and the other way round.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from drivers.types import GuestSighting, GuestState
from hosts.words import state_reason_label
from operations.models import JobState


class Word(Enum):
    """What one host says of the guest."""

    RUNS = gettext_lazy("runs it")
    PAUSED = gettext_lazy("has it paused")
    OFF = gettext_lazy("has it powered off")
    ABSENT = gettext_lazy("does not know it")
    MOVING = gettext_lazy("still works on the move")
    SILENT = gettext_lazy("does not answer")


class Verdict(Enum):
    """What two words mean together."""

    MOVED = "moved"
    STAYED = "stayed"
    ENDED_AT_SOURCE = "ended at source"  # powered off or crashed during the move
    UNCLEAR = "unclear"  # ask again; when it stays so, a person must look


@dataclass(frozen=True, slots=True)
class Sight:
    """One host's answer. `sighting` is None when it does not know the guest; `answered` is false when it is silent."""

    host_name: str
    answered: bool
    sighting: GuestSighting | None = None

    @property
    def word(self) -> Word:
        if not self.answered:
            return Word.SILENT
        return word_of(self.sighting)


# A guest that arrives is paused until the source lets go of it.
ARRIVING = frozenset({"migration", "starting_up", "starting up"})
_ALIVE = frozenset({GuestState.RUNNING, GuestState.SUSPENDED})
_DEAD = frozenset({GuestState.OFF, GuestState.CRASHED})


def word_of(sighting: GuestSighting | None) -> Word:
    if sighting is None:
        return Word.ABSENT
    if sighting.job_active:
        return Word.MOVING
    if sighting.state is GuestState.PAUSED:
        return Word.MOVING if sighting.state_reason in ARRIVING else Word.PAUSED
    if sighting.state in _DEAD:
        return Word.OFF
    return Word.RUNS if sighting.state in _ALIVE else Word.MOVING


# (the source's word, the target's word) → verdict. What is not here is unclear.
VERDICTS: dict[tuple[Word, Word], Verdict] = {
    (Word.ABSENT, Word.RUNS): Verdict.MOVED,
    (Word.ABSENT, Word.PAUSED): Verdict.MOVED,  # somebody paused it on the way
    (Word.RUNS, Word.ABSENT): Verdict.STAYED,
    (Word.PAUSED, Word.ABSENT): Verdict.STAYED,
    (Word.OFF, Word.ABSENT): Verdict.ENDED_AT_SOURCE,
}


def judge(source: Sight, target: Sight) -> Verdict:
    return VERDICTS.get((source.word, target.word), Verdict.UNCLEAR)


@dataclass(frozen=True, slots=True)
class End:
    """How the job ends, and the sentence that says so."""

    state: JobState
    message: str


def end_of(verdict: Verdict, source: Sight, target: Sight, *, cancelled: bool, error: str) -> End:
    """The end that follows from a verdict. `cancelled`: a person asked to; `error`: why the move stopped, if known."""
    names = {"source": source.host_name, "target": target.host_name}
    if verdict is Verdict.MOVED and target.word is Word.PAUSED:
        return _arrived_paused(target)
    if verdict is Verdict.MOVED:
        late = _("The guest runs on %(target)s. It was too late to cancel.")
        plain = _("The guest runs on %(target)s.")
        return End(JobState.SUCCEEDED, (late if cancelled else plain) % names)
    if verdict is Verdict.STAYED:
        stayed = _("The guest stayed on %(source)s.") % names
        if cancelled:
            return End(JobState.CANCELLED, f"{_('Cancelled.')} {stayed}")
        return End(JobState.FAILED, f"{error or _('The hypervisor ended the move.')} {stayed}")
    if verdict is Verdict.ENDED_AT_SOURCE:
        return End(
            JobState.FAILED, _("The guest was powered off or crashed during the move; it is off on %(source)s.") % names
        )
    return End(JobState.NEEDS_ATTENTION, _unclear(source, target))


# Who paused it meant it; any other reason is a fault: a full or unreachable datastore, a watchdog, a crash.
BY_A_PERSON = frozenset({"", "user"})


def _arrived_paused(target: Sight) -> End:
    reason = target.sighting.state_reason if target.sighting else ""
    if reason in BY_A_PERSON:
        sentence = _("The guest is on %(target)s; somebody paused it on the way.")
        return End(JobState.SUCCEEDED, sentence % {"target": target.host_name})
    sentence = _("The guest is on %(target)s and stands still there: %(reason)s. Mend that, then resume it.")
    return End(
        JobState.NEEDS_ATTENTION,
        sentence % {"target": target.host_name, "reason": state_reason_label(reason)},
    )


# What a person has to do about words that do not fit together.
ADVICE: dict[tuple[Word, Word], Any] = {
    (Word.RUNS, Word.RUNS): gettext_lazy(
        "Both run it: power it off on one of them at once, before its disks are damaged."
    ),
    (Word.OFF, Word.RUNS): gettext_lazy(
        "The move is done, but the definition left on the first host could start a second copy: remove it there."
    ),
    (Word.ABSENT, Word.ABSENT): gettext_lazy(
        "Neither knows it: look for its definition in a backup or on a third host."
    ),
    (Word.ABSENT, Word.OFF): gettext_lazy("It moved and then stopped: start it where it is defined."),
}


def _unclear(source: Sight, target: Sight) -> str:
    said = _("%(source)s %(source_word)s; %(target)s %(target_word)s.") % {
        "source": source.host_name,
        "source_word": source.word.value,
        "target": target.host_name,
        "target_word": target.word.value,
    }
    advice = ADVICE.get((source.word, target.word)) or _("Look at both hosts before you start or move it again.")
    return f"{said} {advice}"
