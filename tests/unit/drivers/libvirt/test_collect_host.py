"""What a host is asked, and how often."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import libvirt
import pytest

from drivers.errors import AuthFailed, DriverError, NotFound, NotSupported, Rejected, Unreachable
from drivers.libvirt.collect_host import KEPT_S, LONGEST_DEVICE, MOST_DEVICES, KeptDevices, read_host, read_host_load
from drivers.libvirt.reader import Reader
from tests.unit.drivers.pieces import FIXTURES

CAPABILITIES = (FIXTURES / "hosts/two-sockets.xml").read_text()


class Thing:
    """A device or an interface of the host."""

    def __init__(self, name: str, xml: str = "") -> None:
        self._name, self.xml = name, xml or f"<device><name>{name}</name></device>"

    def name(self) -> str:
        return self._name

    def XMLDesc(self, _flags: int) -> str:
        return self.xml


class Host:
    """Stands for libvirt's connection and for ours: counts what is asked, and fails what it is told to."""

    def __init__(self, *devices: str) -> None:
        self.devices = [Thing(name) for name in devices]
        self.interfaces = [Thing("br0", "<interface/>"), Thing("vnet0", "<interface/>")]
        self.asked: Counter[str] = Counter()
        self.failing: dict[str, DriverError] = {}
        self.baseline: list[str] = []

    @property
    def raw(self) -> Any:
        return self

    def call(self, method: Callable[..., Any], *args: Any) -> Any:
        name = method.__name__
        self.asked[name] += 1
        if name in self.failing:
            raise self.failing[name]
        return method(*args)

    def getHostname(self) -> str:
        return "kvm-01"

    def getType(self) -> str:
        return "QEMU"

    def getVersion(self) -> int:
        return 7002000

    def getLibVersion(self) -> int:
        return 9000000

    def getInfo(self) -> list[Any]:
        return ["x86_64", 1024, 8, 2000, 1, 2, 2, 2]

    def getCapabilities(self) -> str:
        return CAPABILITIES

    def getSysinfo(self) -> str:
        return "<sysinfo/>"

    def getMemoryStats(self, _cell: int) -> dict[str, int]:
        return {"total": 1}

    def getCPUStats(self, _cpu: int) -> dict[str, int]:
        return {"idle": 1}

    def baselineCPU(self, cpus: list[str], flags: int) -> str:
        assert flags == libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        self.baseline = cpus
        return "<cpu/>"

    def listAllDevices(self, flags: int) -> list[Thing]:
        assert flags & libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV
        assert not flags & libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_STORAGE
        return self.devices

    def listAllInterfaces(self, _flags: int) -> list[Thing]:
        return self.interfaces


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def read(host: Host, kept: KeptDevices | None = None) -> Any:
    host.asked.clear()
    return read_host(Reader(host), kept or KeptDevices())  # type: ignore[arg-type]


def test_a_host_is_asked_a_constant_number_of_times_beside_its_devices() -> None:
    host = Host()
    host.interfaces = []
    raw = read(host)
    assert host.asked.total() == 12
    assert (raw.hostname, raw.cpu_xml, raw.memory_kib, raw.cpu_ns) == ("kvm-01", "<cpu/>", {"total": 1}, {"idle": 1})


def test_the_quick_poll_asks_for_no_description() -> None:
    host = Host("pci_0000_00_00_0")
    raw = read_host_load(Reader(host))  # type: ignore[arg-type]
    assert set(host.asked) == {"getInfo", "getMemoryStats", "getCPUStats"}
    assert raw.cpu_ns == {"idle": 1}


def test_the_processor_is_asked_about_as_the_capabilities_have_it() -> None:
    host = Host()
    read(host)
    assert host.baseline[0].startswith("<cpu>")
    assert host.baseline[0].endswith("</cpu>")
    assert "<model>Skylake-Server-IBRS</model>" in host.baseline[0]


