"""What waits for a guest's next start: told by the tasks that asked for it, as long as it can still be true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from access.models import may
from access.roles import Action
from inventory.acts.rules import (
    DISK_ADD,
    DISK_GROW,
    DISK_REMOVE,
    NIC_ADD,
    NIC_CHANGE,
    NIC_REMOVE,
    SETTINGS,
    UP,
)
from inventory.acts.values import LABELS, Settings, settings_of, value_words
from inventory.models import Disk, Guest, Nic
from inventory.power import KIND as POWER
from operations.models import Job, JobState

LOOK_BACK = 50  # tasks of one guest
# Each leaves the guest started anew, or off.
STARTS = frozenset({"start", "off", "shutdown"})
Key = tuple[str, Any]
Asked = tuple[str, Any, Job]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One change, with the task that asked for it."""

    words: str
    job: Job


def waiting_for_start(guest: Guest, *, user: Any) -> list[Waiting]:
    """What the guest gets when it is started again, newest first; nothing for one that is off."""
    if not may(user, Action.VIEW):
        return []
    return [Waiting(_words(job, name, value), job) for name, value, job in _waiting(guest)]


def stored_settings(guest: Guest) -> Settings:
    """Those it has from its next start on."""
    later = {name: value for name, value, job in reversed(_waiting(guest)) if job.kind == SETTINGS}
    stored = {**settings_of(guest), **later}
    for name in ("memory_bytes", "vcpus"):  # what it gets raises the most it may have
        stored[f"most_{name}"] = max(stored[f"most_{name}"], stored[name])
    return stored


def _waiting(guest: Guest) -> list[Asked]:
    asked = _asked_since_start(guest) if guest.state in UP else []
    return _still_waiting(guest, asked) if asked else []


def _asked_since_start(guest: Guest) -> list[Asked]:
    """What tasks noted, by what and value; of two about the same the newer one."""
    found: list[Asked] = []
    settled: set[Key] = set()
    for job in Job.objects.filter(target_kind="guest", target_id=str(guest.pk))[:LOOK_BACK]:
        if job.kind == POWER and job.parameters.get("action") in STARTS and job.state == JobState.SUCCEEDED:
            break
        later = (job.checkpoint.get("later") or {}).items()
        found += [(name, value, job) for name, value in later if _key(job, name, value) not in settled]
        settled |= _settled_by(job)
    return found


def _key(job: Job, name: str, value: Any) -> Key:
    return (name, None) if job.kind == SETTINGS else (name, value)


def _settled_by(job: Job) -> set[Key]:
    """What an older task asked for and this one overtook."""
    asked = job.parameters
    if job.state != JobState.SUCCEEDED:
        return {_key(job, name, value) for name, value in (job.checkpoint.get("later") or {}).items()}
    if job.kind == SETTINGS:
        return {(name, None) for name in asked.get("changes") or {}}
    if job.kind == DISK_REMOVE:
        return {(DISK_ADD, asked.get("volume_name")), (DISK_GROW, asked.get("target"))}
    if job.kind in {NIC_REMOVE, NIC_CHANGE}:
        return {(kind, asked.get("mac")) for kind in (NIC_ADD, NIC_CHANGE)}
    return set()


def _still_waiting(guest: Guest, asked: list[Asked]) -> list[Asked]:
    """Without what the guest has already."""
    now = settings_of(guest)
    disks = {disk.target: disk.source.rpartition("/")[2] for disk in Disk.objects.filter(guest=guest)}
    models = dict(Nic.objects.filter(guest=guest).values_list("mac", "model"))
    has: dict[str, Callable[[Any, Job], bool]] = {
        DISK_ADD: lambda value, _job: value in disks.values(),
        DISK_REMOVE: lambda value, job: disks.get(value) != job.parameters.get("volume_name"),
        DISK_GROW: lambda value, _job: value not in disks,
        NIC_ADD: lambda value, _job: value in models,
        NIC_REMOVE: lambda value, _job: value not in models,
        NIC_CHANGE: lambda value, job: models.get(value) in {None, job.parameters.get("model")},
    }
    return [
        (name, value, job)
        for name, value, job in asked
        if not (now[name] == value if job.kind == SETTINGS else has[name](value, job))
    ]


def _words(job: Job, name: str, value: Any) -> str:
    if job.kind == SETTINGS:
        return _("%(setting)s %(value)s") % {"setting": LABELS[name], "value": value_words(name, value)}
    words = {
        DISK_ADD: _("disk %(what)s is added"),
        DISK_REMOVE: _("disk %(what)s is removed"),
        DISK_GROW: _("disk %(what)s has its new size"),
        NIC_ADD: _("NIC %(what)s is added"),
        NIC_CHANGE: _("NIC %(what)s is changed"),
        NIC_REMOVE: _("NIC %(what)s is removed"),
    }
    return words[name] % {"what": value}
