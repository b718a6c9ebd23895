"""The tab of a host's hardware: what is told, what is not, and how much of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from lxml import html as parser
from msgspec.structs import replace

from access.roles import Role
from console import host_hardware
from console.host_hardware import cpu_ranges, wwn
from drivers.types import HostBusAdapterFact, HostHardware, HostNicFact, HugepagesFact, NumaCellFact, PciFact
from hosts.models import Host
from tests.factories import add_host_details, make_host
from tests.web.conftest import ClientAs

CARD = PciFact("0000:3b:00.0", "020000", "Intel Corporation", "E810", "ice", 0, 40, 2, 64)
FUNCTION = replace(CARD, address="0000:3b:01.0", most_virtual_functions=0, physical_function="0000:3b:00.0")
PORT = HostNicFact("eno1", "0c:42:a1:00:00:01", "ethernet", True, 25_000, "0000:3b:00.0")
VIRTUAL = replace(PORT, name="eno1v0", kind="vf", pci_address="0000:3b:01.0", physical_function="0000:3b:00.0")
BOND = HostNicFact("bond0", "0c:42:a1:00:00:01", "bond", False, ports=("eno1",))
FIBRE = HostBusAdapterFact("host10", "fc", "0000:3b:00.0", "2000f4e9d4eb02c9", "2100f4e9d4eb02c9", "", 254)


class Shown:
    """The page, as a reader finds things on it."""

    def __init__(self, client: Client, host: Host) -> None:
        answer = client.get(f"/hosts/{host.pk}/hardware/")
        assert answer.status_code == 200
        self.size = len(answer.content)
        document: Any = parser.document_fromstring(answer.content.decode())
        (self.part,) = document.xpath("//*[@id='host-hardware']")

    def text(self) -> str:
        return " ".join(self.part.text_content().split())

    def facts(self, panel: str) -> dict[str, str]:
        (found,) = self.part.xpath(f".//section[header/h2[normalize-space()='{panel}']]")
        names, values = found.xpath(".//dl/dt"), found.xpath(".//dl/dd")
        return {_words(name): _words(value) for name, value in zip(names, values, strict=True)}

    def table(self, panel: str) -> list[dict[str, str]]:
        (found,) = self.part.xpath(f".//section[header/h2[normalize-space()='{panel}']]")
        heads = [_words(head) for head in found.xpath(".//thead//th[@scope='col']")]
        return [
            dict(zip(heads, map(_words, row.xpath("td")), strict=True))
            for row in found.xpath(".//tbody/tr[not(td[@colspan])]")
        ]


def _words(node: Any) -> str:
    return " ".join(" ".join(node.itertext()).split())


@pytest.fixture
def viewer(client_as: ClientAs, db: None) -> Client:
    return client_as(Role.VIEWER)


def show(viewer: Client, hardware: HostHardware, **values: Any) -> Shown:
    host = make_host(**values)
    add_host_details(host, hardware)
    return Shown(viewer, host)


def test_a_system(viewer: Client) -> None:
    hardware = HostHardware(
        white_box=False, serial="7GSQZ63", board="Dell Inc. 0KCKR5", bios_version="2.12.4", bios_date="2023-07-24"
    )
    assert show(viewer, hardware, vendor="Dell Inc.", model="PowerEdge R7525").facts("System") == {
        "Vendor": "Dell Inc.",
        "Model": "PowerEdge R7525",
        "Serial number": "7GSQZ63",
        "Main board": "Dell Inc. 0KCKR5",
        "BIOS": "2.12.4 2023-07-24",
    }


def test_a_white_box_is_called_one(viewer: Client) -> None:
    host = make_host(vendor="ASUS", model="X570-PRO")
    add_host_details(host, HostHardware(white_box=True, serial="1908"))
    assert "White box" in Shown(viewer, host).facts("System")["Hardware"]
    summary = _words(parser.document_fromstring(viewer.get(f"/hosts/{host.pk}/").content.decode()))
    assert "White box ASUS X570-PRO" in summary
    assert "Serial number 1908" in summary


def test_a_named_server_is_not_called_a_white_box(viewer: Client) -> None:
    host = make_host()
    add_host_details(host, HostHardware(white_box=False))
    for tab in ("", "hardware/"):
        assert b"White box" not in viewer.get(f"/hosts/{host.pk}/{tab}").content


@pytest.mark.parametrize(
    ("name", "enabled", "words"),
    [
        ("VT-x", True, "VT-x enabled"),
        ("VT-x", False, "VT-x not enabled"),
        ("VT-x", None, "VT-x"),
        ("", True, "enabled"),
        ("", False, "not available"),
        ("", None, "–"),  # noqa: RUF001 - a dash, not a minus
    ],
)
def test_virtualization_is_said_by_a_word(viewer: Client, name: str, enabled: bool | None, words: str) -> None:
    shown = show(viewer, HostHardware(virtualization=name, virtualization_enabled=enabled))
    assert shown.facts("Processor")["Virtualization"] == words


@pytest.mark.parametrize(("iommu", "words"), [(True, "enabled"), (False, "not enabled"), (None, "–")])  # noqa: RUF001
def test_an_iommu_is_said_by_a_word(viewer: Client, iommu: bool | None, words: str) -> None:
    assert show(viewer, HostHardware(iommu=iommu)).facts("Processor")["IOMMU"] == words


@pytest.mark.parametrize(("count", "folded"), [(3, False), (200, True)])
def test_many_flags_are_folded(viewer: Client, count: int, folded: bool) -> None:
    shown = show(viewer, HostHardware(cpu_flags=tuple(f"flag-{number}" for number in range(count))))
    assert len(shown.part.xpath(".//li[starts-with(., 'flag-')]")) == count
    assert bool(shown.part.xpath(".//details[summary='200 flags']")) == folded


def test_memory_and_its_cells(viewer: Client) -> None:
    shown = show(
        viewer,
        HostHardware(
            numa=(NumaCellFact(0, 1 << 37, (0, 1, 2, 5), ((0, 10), (1, 32))), NumaCellFact(1, 1 << 30, ())),
            hugepages=(HugepagesFact(2 << 20, 1024), HugepagesFact(1 << 30, 0)),
        ),
    )
    facts = shown.facts("Memory")
    assert (facts["NUMA cells"], facts["Hugepages of 2 MiB"]) == ("2", "1,024 2 GiB")
    assert facts["Hugepages of 1 GiB"] == "none set apart"
    first, second = shown.table("NUMA cells")
    assert (first["Cell"], first["Memory"], first["CPUs"]) == ("0", "128 GiB", "0-2, 5")
    assert first["Distance to cells"] == "0: 10, 1: 32"
    assert (second["Threads"], second["CPUs"]) == ("0", "–")  # noqa: RUF001


def test_network_interfaces_and_what_they_are_part_of(viewer: Client) -> None:
    vlan = HostNicFact("bond0.20", "", "vlan", True, ports=("bond0",), vlan=20)
    shown = show(viewer, HostHardware(nics=(BOND, vlan, PORT, VIRTUAL), pci=(CARD, FUNCTION)))
    bond, tagged, port = shown.table("Network interfaces")
    assert (bond["Kind"], bond["Link"], bond["Made of"], bond["Speed"]) == ("bond", "down", "eno1", "–")  # noqa: RUF001
    assert (tagged["VLAN"], tagged["Made of"], bond["Port of"]) == ("20", "bond0", "–")  # noqa: RUF001
    assert (port["Link"], port["Speed"], port["Port of"]) == ("up", "25 Gbit/s", "bond0")
    assert port["Card"] == "Intel Corporation E810"
    (function,) = shown.table("Virtual functions")
    assert (function["Address"], function["Function of"]) == ("0000:3b:01.0", "0000:3b:00.0")
    assert (function["Interface"], function["MAC"]) == ("eno1v0", "0c:42:a1:00:00:01")


def test_storage_adapters(viewer: Client) -> None:
    (adapter,) = show(viewer, HostHardware(adapters=(FIBRE,))).table("Storage adapters")
    assert (adapter["Kind"], adapter["Virtual ports"]) == ("Fibre Channel", "254")
    assert (adapter["WWNN"], adapter["WWPN"]) == ("20:00:f4:e9:d4:eb:02:c9", "21:00:f4:e9:d4:eb:02:c9")


def test_pci_devices_say_their_class_in_words(viewer: Client) -> None:
    odd = replace(CARD, address="0000:01:00.0", device_class="7f0000", numa_cell=None, most_virtual_functions=0)
    card, other = show(viewer, HostHardware(pci=(CARD, odd, FUNCTION))).table("PCI devices")
    assert (card["Class"], card["NUMA cell"], card["SR-IOV"]) == ("network controller", "0", "2 of 64")
    assert (other["Class"], other["NUMA cell"], other["SR-IOV"]) == ("7f0000", "–", "–")  # noqa: RUF001


def test_what_guests_may_be(viewer: Client) -> None:
    hardware = HostHardware(
        guest_kinds=("x86_64 kvm",), machine_types=("pc", "q35"), security_models=("dac", "selinux")
    )
    facts = show(viewer, hardware).facts("Guests it can run")
    assert (facts["Kinds"], facts["Kept apart by"]) == ("x86_64 kvm", "dac, selinux")
    assert facts["Machine types"] == "2 machine types pc q35"


def test_a_host_that_tells_nothing_says_so_in_a_line_each(viewer: Client) -> None:
    text = show(viewer, HostHardware()).text()
    for what in ("network interfaces", "storage adapters", "PCI devices"):
        assert f"The host tells of no {what}." in text
    assert "not read in full yet" not in text
    assert "Virtual functions" not in text


def test_a_host_that_was_not_read_yet_says_so(viewer: Client) -> None:
    assert "Its source was not read in full yet." in Shown(viewer, make_host()).text()


def test_a_table_ends_somewhere_and_says_so(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_hardware, "MOST_ROWS", 3)
    cards = tuple(replace(CARD, address=f"0000:{number:02x}:00.0") for number in range(5))
    shown = show(viewer, HostHardware(pci=cards))
    assert len(shown.table("PCI devices")) == 3
    assert "3 of 5 are shown here; the REST API tells of all." in shown.text()


def test_the_largest_host_makes_a_page_of_bounded_size(viewer: Client) -> None:
    cards = tuple(replace(CARD, address=f"{number:04x}:00:00.0") for number in range(4000))
    nics = tuple(replace(PORT, name=f"eth{number}") for number in range(1000))
    functions = tuple(replace(FUNCTION, address=f"{number:04x}:01:00.0") for number in range(4000))
    assert show(viewer, HostHardware(pci=(*cards, *functions), nics=nics)).size < 1_500_000


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((), ""), ((3,), "3"), ((0, 1, 2), "0-2"), ((0, 1, 4, 6, 7), "0-1, 4, 6-7"), ((0, 2, 4), "0, 2, 4")],
)
def test_cpus_are_written_as_ranges(numbers: tuple[int, ...], text: str) -> None:
    assert cpu_ranges(numbers) == text


@pytest.mark.parametrize(
    ("digits", "text"), [("", ""), ("2100f4e9d4eb02c9", "21:00:f4:e9:d4:eb:02:c9"), ("odd", "odd")]
)
def test_world_wide_names(digits: str, text: str) -> None:
    assert wwn(digits) == text
