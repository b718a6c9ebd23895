"""The registry tells what exists without loading any of it."""

import subprocess
import sys

import pytest

from drivers.errors import NotSupported
from drivers.isolation.process import HOME
from drivers.registry import KINDS, load_opener
from drivers.types import Endpoint, Transport


def test_every_kind_has_an_opener() -> None:
    for kind, driver in KINDS.items():
        assert callable(load_opener(Endpoint(kind=kind, transport=driver.server_transports[0])))
        assert set(driver.page_transports) <= set(driver.server_transports)


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
