"""What a host can run, and whose volumes are whose; the rest runs in the contract suite."""

from types import SimpleNamespace

import pytest

from drivers.errors import NotFound, Rejected
from drivers.libvirt.define import ability_of, own_disks
from drivers.libvirt.usage import find_by_path, images_below, paths_of, require_unused
from drivers.libvirt.xml import read_xml
from tests.unit.drivers.libvirt.fakes import FakeConnection

CAPABILITIES = """<capabilities><host><cpu><arch>x86_64</arch></cpu>
<topology><cells><cell><memory unit='KiB'>1048576</memory></cell>
<cell><memory unit='KiB'>1048576</memory></cell></cells></topology></host>
<guest><os_type>xen</os_type><arch name='x86_64'><domain type='xen'/></arch></guest>
<guest><os_type>hvm</os_type><arch name='x86_64'><machine canonical='pc-q35-7.2'>q35</machine>
<machine>pc-q35-7.2</machine>
<domain type='qemu'/><domain type='kvm'><machine>pc</machine></domain></arch></guest>
<guest><os_type>hvm</os_type><arch name='aarch64'><machine>virt</machine><domain type='qemu'/></arch></guest>
</capabilities>"""


def test_the_hosts_own_architecture_and_its_best_kind() -> None:
    own, other = ability_of(CAPABILITIES, ""), ability_of(CAPABILITIES, "aarch64")
    assert own is not None
    assert other is not None
    assert (own.architecture, own.kind, own.machine, own.host_memory_bytes) == ("x86_64", "kvm", "q35", 2 << 30)
    assert {"pc", "q35", "pc-q35-7.2"} == own.machines
    assert (other.kind, other.machine) == ("qemu", "")


@pytest.mark.parametrize(
    ("text", "architecture"), [(CAPABILITIES, "vax"), ("", ""), ("<x/>", ""), ("not XML", "x86_64")]
)
def test_what_it_cannot_run(text: str, architecture: str) -> None:
    assert ability_of(text, architecture) is None


DOMAIN = """<domain><os><nvram>/v/a.fd</nvram><kernel>/boot/k</kernel></os><devices>
<disk device='disk'><source file='/a/1'/><backingStore><source file='/a/base'/><backingStore><source dev='/dev/b'/>
</backingStore></backingStore><mirror><source file='/a/m'/></mirror></disk>
<disk device='disk'><source file='/a/ro'/><readonly/></disk>
<disk device='disk'><source dev='/dev/shared'/><shareable/></disk>
<disk device='cdrom'><source file='/iso/x'/></disk>
<disk><source dev='/dev/2'/></disk><disk device='disk'/>
</devices></domain>"""


def test_all_that_a_guest_rests_on() -> None:
    node = read_xml(DOMAIN)
    everything = {"/a/1", "/a/base", "/dev/b", "/a/m", "/a/ro", "/dev/shared", "/iso/x", "/dev/2", "/v/a.fd", "/boot/k"}
    assert paths_of(node) == everything
    assert list(own_disks(node)) == ["/a/1", "/dev/2"]


def test_what_it_wrote_before_a_snapshot_is_its_own_but_not_what_it_was_made_from() -> None:
    chain = {"/a/over": "/a/1", "/a/1": "/golden"}

    def volume(path: str) -> SimpleNamespace:
        below = f"<backingStore><path>{chain[path]}</path></backingStore>" if path in chain else ""
        return SimpleNamespace(XMLDesc=lambda _flags: f"<volume>{below}</volume>")

    line = FakeConnection(storageVolLookupByPath=volume)
    assert list(images_below(line, "/a/over", {"/a/1"})) == ["/a/1"]  # type: ignore[arg-type]
    assert list(images_below(line, "/a/over", set())) == []  # type: ignore[arg-type]


def host(*guests: str) -> FakeConnection:
    domains = [
        SimpleNamespace(
            ID=lambda: -1, UUIDString=lambda n=n: str(n), name=lambda n=n: f"guest {n}", XMLDesc=lambda _flags, x=xml: x
        )
        for n, xml in enumerate(guests)
    ]
    return FakeConnection(listAllDomains=lambda _flags: domains)


def test_a_volume_is_in_use_as_long_as_any_guest_rests_on_it() -> None:
    line = host("<domain/>", DOMAIN)
    for path in ("/a/1", "/a/base", "/dev/b", "/iso/x", "/v/a.fd"):
        with pytest.raises(Rejected, match="guest 1"):
            require_unused(line, path)  # type: ignore[arg-type]
    require_unused(line, "/a/other")  # type: ignore[arg-type]
    require_unused(line, "/a/1", but="1")  # type: ignore[arg-type]
    by_name = host("<domain><devices><disk><source pool='p' volume='v'/></disk></devices></domain>")
    with pytest.raises(Rejected):
        require_unused(by_name, "/x", "p", "v")  # type: ignore[arg-type]
    require_unused(by_name, "/x", "other", "v")  # type: ignore[arg-type]


def test_a_guest_that_cannot_be_read_may_have_it() -> None:
    with pytest.raises(Rejected, match="cannot be read"):
        require_unused(host("<broken"), "/a/1")  # type: ignore[arg-type]


def volumes(**backing: str) -> FakeConnection:
    """Volumes at /NAME, by what each rests on."""

    def look_up(path: str) -> SimpleNamespace:
        if path[1:] not in backing:
            raise NotFound("gone")
        below = backing[path[1:]]
        xml = f"<volume>{f'<backingStore><path>{below}</path></backingStore>' if below else ''}</volume>"
        return SimpleNamespace(XMLDesc=lambda _flags: xml)

    return FakeConnection(storageVolLookupByPath=look_up)


def test_only_volumes_down_to_the_last_image() -> None:
    line = volumes(a="/b", b="/c", c="", evil="/etc/shadow", circle="/circle")
    assert find_by_path(line, "/a")  # type: ignore[arg-type]
    for path in ("/none", "/evil", "/circle"):
        with pytest.raises(Rejected):
            find_by_path(line, path)  # type: ignore[arg-type]
