"""Trying many sources, several at a time, as one job: only in workers.

What came of each is written at once, and only while it stands as this worker found it: whoever goes on after a worker
that died tries what has no result yet, and nothing is added or replaced twice. The threads only connect; this one
writes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from access.models import User, require
from access.roles import Action
from core.db import write_transaction
from core.errors import Invalid, Refused
from drivers.errors import DriverError
from hosts import services, validation
from hosts.batches import ADD, outcome_counts
from hosts.models import SECRETS, BatchKind, Connection, Outcome, Source, SourceBatch, SourceDraft
from hosts.probe import HostKeyQuestion, Story, probe
from hosts.words import sentence
from operations.errors import CancelRequested
from operations.handle import JobHandle
from operations.models import JobState

# Most of an attempt is waiting: for an address where nobody is, for a host that signs in slowly.
AT_ONCE = 16
LOOK_SECONDS = 0.5


@dataclass
class Tried:
    """What came of trying one draft."""

    outcome: Outcome
    message: str = ""
    presented: dict[str, str] = field(default_factory=dict)
    host_name: str = ""  # as the host calls itself


def run(handle: JobHandle) -> None:
    """The runner of `source_batch`."""
    stopped = _("It was cancelled; what was done until then stays.")
    if handle.state is JobState.CANCELLING:  # asked while the worker before this one died
        handle.switch(JobState.CANCELLED, stopped)
        return
    try:
        if handle.state is JobState.QUEUED:
            handle.switch(JobState.RUNNING)
        ended, message = _outcome(handle)
    except CancelRequested:
        ended, message = JobState.CANCELLED, stopped
    shown = handle.job.progress
    if ended is JobState.SUCCEEDED and shown:  # the last step may have come too soon after the one before
        shown = {**shown, "percent": 100.0, "done": shown["total"]}
    try:
        handle.switch(ended, message, progress=shown)
    except CancelRequested:  # asked in the last moment: all is done
        handle.switch(JobState.CANCELLED, stopped)


def _outcome(handle: JobHandle) -> tuple[JobState, str]:
    batch = SourceBatch.objects.filter(pk=handle.job.target_id).first()
    if batch is None:
        return JobState.FAILED, _("This is gone: it was discarded, or begun more than a day ago.")
    asked_by = handle.job.submitted_by_id
    user = User.objects.filter(pk=asked_by).first() if asked_by else None
    try:
        require(user, Action.SOURCES)  # who asked may have lost the right since
    except Refused as error:
        return JobState.FAILED, error.message
    if handle.parameters.get("action") == ADD:
        _add_all(handle, batch, user)
    elif batch.kind == BatchKind.CREDENTIALS:
        _try_all(handle, batch, lambda draft, tried: _replace(draft, tried, by=user))
    else:
        _try_all(handle, batch, _keep)
    return JobState.SUCCEEDED, _summary(batch)


def _summary(batch: SourceBatch) -> str:
    counts = outcome_counts(batch)
    words = {
        Outcome.DONE: _("replaced: %(n)d") if batch.kind == BatchKind.CREDENTIALS else _("added: %(n)d"),
        Outcome.READY: _("can be added: %(n)d"),
        Outcome.KEY: _("host key to accept: %(n)d"),
        Outcome.FAILED: _("failed: %(n)d"),
    }
    said = [text % {"n": counts[outcome]} for outcome, text in words.items() if counts[outcome]]
    return f"{', '.join(said) or _('nothing to do')}."


# -- trying


def _try_all(handle: JobHandle, batch: SourceBatch, settle: Callable[[SourceDraft, Tried], None]) -> None:
    """Try each draft that has no result yet.

    Raises: CancelRequested; what was not tried then stays as it is.
    """
    drafts = list(batch.drafts.filter(outcome=Outcome.NEW).order_by("position", "pk"))
    whole = batch.drafts.count()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="import")
    try:
        open_ones: dict[Future[Tried], SourceDraft] = {pool.submit(attempt, draft): draft for draft in drafts}
        while open_ones:
            done, _others = wait(open_ones, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            handle.pause(0)
            for one in done:
                settle(open_ones.pop(one), one.result())
            _show(handle, whole - len(open_ones), whole)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def attempt(draft: SourceDraft) -> Tried:
    """Try one draft, in a thread of its own: no database here."""
    story = Story(lambda _progress: None)
    try:
        names = probe(draft, story)
    except HostKeyQuestion:
        return _key_question(draft, story.progress["host_key"])
    except DriverError as error:
        return Tried(Outcome.FAILED, sentence(error))
    message = story.progress["steps"][-1]["message"]
    return Tried(Outcome.READY, message, host_name=names[0] if names else "")


def _key_question(connection: Connection, shown: dict[str, str]) -> Tried:
    if connection.host_key:
        return Tried(
            Outcome.FAILED,
            _("The host shows another identity than was accepted: %(fingerprint)s. Find out why before you go on.")
            % {"fingerprint": shown["fingerprint"]},
        )
    presented = {"key": shown["key"], "fingerprint": shown["fingerprint"]}
    return Tried(Outcome.KEY, _("It answers; compare its fingerprint."), presented)


def _show(handle: JobHandle, done: int, whole: int) -> None:
    handle.progress({"percent": 100.0 * done / max(1, whole), "done": done, "total": whole})


def _keep(draft: SourceDraft, tried: Tried) -> None:
    """Write what came of a source that is to be imported. One without a name gets the one the host gives itself."""
    with write_transaction():
        rows = SourceDraft.objects.select_for_update(of=("self",)).filter(pk=draft.pk, outcome=Outcome.NEW)
        if not rows.exists():
            return  # discarded, or somebody else was faster
        rows.update(
            outcome=tried.outcome,
            message=tried.message,
            presented=tried.presented,
            name=_name_of(draft, tried.host_name),
        )


def _name_of(draft: SourceDraft, host_name: str) -> str:
    if draft.name != draft.address[:100] or not host_name:
        return draft.name
    try:
        name = validation.checked_name(host_name)
    except Invalid:
        return draft.name
    taken = SourceDraft.objects.filter(batch=draft.batch_id, name=name).exclude(pk=draft.pk).exists()
    return draft.name if taken or Source.objects.filter(name=name).exists() else name


# -- adding


def _add_all(handle: JobHandle, batch: SourceBatch, user: Any) -> None:
    drafts = list(batch.drafts.filter(outcome=Outcome.READY).order_by("position", "pk"))
    for number, draft in enumerate(drafts, 1):
        handle.pause(0)
        try:
            _add(draft, by=user)
        except Refused as error:
            _fail(draft, Outcome.READY, error.message)
        _show(handle, number, len(drafts))


def _add(draft: SourceDraft, *, by: Any) -> None:
    """Raises: Invalid when its name or place was taken meanwhile."""
    with write_transaction():
        fresh = SourceDraft.objects.select_for_update(of=("self",)).filter(pk=draft.pk, outcome=Outcome.READY).first()
        if fresh is None:
            return
        source = services.source_of(fresh, by=by)
        services.insert_source(source, fresh.datacenter_name, by=by)
        _finish(fresh, source)


def _finish(draft: SourceDraft, source: Source) -> None:
    """It is done: its secrets are wiped."""
    SourceDraft.objects.filter(pk=draft.pk).update(outcome=Outcome.DONE, source=source, **dict.fromkeys(SECRETS, ""))


def _fail(draft: SourceDraft, before: Outcome, message: str) -> None:
    with write_transaction():
        SourceDraft.objects.filter(pk=draft.pk, outcome=before).update(outcome=Outcome.FAILED, message=message)


# -- replacing credentials


def _replace(draft: SourceDraft, tried: Tried, *, by: Any) -> None:
    """The new sign-in takes the old one's place where it worked; where it did not, the old one stays."""
    if tried.outcome != Outcome.READY:
        _fail(draft, Outcome.NEW, _unaccepted(draft) if tried.outcome == Outcome.KEY else tried.message)
        return
    with write_transaction():
        fresh = SourceDraft.objects.select_for_update(of=("self",)).filter(pk=draft.pk, outcome=Outcome.NEW).first()
        if fresh is None:
            return
        source = _same_place(fresh)
        if source is None:
            gone = _("This source was removed or changed meanwhile; its sign-in stays as it was.")
            SourceDraft.objects.filter(pk=fresh.pk).update(outcome=Outcome.FAILED, message=gone)
            return
        services.replace_credentials(source, fresh, by=by)
        _finish(fresh, source)


def _unaccepted(draft: SourceDraft) -> str:
    if draft.source is not None and draft.source.ca_certificate_encrypted:
        return _(
            "Without a CA its certificate has to be accepted by a person: change the sign-in of this source by itself, "
            "then test it."
        )
    return _("Its host key or certificate was not accepted yet; test the source by itself first.")


def _same_place(draft: SourceDraft) -> Source | None:
    """The source, as long as it is where the new sign-in was tried."""
    place = {name: getattr(draft, name) for name in ("hypervisor", "transport", "address", "port", "host_key", "uri")}
    return Source.objects.select_for_update(of=("self",)).filter(pk__in=[draft.source_id], **place).first()
