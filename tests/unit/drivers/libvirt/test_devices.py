"""Edits of devices of a guest that has two descriptions, as libvirt keeps them; the contract suite has real ones."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
from lxml import etree

from drivers.errors import NotFound, Rejected
from drivers.libvirt.devices import DeviceCalls
from drivers.libvirt.edit import CONFIG, LIVE
from drivers.requests import DiskRequest, Effect, NicRequest
from tests.unit.drivers.libvirt.test_errors import error

MAC = "52:54:00:00:00:01"
GUEST = f"""<domain type='kvm'><devices>
<disk type='file' device='disk'><source file='/a/1'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
<interface type='network'><mac address='{MAC}'/><source network='lan'/><model type='virtio'/></interface>
</devices></domain>"""
NO_SUCH_VOLUME = NotFound("gone")
NOW, LATER = Effect.NOW, Effect.AFTER_NEXT_START


class Domain:
    """A guest of libvirt's, as far as devices go. `refuses` live changes of what these words name."""

    def __init__(self, *, live: bool, stored: bool = True, refuses: str = "", holds_on: bool = False) -> None:
        self.live = etree.fromstring(GUEST) if live else None
        self.stored = etree.fromstring(GUEST) if stored else None
        self.refuses, self.holds_on = refuses, holds_on
        self.calls: list[tuple[str, int]] = []

    def UUIDString(self) -> str:
        return "uuid"

    def isActive(self) -> bool:
        return self.live is not None

    def isPersistent(self) -> bool:
        return self.stored is not None

    def controlInfo(self) -> list[int]:
        return [0, 0, 0]

    def jobStats(self) -> dict[str, int]:
        return {"type": 0}

    def XMLDesc(self, flags: int) -> str:
        node = self.stored if flags & libvirt.VIR_DOMAIN_XML_INACTIVE or self.live is None else self.live
        assert node is not None
        return str(etree.tostring(node, encoding="unicode"))

    def _targets(self, name: str, xml: str, flags: int) -> list[etree._Element]:
        self.calls.append((name, flags))
        if flags & LIVE and self.refuses and self.refuses in xml:
            raise error(84, 10, "Operation not supported: disk bus 'sata' cannot be hotplugged.")
        wanted = [(LIVE, self.live), (CONFIG, self.stored)]
        return [node for flag, node in wanted if flags & flag and node is not None]

    def attachDeviceFlags(self, xml: str, flags: int) -> None:
        for node in self._targets("attach", xml, flags):
            node.find("devices").append(etree.fromstring(xml))  # type: ignore[union-attr]

    def detachDeviceFlags(self, xml: str, flags: int) -> None:
        for node in self._targets("detach", xml, flags):
            if not (node is self.live and self.holds_on):
                found = self._same(node, etree.fromstring(xml))
                found.getparent().remove(found)  # type: ignore[union-attr]

    def updateDeviceFlags(self, xml: str, flags: int) -> None:
        for node in self._targets("update", xml, flags):
            found = self._same(node, etree.fromstring(xml))
            found.getparent().replace(found, copy.deepcopy(etree.fromstring(xml)))  # type: ignore[union-attr]

    def _same(self, node: etree._Element, device: etree._Element) -> etree._Element:
        path, name = ("target", "dev") if device.tag == "disk" else ("mac", "address")
        key = device.find(path).get(name)  # type: ignore[union-attr]
        return next(one for one in node.iterfind(f"devices/{device.tag}") if one.find(path).get(name) == key)  # type: ignore[union-attr]


class Line:
    """A connection to a host with these volumes and a network."""

    def __init__(self, *volumes: str) -> None:
        self.raw = SimpleNamespace(
            storageVolLookupByPath=lambda path: self._volume(path, volumes),
            listAllDomains=lambda _flags: [],
            interfaceLookupByName=self._interface,
            networkLookupByName=lambda _name: SimpleNamespace(XMLDesc=lambda _flags: "<network/>"),
            getType=lambda: "QEMU",
        )

    def _interface(self, name: str) -> None:
        if name != "br0":
            raise NotFound("gone")

    def _volume(self, path: str, known: tuple[str, ...]) -> Any:
        if path not in known:
            raise NO_SUCH_VOLUME.copy()
        return SimpleNamespace(XMLDesc=lambda _flags: "<volume/>")

    def call(self, method: Any, *args: Any) -> Any:
        return method(*args)

    call_raw = call


class Session(DeviceCalls):
    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain, self.line = domain, Line("/a/2", "/iso/x")

    @contextmanager
    def _guest(self, guest_ref: str) -> Iterator[tuple[Any, Any]]:
        yield self.line, self.domain


def sources(node: etree._Element | None) -> list[str]:
    assert node is not None
    return [str(source.get("file")) for source in node.iterfind("devices/disk/source")]


