"""Guests' snapshots. Source: https://libvirt.org/formatsnapshot.html"""

from __future__ import annotations

from datetime import UTC, datetime

from drivers.libvirt.parse.common import LONGEST_NAME, try_xml
from drivers.libvirt.raw import RawGuest
from drivers.libvirt.text import clean, clean_notes, whole
from drivers.libvirt.xml import Node
from drivers.types import GuestSnapshotFact

MOST_SNAPSHOTS = 500
LONGEST_NOTES = 2_000
LATEST = 32_503_680_000  # the year 3000: any time zone can show it
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def snapshot_facts(raw: RawGuest) -> tuple[GuestSnapshotFact, ...]:
    """A forest, oldest first, whatever the host says: each name once, no circles, no parents from elsewhere."""
    nodes = (try_xml(text) for text in raw.snapshots[:MOST_SNAPSHOTS])
    named = {node.text("name", limit=LONGEST_NAME): node for node in nodes if node is not None}
    named.pop("", None)
    parents = _parents(named)
    current = clean(raw.current_snapshot, LONGEST_NAME)
    facts = (_fact(name, node, parents[name], current=name == current) for name, node in named.items())
    return tuple(sorted(facts, key=lambda fact: (fact.created_at or EARLIEST, fact.name)))


def _parents(named: dict[str, Node]) -> dict[str, str]:
    parents: dict[str, str] = {}
    for name, node in sorted(named.items()):
        parent = node.text("parent/name", limit=LONGEST_NAME)
        parents[name] = "" if parent not in named or _leads_to(name, parent, parents) else parent
    return parents


def _leads_to(name: str, ancestor: str, parents: dict[str, str]) -> bool:
    """Whether `name` is among the ancestors already noted; those hold no circle."""
    while ancestor and ancestor != name:
        ancestor = parents.get(ancestor, "")
    return ancestor == name


def _fact(name: str, node: Node, parent: str, *, current: bool) -> GuestSnapshotFact:
    seconds = whole(node.text("creationTime", limit=20), largest=LATEST)
    state = node.text("state", limit=32)
    memory = node.get("snapshot", path="memory", limit=16)
    return GuestSnapshotFact(
        name=name,
        parent=parent,
        created_at=datetime.fromtimestamp(seconds, UTC) if seconds else None,
        state=state,
        notes=clean_notes(node.raw_text("description"), LONGEST_NOTES),
        current=current,
        # Without the element, as before libvirt 1.0: a running guest's memory is in its image.
        memory=memory in {"internal", "external"} or (not node.has("memory") and state in {"running", "paused"}),
        external=memory == "external" or any(d.get("snapshot") == "external" for d in node.all("disks/disk")),
    )
