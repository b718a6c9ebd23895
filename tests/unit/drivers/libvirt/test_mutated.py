"""Descriptions as a broken or hostile host may send them: our own, changed at random. No exception, bounded facts."""

from __future__ import annotations

import copy
import string
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from drivers.errors import DriverError
from drivers.isolation.wire import pack, unpack
from drivers.libvirt import parse
from drivers.libvirt.define import ability_of, clone_xml, own_disks
from drivers.libvirt.devices import changed_nic_xml, media_xml
from drivers.libvirt.parse.common import try_xml
from drivers.libvirt.raw import RawBridge, RawGuest, RawHost, RawInventory, RawNetwork, RawPool, RawVolume
from drivers.libvirt.snapshots import GuestShape, plan_snapshot, revert_findings, snapshot_xml
from drivers.libvirt.usage import paths_of, volumes_of
from drivers.requests import CloneRequest, NicRequest, SnapshotRequest
from drivers.types import Snapshot
from tests.unit.drivers.pieces import FIXTURES

NOW = datetime(2026, 1, 2, tzinfo=UTC)
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
LARGEST_FACTS = 2 << 20  # of one description put into every place
DEEP = 300


def documents() -> list[etree._Element]:
    """Every description among our fixtures."""
    parser = etree.XMLParser(resolve_entities=False, huge_tree=False)
    found = []
    for file in sorted(FIXTURES.rglob("*.xml")):
        if file.stem not in {"billion-laughs", "entity"}:
            root = etree.parse(file, parser).getroot()
            found += list(root) if file.parent.name == "nodedevs" else [root]
    return [copy.deepcopy(one) for one in found if isinstance(one.tag, str)]


DOCUMENTS = documents()
TEXTS = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=0xFFFD, exclude_categories=("Cs", "Cc")), max_size=30),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["", "0", "-1", "1e999", "0x10", "9" * 5_000, "../../x", "\u202egnp.exe", "yes", "a" * 20_000]),
)
NAMES = st.one_of(st.text(string.ascii_letters, min_size=1, max_size=8), st.sampled_from(["disk", "source"]))


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """One of our descriptions after some accidents."""
    root = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _accident in range(draw(st.integers(1, 8))):
        elements = [one for one in root.iter() if isinstance(one.tag, str)]
        at = draw(st.integers(0, len(elements) - 1))
        draw(st.sampled_from(ACCIDENTS))(draw, elements[at])
    text = etree.tostring(root, encoding="unicode")
    if draw(st.booleans()):
        return text
    cut = draw(st.integers(0, len(text)))  # mid-element, mid-name
    return text[:cut] + draw(TEXTS) + text[cut + draw(st.integers(0, 20)) :]


def _drop(_draw: st.DrawFn, element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _double(draw: st.DrawFn, element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        for _copy in range(draw(st.sampled_from([1, 3, 200]))):
            parent.append(copy.deepcopy(element))


def _garble(draw: st.DrawFn, element: etree._Element) -> None:
    for name in list(element.attrib):
        if draw(st.booleans()):
            element.set(name, draw(TEXTS))
    element.text = draw(TEXTS)


def _strip(_draw: st.DrawFn, element: etree._Element) -> None:
    element.attrib.clear()


def _rename(draw: st.DrawFn, element: etree._Element) -> None:
    element.tag = draw(NAMES)


def _nest(draw: st.DrawFn, element: etree._Element) -> None:
    """In itself, deeply."""
    name = element.tag if draw(st.booleans()) else draw(NAMES)
    for _level in range(draw(st.sampled_from([1, 20, DEEP]))):
        element = etree.SubElement(element, name, {str(key): str(value) for key, value in element.items()})


def _refer(_draw: st.DrawFn, element: etree._Element) -> None:
    element.append(etree.Entity("boom"))


ACCIDENTS = (_drop, _double, _garble, _strip, _rename, _nest, _refer)


def facts_of(text: str) -> Snapshot:
    """The description in every place where a host may send one."""
    host = RawHost(
        "kvm-01",
        "QEMU",
        7002022,
        9000000,
        ("x86_64", 1024, 64, 2450, 2, 1, 16, 2),
        capabilities_xml=text,
        sysinfo_xml=text,
        cpu_xml=text,
        devices=(text,),
        interfaces=(text,),
    )
    guest = RawGuest(UUID, "a", xml=text, stats={"state.state": 1}, snapshots=(text,), current_snapshot="a")
    pool = RawPool(text, True, True, (RawVolume("v", "k", text),))
    network = RawNetwork(text, True, True, text)
    return parse.snapshot_of(RawInventory(NOW, True, host, (guest,), (pool,), (network,), (RawBridge("br0", text),)))


def use(text: str) -> None:
    """What operations make of a guest's or a snapshot's description: a refusal at most."""
    ability_of(text, "")
    list(revert_findings(text, 9_000_000))
    node = try_xml(text)
    if node is None:
        return
    list(own_disks(node)), paths_of(node), volumes_of(node)
    for up in (True, False):
        shape, request = GuestShape(node, up, 9_000_000), SnapshotRequest("a")
        refused(snapshot_xml, shape, request, plan_snapshot(shape, request))
    for disk in node.all("devices/disk"):
        refused(media_xml, disk, "/iso/a")
    for nic in node.all("devices/interface"):
        refused(changed_nic_xml, nic, NicRequest("52:54:00:00:00:01", network="a"))
    refused(clone_xml, node, CloneRequest(UUID, "a", (), ()))


def refused(call: Any, *args: Any) -> None:
    try:
        call(*args, **({"live": False} if call is changed_nic_xml else {}))
    except DriverError as error:
        assert error.message.endswith(".")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_no_accident_is_an_exception(text: str) -> None:
    snapshot = facts_of(text)
    packed = pack(snapshot)
    assert len(packed) < LARGEST_FACTS
    assert unpack(packed, Snapshot) == snapshot
    use(text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.tag)
def test_our_own_in_every_place(document: etree._Element) -> None:
    text = etree.tostring(document, encoding="unicode")
    assert len(msgspec.json.encode(facts_of(text))) < LARGEST_FACTS
    use(text)