def test_a_running_guest_and_its_stored_definition_are_changed_in_one_call() -> None:
    domain = Domain(live=True)
    for _again in range(2):
        assert Session(domain).add_disk("x", DiskRequest("/a/2")) is NOW
    assert domain.calls == [("attach", LIVE | CONFIG)]
    assert sources(domain.live) == sources(domain.stored) == ["/a/1", "/a/2"]
    for _again in range(2):
        assert Session(domain).remove_disk("x", "vdb", "/a/2") is NOW
    assert sources(domain.live) == sources(domain.stored) == ["/a/1"]


def test_a_guest_that_is_off_has_one_definition() -> None:
    domain = Domain(live=False)
    assert Session(domain).add_disk("x", DiskRequest("/a/2")) is NOW
    assert domain.calls == [("attach", CONFIG)]


def test_what_cannot_be_done_live_waits_for_the_next_start() -> None:
    domain = Domain(live=True, refuses="sata")
    for _again in range(2):
        assert Session(domain).add_disk("x", DiskRequest("/a/2", bus="sata")) is LATER
    assert (sources(domain.live), sources(domain.stored)) == (["/a/1"], ["/a/1", "/a/2"])


def test_a_guest_that_has_no_next_start_is_refused() -> None:
    domain = Domain(live=True, stored=False, refuses="sata")
    with pytest.raises(Rejected, match="forgets"):
        Session(domain).add_disk("x", DiskRequest("/a/2", bus="sata"))


def test_half_done_by_another_the_rest_is_done() -> None:
    domain = Domain(live=True)
    domain.attachDeviceFlags("<disk><source file='/a/2'/><target dev='vdb'/></disk>", CONFIG)
    assert Session(domain).add_disk("x", DiskRequest("/a/2")) is NOW
    assert domain.calls[-1] == ("attach", LIVE)
    assert sources(domain.live) == sources(domain.stored) == ["/a/1", "/a/2"]
    domain.detachDeviceFlags("<disk><target dev='vdb'/></disk>", LIVE)
    assert Session(domain).remove_disk("x", "vdb", "/a/2") is NOW
    assert sources(domain.stored) == ["/a/1"]


def test_a_guest_that_holds_on_lets_go_at_its_next_start() -> None:
    domain = Domain(live=True, holds_on=True)
    assert Session(domain).remove_disk("x", "vda", "/a/1") is LATER
    assert (sources(domain.live), sources(domain.stored)) == (["/a/1"], [])


def test_another_volume_in_its_place_stays() -> None:
    domain = Domain(live=True)
    with pytest.raises(Rejected, match="another volume"):
        Session(domain).remove_disk("x", "vda", "/a/9")
    assert domain.calls == []


def test_media_are_changed_once_and_forced_only_when_asked() -> None:
    domain = Domain(live=True)
    session = Session(domain)
    for _again in range(2):
        assert session.change_media("x", "sda", "/iso/x") is NOW
    assert session.change_media("x", "sda", "", True) is NOW
    force = libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE
    assert domain.calls == [("update", LIVE | CONFIG), ("update", LIVE | CONFIG | force)]
    assert sources(domain.live) == ["/a/1"]
    for target, path in (("vda", "/iso/x"), ("sdz", "/iso/x"), ("sda", "/etc/passwd")):
        with pytest.raises(Rejected):
            session.change_media("x", target, path)


def test_an_adapter_is_replugged_now_and_gets_its_model_later() -> None:
    domain = Domain(live=True)
    session = Session(domain)
    assert session.change_nic("x", NicRequest(MAC, network="dmz")) is NOW
    assert session.change_nic("x", NicRequest(MAC, network="dmz", model="e1000")) is LATER
    models = [node.find("devices/interface/model").get("type") for node in (domain.live, domain.stored)]  # type: ignore[union-attr]
    assert models == ["virtio", "e1000"]
    for _again in range(2):
        assert session.remove_nic("x", MAC) is NOW
        assert session.add_nic("x", NicRequest("52:54:00:00:00:02", network="lan")) is NOW
    assert [call for call, _flags in domain.calls].count("attach") == 1


def test_what_would_keep_the_guest_from_its_next_start_is_refused() -> None:
    domain = Domain(live=False)
    session = Session(domain)
    with pytest.raises(Rejected, match="bus"):
        session.add_disk("x", DiskRequest("/a/2", bus="ide"))
    with pytest.raises(Rejected, match="no bridge br9"):
        session.add_nic("x", NicRequest("52:54:00:00:00:02", bridge="br9"))
    assert domain.calls == []
    domain.stored.find("devices").append(etree.fromstring("<controller type='ide'/>"))  # type: ignore[union-attr]
    assert session.add_disk("x", DiskRequest("/a/2", bus="ide")) is NOW
    assert session.add_nic("x", NicRequest("52:54:00:00:00:02", bridge="br0")) is NOW


def test_a_refusal_is_told_and_nothing_put_off() -> None:
    domain = Domain(live=True)
    domain.attachDeviceFlags = lambda *_args: (_ for _ in ()).throw(error(38, 10, "Permission denied"))  # type: ignore[method-assign]
    with pytest.raises(Rejected, match="may not open"):
        Session(domain).add_disk("x", DiskRequest("/a/2"))
    assert sources(domain.stored) == ["/a/1"]
