"""What a session's user calls is what the contract of operations says, name by name."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from drivers import ops
from drivers.isolation import RemoteSession
from drivers.isolation.wire import METHODS, methods_of, pack, unpack
from drivers.requests import GuestRequest, NicRequest

PROTOCOLS = [
    ops.TaskOps,
    ops.SnapshotOps,
    ops.EditOps,
    ops.DeviceOps,
    ops.DefineOps,
    ops.StorageOps,
    ops.ContentOps,
    ops.NetworkOps,
]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)
def test_every_operation_has_its_twin(protocol: type) -> None:
    names = methods_of(protocol)
    assert names
    for name in names:
        said = inspect.signature(getattr(protocol, name))
        ours = inspect.signature(getattr(RemoteSession, name))
        parameters = [one for one in ours.parameters.values() if one.name != "deadline_s"]
        assert parameters == list(said.parameters.values()), name
        assert ours.return_annotation == said.return_annotation, name
        assert METHODS[name].needs is protocol


def test_what_is_asked_arrives_as_it_was_and_nothing_else_does() -> None:
    method = METHODS["define_guest"]
    request = GuestRequest("u", "n", 1, 1, nics=(NicRequest("m", network="a"),))
    assert unpack(pack((request, 1.5)), method.arguments) == (request, 1.5)
    with pytest.raises(msgspec.ValidationError):
        unpack(pack(({"uuid": 1}, 1.5)), method.arguments)
    with pytest.raises(msgspec.ValidationError):
        unpack(pack((request,)), method.arguments)
