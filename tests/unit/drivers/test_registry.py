"""The registry tells what exists without loading any of it."""

import subprocess
import sys

import pytest

from drivers.errors import NotSupported
from drivers.isolation.process import HOME
from drivers.registry import KINDS, capabilities_of, fixed_reason, load_opener, unsupported_reason
from drivers.types import Capability, Endpoint, Hypervisor, Transport


def test_every_kind_has_an_opener() -> None:
    for kind, driver in KINDS.items():
        assert callable(load_opener(Endpoint(kind=kind, transport=driver.server_transports[0])))
        assert set(driver.page_transports) <= set(driver.server_transports)


@pytest.mark.parametrize("hypervisor", list(Hypervisor))
def test_what_a_hypervisor_cannot_do_has_a_sentence_of_its_own(hypervisor: Hypervisor) -> None:
    for capability in Capability:
        can = capability in capabilities_of("libvirt", Transport.TCP, hypervisor)
        reason = unsupported_reason("libvirt", Transport.TCP, hypervisor, capability)
        assert bool(reason) is not can
        assert not reason.startswith("Sources of this kind")


def test_sources_without_a_hypervisor_of_their_own() -> None:
    everything = frozenset(Capability)
    assert capabilities_of("fake", Transport.FAKE, "qemu") == everything
    assert capabilities_of("abacus", Transport.TCP, "qemu") == frozenset()
    assert Capability.DEVICES not in capabilities_of("libvirt", Transport.TEST, "qemu")
    for kind, transport in (("abacus", Transport.TCP), ("libvirt", Transport.TEST)):
        assert unsupported_reason(kind, transport, "qemu", Capability.DEVICES)


def test_an_unknown_kind() -> None:
    with pytest.raises(NotSupported):
        load_opener(Endpoint(kind="abacus", transport=Transport.TCP))


@pytest.mark.parametrize(
    "module", ["drivers.registry", "drivers.types", "drivers.errors", "drivers.isolation", "drivers.fake.world"]
)
def test_what_any_process_may_import_loads_no_libvirt(module: str) -> None:
    code = f"import sys, {module}; assert not {{'libvirt', 'libvirtmod', 'django'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=HOME, check=True)


def test_the_page_never_offers_what_only_the_server_may_name() -> None:
    offered = {transport for driver in KINDS.values() for transport in driver.page_transports}
    assert offered == {Transport.TCP, Transport.TLS, Transport.SSH}


def test_settings_that_a_hypervisor_cannot_change_have_a_sentence() -> None:
    assert fixed_reason("libvirt", "lxc", "name") == "libvirt cannot rename a container."
    assert "virtual CPUs" in fixed_reason("libvirt", "lxc", "vcpus")
    for kind, hypervisor, setting in (
        ("libvirt", "lxc", "memory_bytes"),
        ("libvirt", "qemu", "name"),
        ("libvirt", "xen", "vcpus"),
        ("fake", "lxc", "name"),
    ):
        assert fixed_reason(kind, hypervisor, setting) == ""
