"""Networks that cannot start leave nothing behind; the rest runs in the contract suite."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.errors import NotFound, NotSupported, Rejected
from drivers.libvirt.networks import NetworkCalls
from drivers.requests import NetworkMode, NetworkRequest
from tests.unit.drivers.libvirt.fakes import answer
from tests.unit.drivers.libvirt.test_errors import error

UUID = "11111111-1111-4111-8111-111111111111"


class Host(NetworkCalls):
    """A host without networks; `create` is what starting one comes to."""

    def __init__(self, *, create: Any = None, bridge: Any = None) -> None:
        super().__init__()
        self.defined: list[str] = []
        network = SimpleNamespace(
            setAutostart=answer(0), isActive=answer(0), create=answer(create), undefine=self.defined.clear
        )

        def define(xml: str) -> Any:
            self.defined.append(xml)
            return network

        self.raw = SimpleNamespace(
            networkLookupByUUIDString=answer(NotFound("gone")),
            networkLookupByName=answer(NotFound("gone")),
            interfaceLookupByName=answer(bridge),
            networkDefineXML=define,
        )

    @contextmanager
    def _line(self, ref: str) -> Iterator[Any]:
        def call(method: Any, *args: Any) -> Any:
            return method(*args)

        yield SimpleNamespace(raw=self.raw, call=call, call_raw=call)


def test_one_that_cannot_start_is_forgotten() -> None:
    host = Host(create=error(1, 19, "internal error: Network is already in use by interface eth0"))
    with pytest.raises(Rejected, match="eth0"):
        host.create_network(NetworkRequest(UUID, "n", NetworkMode.ISOLATED, address="192.0.2.1/24"))
    assert host.defined == []


def test_a_bridge_that_is_not_there() -> None:
    request = NetworkRequest(UUID, "n", NetworkMode.BRIDGED, bridge="br9")
    with pytest.raises(Rejected, match="br9"):
        Host(bridge=NotFound("gone")).create_network(request)
    for told in (None, NotSupported("cannot tell")):
        host = Host(bridge=told)
        host.create_network(request)
        assert len(host.defined) == 1
