"""A changed host key is told with both fingerprints."""

import pytest

from drivers.errors import HostKeyChanged, Unreachable
from drivers.types import Endpoint, HostKeyFact, Transport
from hosts import host_keys
from hosts.validation import fingerprint

OLD = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
NEW = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
ENDPOINT = Endpoint(kind="libvirt", transport=Transport.SSH, address="10.0.0.9", port=22, host_key=OLD)
ERROR = HostKeyChanged("changed")


@pytest.mark.parametrize("presented", [OLD, NEW])
def test_both_fingerprints(monkeypatch, presented):
    fact = HostKeyFact(presented, fingerprint(presented))
    monkeypatch.setattr("drivers.ssh.probe_host_key", lambda *args, **kwargs: fact)
    told = host_keys.with_fingerprints(ENDPOINT, ERROR)
    if presented == OLD:  # it changed back in between: nothing to compare
        assert told is ERROR
        return
    assert fingerprint(OLD) in told.message
    assert fingerprint(NEW) in told.message


def test_a_host_that_shows_none(monkeypatch):
    def silent(*args, **kwargs):
        raise Unreachable("no key")

    monkeypatch.setattr("drivers.ssh.probe_host_key", silent)
    assert host_keys.with_fingerprints(ENDPOINT, ERROR) is ERROR
