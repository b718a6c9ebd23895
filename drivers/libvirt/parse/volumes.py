"""Volumes of a storage pool."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.libvirt.parse.common import LONGEST_NAME, try_xml
from drivers.libvirt.raw import RawVolume
from drivers.libvirt.text import clean
from drivers.libvirt.xml import LONGEST_PATH, read_xml
from drivers.types import VolumeFact

MOST_VOLUMES = 5_000


def volume_facts(raw: Iterable[RawVolume]) -> tuple[VolumeFact, ...]:
    """By key, since a host lists them in no order of its own; each key once."""
    facts = {fact.key: fact for fact in map(_volume_fact, raw) if fact.key}
    return tuple(facts[key] for key in sorted(facts)[:MOST_VOLUMES])


def _volume_fact(raw: RawVolume) -> VolumeFact:
    """A volume whose description cannot be read is still there, with what is known."""
    node = try_xml(raw.xml) or read_xml("<volume/>")
    name = clean(raw.name, LONGEST_NAME) or node.text("name", limit=LONGEST_NAME)
    path = node.text("target/path", limit=LONGEST_PATH)
    return VolumeFact(
        key=clean(raw.key, LONGEST_PATH) or node.text("key", limit=LONGEST_PATH) or path or name,
        name=name or path.rpartition("/")[2][:LONGEST_NAME],
        path=path,
        kind=node.get("type", limit=16),
        format=node.get("type", path="target/format", limit=32),
        capacity_bytes=node.bytes("capacity", default_unit="bytes"),
        allocated_bytes=node.bytes("allocation", default_unit="bytes"),
        backing=node.text("backingStore/path", limit=LONGEST_PATH),
    )