@pytest.mark.parametrize("capabilities", ["", "<cpu>", "</cpu><cpu>", "<cpu><arch>s390x</arch></cpu>"])
def test_a_processor_without_a_model_is_not_asked_about(capabilities: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    monkeypatch.setattr(host, "getCapabilities", lambda: capabilities)
    host.getCapabilities.__name__ = "getCapabilities"
    assert read(host).cpu_xml == ""
    assert host.asked["baselineCPU"] == 0


def test_guests_ends_are_not_read() -> None:
    host = Host(
        "net_eno1_3c_fd_fe_aa_00_01", "net_vnet12_fe_54_00_aa_00_01", "net_macvtap0_x", "net_lo_00_00_00_00_00_00"
    )
    assert len(read(host).devices) == 1
    assert host.asked["XMLDesc"] == 2, "one device, one interface"


def test_pci_devices_are_read_once_an_hour() -> None:
    host, clock = Host("pci_0000_00_00_0", "net_eno1_x", "scsi_host0"), Clock()
    kept = KeptDevices(clock)
    first = read(host, kept)
    host.interfaces = []
    assert read(host, kept).devices == first.devices
    assert host.asked["XMLDesc"] == 2, "links and fabrics change, cards do not"
    clock.now += KEPT_S
    read(host, kept)
    assert host.asked["XMLDesc"] == 3


def test_all_are_read_anew_when_a_device_comes_or_goes() -> None:
    host = Host("pci_0000_00_00_0", "net_eno1_x")
    host.interfaces = []
    kept = KeptDevices()
    read(host, kept)
    host.devices[0].xml = "<device>vfio-pci</device>"
    del host.devices[1]
    assert read(host, kept).devices == ("<device>vfio-pci</device>",)


def test_a_guest_that_starts_makes_nothing_to_be_read_anew() -> None:
    host, kept = Host("pci_0000_00_00_0"), KeptDevices()
    host.interfaces = []
    read(host, kept)
    host.devices.append(Thing("net_vnet3_fe_54_00_aa_00_01"))
    read(host, kept)
    assert host.asked["XMLDesc"] == 0


@pytest.mark.parametrize("error", [NotFound("gone"), NotSupported("no"), Rejected("no"), AuthFailed("no")])
def test_a_host_that_tells_little_is_still_whole(error: DriverError) -> None:
    host = Host("pci_0000_00_00_0")
    host.failing = dict.fromkeys(("XMLDesc", "getSysinfo", "baselineCPU"), error)
    reader = Reader(host)  # type: ignore[arg-type]
    raw = read_host(reader, KeptDevices())
    assert (raw.devices, raw.interfaces, raw.sysinfo_xml, raw.cpu_xml) == ((), (), "", "")
    assert reader.complete


@pytest.mark.parametrize("error", [NotSupported("no"), Rejected("no"), AuthFailed("no")])
def test_a_host_without_device_drivers_has_no_devices(error: DriverError) -> None:
    host = Host("pci_0000_00_00_0")
    host.failing = dict.fromkeys(("listAllDevices", "listAllInterfaces"), error)
    raw = read(host)
    assert (raw.devices, raw.interfaces) == ((), ())


@pytest.mark.parametrize("method", ["listAllDevices", "XMLDesc", "getSysinfo", "baselineCPU"])
def test_a_broken_connection_is_an_error(method: str) -> None:
    host = Host("pci_0000_00_00_0")
    host.failing[method] = Unreachable("cut")
    with pytest.raises(Unreachable):
        read(host)


def test_what_a_host_sends_is_bounded() -> None:
    host = Host(*(f"pci_{number}" for number in range(MOST_DEVICES + 10)))
    assert len(read(host).devices) == MOST_DEVICES
    for device in host.devices[:100]:
        device.xml = "x" * (LONGEST_DEVICE + 1)
    assert len(read(host).devices) < MOST_DEVICES - 99
