"""What a host says of itself. Fixtures made by hand: hosts with SMBIOS, SR-IOV and Fibre Channel are not in the lab."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.isolation.wire import pack, unpack
from drivers.libvirt.parse import nodedevs
from drivers.libvirt.parse.host import host_fact, initiators
from drivers.libvirt.parse.sysinfo import PLACEHOLDERS, iso_date, named
from drivers.libvirt.raw import RawHost, RawPool
from drivers.types import HostBusAdapterFact, HostFact, HostHardware, HostNicFact, HugepagesFact, NumaCellFact, PciFact
from tests.unit.drivers.pieces import FIXTURES, pieces

NODE = ("x86_64", 1024, 8, 3999, 2, 1, 2, 2)
BARE = RawHost("kvm-01", "QEMU", 7002022, 9000000, NODE)


def read(name: str) -> str:
    return (FIXTURES / name).read_text()


def hardware(**fields: object) -> HostHardware:
    return host_fact(replace(BARE, **fields)).hardware  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> HostFact:
    raw = replace(
        BARE,
        capabilities_xml=read("hosts/two-sockets.xml"),
        cpu_xml=read("hosts/two-sockets-cpu.xml"),
        sysinfo_xml=read("hosts/sysinfo.xml"),
        devices=pieces("nodedevs/server.xml"),
        interfaces=pieces("nodedevs/server-interfaces.xml"),
    )
    return host_fact(raw, frozenset({"db-tap", "br-prod"}), ("iqn.2004-10.org.example:kvm-01",))


def test_a_host() -> None:
    raw = RawHost(
        hostname="kvm-01.example.org",
        hypervisor="QEMU",
        hypervisor_version=7002022,
        library_version=9000000,
        node=("x86_64", 262144, 64, 2450, 2, 1, 16, 2),
        capabilities_xml=read("hosts/capabilities.xml"),
        sysinfo_xml=read("hosts/sysinfo.xml"),
        memory_kib={"total": 268_000_000, "free": 1000, "buffers": 10, "cached": 20},
    )
    fact = host_fact(raw)
    assert fact.ref == fact.uuid == "4c4c4544-0047-5310-8051-c7c04f483533"
    assert (fact.hypervisor_version, fact.manager_version) == ("7.2.22", "9.0.0")
    assert (fact.vendor, fact.model) == ("Dell Inc.", "PowerEdge R7525")
    assert fact.cpu_model == "AMD EPYC 7543 32-Core Processor", "the empty second socket names none"
    assert (fact.cpu_sockets, fact.cpu_cores, fact.cpu_threads, fact.cpu_mhz) == (2, 32, 64, 2450)
    assert fact.memory_bytes == 268_000_000 * 1024


def test_a_host_without_a_board_says_its_cpu_by_libvirts_name() -> None:
    fact = host_fact(replace(BARE, capabilities_xml=read("hosts/capabilities.xml"), hypervisor_version=0))
    assert (fact.vendor, fact.model, fact.cpu_model, fact.hypervisor_version) == ("", "", "EPYC-Milan", "")
    assert fact.memory_bytes == 1 << 30
    assert fact.hardware.white_box is None, "nobody asked the firmware"


# Firmware


def test_a_named_server_is_no_white_box(server: HostFact) -> None:
    found = server.hardware
    assert (found.white_box, found.serial, found.board) == (False, "7GSQZ63", "Dell Inc. 0KCKR5")
    assert (found.bios_version, found.bios_date) == ("2.12.4", "2023-07-24")


def test_a_white_box_is_known_by_its_board() -> None:
    fact = host_fact(replace(BARE, sysinfo_xml=read("hosts/sysinfo-white-box.xml")))
    assert (fact.vendor, fact.model) == ("ASUSTeK COMPUTER INC.", "PRIME X570-PRO")
    assert (fact.hardware.white_box, fact.hardware.serial) == (True, "190857390001122")
    assert (fact.hardware.bios_date, fact.hardware.cpu_vendor) == ("2021-07-30", "Intel")
    assert fact.cpu_mhz == 3400, "as sold, not as it runs at this moment"


def test_a_white_box_whose_board_says_nothing_has_no_name() -> None:
    entries = "".join(f"<entry name='{name}'>Default string</entry>" for name in ("manufacturer", "product", "serial"))
    fact = host_fact(
        replace(BARE, sysinfo_xml=f"<sysinfo><system>{entries}</system><baseBoard>{entries}</baseBoard></sysinfo>")
    )
    assert (fact.vendor, fact.model, fact.hardware.serial, fact.hardware.board) == ("", "", "", "")
    assert fact.hardware.white_box


def test_what_is_no_smbios_says_nothing_of_a_white_box() -> None:
    power = "<sysinfo type='smbios'><system><entry name='serial'>8246-L2C</entry></system></sysinfo>"
    assert hardware(sysinfo_xml=power).white_box is None
    assert hardware(sysinfo_xml=power).serial == "8246-L2C"


@pytest.mark.parametrize(
    "text",
    [
        *("To Be Filled By O.E.M.", "to be filled by O.E.M", "System Product Name", "Default string", "N/A"),
        *("Not Specified", "0", "00000000", "XXXXXXXX", "0123456789", "None", "O.E.M.", "<OUT OF SPEC>"),
        *("", " ", "-", "..."),
    ],
)
def test_placeholders_are_no_names(text: str) -> None:
    assert named(text) == ""


@pytest.mark.parametrize("text", ["HP", "3M", "X10DRi", "R2", "Default Corporation", "浪潮", "11"])
def test_short_and_odd_names_are_names(text: str) -> None:
    assert named(text) == text


def test_placeholders_are_written_as_they_are_compared() -> None:
    assert {"".join(filter(str.isalnum, name.lower())) for name in PLACEHOLDERS} == PLACEHOLDERS


@pytest.mark.parametrize(
    ("text", "date"),
    [("07/24/2023", "2023-07-24"), ("1/2/98", "1998-01-02"), ("13/45/2023", "13/45/2023"), ("May 2023", "May 2023")],
)
def test_bios_dates(text: str, date: str) -> None:
    assert iso_date(text) == date


@pytest.mark.parametrize(
    ("maker", "version"), [("QEMU", "pc-q35-7.2"), ("IBM/S390", "FF"), ("", "2.3 (pvr 003f 0203)")]
)
def test_a_made_up_processor_is_called_as_libvirt_calls_it(maker: str, version: str) -> None:
    entries = f"<entry name='manufacturer'>{maker}</entry><entry name='version'>{version}</entry>"
    xml = f"<sysinfo><processor>{entries}</processor></sysinfo>"
    fact = host_fact(replace(BARE, sysinfo_xml=xml, capabilities_xml=read("hosts/hybrid.xml")))
    assert (fact.cpu_model, fact.hardware.cpu_vendor) == ("Broadwell", "Intel")


# Processors


def test_sockets_are_counted_once_and_offline_cpus_not_at_all(server: HostFact) -> None:
    assert (server.cpu_sockets, server.cpu_cores, server.cpu_threads) == (2, 4, 7)


def test_cores_of_two_kinds() -> None:
    fact = host_fact(
        replace(BARE, node=("x86_64", 1024, 6, 800, 1, 1, 6, 1), capabilities_xml=read("hosts/hybrid.xml"))
    )
    assert (fact.cpu_sockets, fact.cpu_cores, fact.cpu_threads) == (1, 5, 6)


def test_numa_cells_of_one_package_are_one_socket() -> None:
    cell = "<cell id='{0}'><cpus><cpu id='{0}' socket_id='0' die_id='0' core_id='{0}' siblings='{0}'/></cpus></cell>"
    cells = "".join(cell.format(number) for number in range(4))
    xml = f"<capabilities><host><topology><cells>{cells}</cells></topology></host></capabilities>"
    fact = host_fact(replace(BARE, node=("x86_64", 1, 4, 1, 4, 1, 1, 1), capabilities_xml=xml))
    assert (fact.cpu_sockets, fact.cpu_cores, fact.cpu_threads) == (1, 4, 4)


def test_cores_are_told_apart_by_number_where_siblings_are_not_listed() -> None:
    cpus = "".join(f"<cpu id='{n}' socket_id='{n // 4}' core_id='{n // 2 % 2}'/>" for n in range(8))
    cells = f"<cells><cell><cpus>{cpus}</cpus></cell></cells>"
    xml = f"<capabilities><host><topology>{cells}</topology></host></capabilities>"
    fact = host_fact(replace(BARE, capabilities_xml=xml))
    assert (fact.cpu_sockets, fact.cpu_cores, fact.cpu_threads) == (2, 4, 8)


def test_flags_are_the_processors_own_in_order(server: HostFact) -> None:
    flags = server.hardware.cpu_flags
    assert flags == ("avx512f", "cmt", "osxsave", "sse2", "vmx"), "the disabled one is not there, those kept back are"


def test_part_of_the_flags_is_none_of_them() -> None:
    assert hardware(capabilities_xml=read("hosts/two-sockets.xml")).cpu_flags == ()


def test_a_processor_without_a_model_lists_its_flags_itself() -> None:
    cpu = "<cpu><arch>aarch64</arch><feature name='fp'/><feature name='aes'/></cpu>"
    assert hardware(capabilities_xml=f"<capabilities><host>{cpu}</host></capabilities>").cpu_flags == ("aes", "fp")


def test_the_clock_is_the_nominal_one(server: HostFact) -> None:
    assert server.cpu_mhz == 2095


def test_virtualization_is_present_and_enabled(server: HostFact) -> None:
    assert (server.hardware.virtualization, server.hardware.virtualization_enabled) == ("VT-x", True)
    assert server.hardware.iommu is True


def test_virtualization_is_present_but_switched_off() -> None:
    found = hardware(capabilities_xml=read("hosts/hybrid.xml"))
    assert (found.virtualization, found.virtualization_enabled, found.iommu) == ("VT-x", False, False)


@pytest.mark.parametrize(
    ("os_type", "kind", "cpu", "name", "enabled"),
    [
        ("hvm", "kvm", "<vendor>AMD</vendor>", "AMD-V", True),
        ("hvm", "kvm", "<feature name='svm'/>", "AMD-V", True),
        ("hvm", "kvm", "", "", True),
        ("hvm", "qemu", "", "", False),
        ("hvm", "xen", "", "", True),
        ("xen", "xen", "", "", None),
        ("exe", "lxc", "<feature name='vmx'/>", "VT-x", None),
    ],
)
def test_what_guests_may_use(os_type: str, kind: str, cpu: str, name: str, enabled: bool | None) -> None:
    xml = (
        f"<capabilities><host><cpu>{cpu}</cpu></host><guest><os_type>{os_type}</os_type>"
        f"<arch name='x86_64'><domain type='{kind}'/></arch></guest></capabilities>"
    )
    found = hardware(capabilities_xml=xml)
    assert (found.virtualization, found.virtualization_enabled) == (name, enabled)
    assert found.guest_kinds == (f"x86_64 {kind}",)


def test_an_iommu_group_shows_an_iommu_where_the_capabilities_are_silent() -> None:
    assert hardware(devices=pieces("nodedevs/server.xml")).iommu is True
    assert hardware().iommu is None


def test_what_guests_may_be(server: HostFact) -> None:
    found = server.hardware
    assert found.guest_kinds == ("aarch64 qemu", "x86_64 kvm", "x86_64 qemu")
    assert found.machine_types == ("microvm", "pc-q35-7.2", "q35"), "of the host's own architecture"
    assert found.security_models == ("dac", "selinux")


# Memory


def test_numa(server: HostFact) -> None:
    assert server.hardware.numa == (
        NumaCellFact(0, 1 << 30, (0, 2, 4, 6), ((0, 10), (1, 21), (2, 31))),
        NumaCellFact(1, 2 << 30, (1, 3, 5, 7), ((0, 21), (1, 10), (2, 31))),
        NumaCellFact(2, 4 << 30, (), ()),
    )


def test_a_cell_that_is_alone_has_the_hosts_memory() -> None:
    raw = replace(BARE, capabilities_xml=read("hosts/hybrid.xml"))
    assert [cell.memory_bytes for cell in host_fact(raw).hardware.numa] == [1 << 30]
    told = host_fact(replace(raw, memory_kib={"total": 3 << 20}))
    assert [cell.memory_bytes for cell in told.hardware.numa] == [told.memory_bytes] == [3 << 30]


def test_hugepages_are_those_set_apart_on_all_cells(server: HostFact) -> None:
    assert server.hardware.hugepages == (HugepagesFact(2 << 20, 1536), HugepagesFact(1 << 30, 0))


# Devices


def by_name(facts: tuple[HostNicFact, ...] | tuple[HostBusAdapterFact, ...]) -> dict[str, object]:
    return {fact.name: fact for fact in facts}


def test_pci_devices(server: HostFact) -> None:
    found = {device.address: device for device in server.hardware.pci}
    assert list(found) == sorted(found)
    assert found["0000:3b:00.0"] == PciFact(
        address="0000:3b:00.0",
        device_class="020000",
        vendor="Intel Corporation",
        product="Ethernet Controller X710",
        driver="i40e",
        numa_cell=0,
        iommu_group=40,
        virtual_functions=2,
        most_virtual_functions=64,
    )
    assert found["0000:3b:02.1"].physical_function == "0000:3b:00.0"
    assert found["0000:af:00.0"].mediated_types == ("nvidia-11", "nvidia-12")
    assert (found["0000:d8:00.0"].numa_cell, found["0000:d8:00.0"].product) == (None, "0x2261")
    assert "10000:e1:00.0" in found, "behind a volume management device"


def test_adapters(server: HostFact) -> None:
    shown = [(adapter.name, adapter.kind, adapter.pci_address) for adapter in server.hardware.adapters]
    assert shown == [
        ("host2", "sata", "0000:00:17.0"),
        ("host12", "sas", "0000:18:00.0"),
        ("host13", "iscsi", "0000:5e:00.0"),
        ("host10", "fc", "0000:d8:00.0"),
        ("host11", "fc", "0000:d8:00.1"),
        ("10000:e1:00.0", "nvme", "10000:e1:00.0"),
        ("iqn.2004-10.org.example:kvm-01", "iscsi", ""),
    ]


def test_a_fibre_channel_port(server: HostFact) -> None:
    found = by_name(server.hardware.adapters)
    assert found["host10"] == HostBusAdapterFact(
        name="host10",
        kind="fc",
        pci_address="0000:d8:00.0",
        wwnn="2000f4e9d4eb02c9",
        wwpn="2001f4e9d4eb02c9",
        fabric_wwn="2001547feebe79c1",
        virtual_ports=254,
    )
    unplugged = found["host11"]
    assert isinstance(unplugged, HostBusAdapterFact)
    assert unplugged.fabric_wwn == "", "all ones where no fabric is"


def test_the_hosts_own_interfaces(server: HostFact) -> None:
    shown = [(nic.name, nic.kind, nic.link_up, nic.speed_mbps) for nic in server.hardware.nics]
    assert shown == [
        ("bond0", "bond", True, 20_000),
        ("bond0.10", "vlan", True, 20_000),
        ("br0", "bridge", True, None),
        ("dummy-ha", "virtual", True, None),
        ("eno1", "ethernet", True, 10_000),
        ("eno1v0", "vf", False, None),
        ("eno2", "ethernet", True, 10_000),
        ("ib0", "infiniband", True, 56_000),
        ("wlp1s0", "wireless", False, None),
    ]


def test_what_interfaces_are_made_of(server: HostFact) -> None:
    nics = {nic.name: nic for nic in server.hardware.nics}
    assert nics["bond0"].ports == ("eno1", "eno2")
    assert nics["br0"].ports == ("bond0.10",), "guests' ends come and go"
    assert (nics["bond0.10"].ports, nics["bond0.10"].vlan) == (("bond0",), 10)


def test_an_interface_knows_its_card(server: HostFact) -> None:
    nics = {nic.name: nic for nic in server.hardware.nics}
    assert (nics["eno1"].pci_address, nics["eno1"].mac) == ("0000:3b:00.0", "3c:fd:fe:aa:00:01")
    assert (nics["eno1v0"].physical_function, nics["eno1v0"].mac) == ("0000:3b:00.0", "3c:fd:fe:aa:00:11")
    assert (nics["bond0"].pci_address, nics["eno1"].physical_function) == ("", "")


def test_without_the_interface_driver_devices_still_show() -> None:
    nics = {nic.name: nic.kind for nic in hardware(devices=pieces("nodedevs/server.xml")).nics}
    assert (nics["eno1"], nics["bond0"], nics["br0"]) == ("ethernet", "virtual", "virtual")


def test_without_devices_the_interface_driver_still_tells() -> None:
    nics = {nic.name: nic for nic in hardware(interfaces=pieces("nodedevs/server-interfaces.xml")).nics}
    assert (nics["eno1"].kind, nics["eno1"].mac, nics["bond0"].speed_mbps) == ("ethernet", "3c:fd:fe:aa:00:01", 20_000)


def test_the_order_in_which_devices_come_does_not_matter(server: HostFact) -> None:
    raw = replace(
        BARE,
        devices=tuple(reversed(pieces("nodedevs/server.xml"))),
        interfaces=tuple(reversed(pieces("nodedevs/server-interfaces.xml"))),
    )
    found = host_fact(raw, frozenset({"db-tap", "br-prod"})).hardware
    assert (found.pci, found.nics, found.adapters) == (
        server.hardware.pci,
        server.hardware.nics,
        server.hardware.adapters[:-1],
    )


def test_names_under_which_a_host_signs_in_come_from_its_pools() -> None:
    pool = "<pool type='iscsi'><source><initiator><iqn name='iqn.2004-10.org.example:{}'/></initiator></source></pool>"
    pools = [RawPool(pool.format(name), active=True, autostart=True) for name in ("b", "a", "a")]
    pools.append(RawPool("<initiator", active=True, autostart=True))
    assert initiators(pools) == ("iqn.2004-10.org.example:a", "iqn.2004-10.org.example:b")


# A hostile host


@pytest.mark.parametrize("xml", ["", "no xml", "<device>", "<device/>", "<a>" * 5000 + "</a>" * 5000, "<device>\ud800"])
def test_broken_descriptions_leave_a_host_with_what_is_known(xml: str) -> None:
    raw = replace(BARE, capabilities_xml=xml, sysinfo_xml=xml, cpu_xml=xml, devices=(xml,), interfaces=(xml,))
    fact = host_fact(raw)
    assert (fact.name, fact.cpu_sockets, fact.cpu_threads) == ("kvm-01", 2, 8)
    assert fact.hardware == HostHardware()


def test_a_hundred_thousand_devices_are_bounded() -> None:
    device = "<device><capability type='pci'><bus>{}</bus><slot>{}</slot><function>{}</function></capability></device>"
    many = [device.format(n % 256, n // 256 % 32, n // 8192) for n in range(10_000)]
    assert len(hardware(devices=tuple(many)).pci) == nodedevs.MOST_DEVICES


def test_a_hundred_thousand_ports_are_bounded() -> None:
    ports = "".join(f"<interface type='ethernet' name='p{n}'/>" for n in range(100_000))
    nics = hardware(interfaces=(f"<interface type='bond' name='bond0'><bond>{ports}</bond></interface>",)).nics
    assert len(nics) == nodedevs.MOST_INTERFACES
    assert len(nics[0].ports) == nodedevs.MOST_PORTS


TEXT = st.text(st.characters(codec=None), max_size=40)


@settings(deadline=None)
@given(text=TEXT, number=st.one_of(st.integers(), TEXT))
def test_whatever_a_host_says_can_be_sent_on(text: str, number: int | str) -> None:
    capabilities = (
        f"<capabilities><host><cpu><model>{text}</model><counter name='tsc' frequency='{number}'/>"
        f"<feature name='{text}'/>"
        f"<pages size='{number}' unit='{text}'/></cpu><topology><cells><cell id='{number}'><memory>{number}</memory>"
        f"<pages size='{number}'>{number}</pages><distances><sibling id='{number}' value='{number}'/></distances><cpus>"
        f"<cpu id='{number}' socket_id='{number}' core_id='{text}' siblings='{text}'/></cpus></cell></cells></topology>"
        f"</host><guest><arch name='x86_64'><machine>{text}</machine><domain type='{text}'/></arch></guest>"
        f"</capabilities>"
    )
    pci = (
        f"<device><name>{text}</name><parent>{text}</parent><driver><name>{text}</name></driver><capability type='pci'>"
        f"<class>{number}</class><domain>{number}</domain><bus>1</bus><slot>2</slot><function>3</function>"
        f"<vendor id='{number}'>{text}</vendor><numa node='{number}'/><iommuGroup number='{number}'/>"
        f"<capability type='virt_functions' maxCount='{number}'/></capability></device>"
    )
    host = (
        f"<device><capability type='scsi_host'><host>{number}</host><capability type='fc_host'><wwnn>{text}</wwnn>"
        f"</capability><capability type='vport_ops'><max_vports>{number}</max_vports></capability></capability>"
        f"</device>"
    )
    net = (
        f"<device><capability type='net'><interface>{text}</interface><address>{text}</address>"
        f"<link speed='{number}' state='{text}'/></capability></device>"
    )
    vlan = f"<vlan tag='{number}'><interface name='{text}'/></vlan>"
    interface = f"<interface type='vlan' name='{text}'>{vlan}</interface>"
    product = f"<entry name='product'>{text}</entry>"
    sysinfo = f"<sysinfo><bios><entry name='date'>{text}</entry></bios><system>{product}</system></sysinfo>"
    raw = replace(BARE, capabilities_xml=capabilities, sysinfo_xml=sysinfo, cpu_xml=capabilities)
    fact = host_fact(replace(raw, devices=(pci, host, net), interfaces=(interface,)))
    assert unpack(pack(fact), HostFact) == fact
