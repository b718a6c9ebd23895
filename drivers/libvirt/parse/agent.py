"""What a guest's agent says: the guest's own word, which nobody checks."""

from __future__ import annotations

from collections.abc import Iterator

from drivers.libvirt.raw import RawAgent
from drivers.libvirt.text import clean, whole
from drivers.types import AgentFact, FileSystemFact

MOST_FILE_SYSTEMS = 64
MOST_MOUNTS = 1_024
MOST_DEVICES = 16
LONGEST_MOUNT = 1_024

Info = dict[str, int | str]


def agent_fact(raw: RawAgent | None) -> AgentFact | None:
    if raw is None:
        return None
    info = raw.info
    named = " ".join(filter(None, (_text(info, "os.name"), _text(info, "os.version"))))
    return AgentFact(
        hostname=_text(info, "hostname"),
        os=_text(info, "os.pretty-name") or named,
        os_id=_text(info, "os.id", 64),
        kernel=_text(info, "os.kernel-release", 128),
        time_zone=_text(info, "timezone.name", 64),
        file_systems=_file_systems(info),
    )


def _text(info: Info, name: str, limit: int = 255) -> str:
    return clean(str(info.get(name, "")), limit)


def _file_systems(info: Info) -> tuple[FileSystemFact, ...]:
    """Each once, where its path is shortest: containers come and go with second mounts of what is there already."""
    found: dict[str, FileSystemFact] = {}
    for name, fact in sorted(_mounts(info), key=lambda pair: (len(pair[1].mount), pair[1].mount)):
        found.setdefault(name or fact.mount, fact)
    return tuple(sorted(found.values(), key=lambda fact: fact.mount)[:MOST_FILE_SYSTEMS])


def _mounts(info: Info) -> Iterator[tuple[str, FileSystemFact]]:
    """(name of the device in the guest, file system)."""
    for number in range(whole(info.get("fs.count", 0), largest=MOST_MOUNTS)):
        mount = _text(info, f"fs.{number}.mountpoint", LONGEST_MOUNT)
        if mount:
            fact = FileSystemFact(
                mount=mount,
                kind=_text(info, f"fs.{number}.fstype", 32),
                devices=tuple(_devices(info, number)),
                total_bytes=whole(info.get(f"fs.{number}.total-bytes", 0)) or None,
            )
            yield _text(info, f"fs.{number}.name"), fact


def _devices(info: Info, number: int) -> Iterator[str]:
    for disk in range(whole(info.get(f"fs.{number}.disk.count", 0), largest=MOST_DEVICES)):
        target = _text(info, f"fs.{number}.disk.{disk}.alias", 64)
        if target:
            yield target
