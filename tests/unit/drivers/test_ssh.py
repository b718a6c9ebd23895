"""Reading what ssh-keyscan prints."""

import pytest

from drivers.errors import Rejected
from drivers.ssh import fingerprint_of, probe_host_key, read_keys

ED = "AAAAC3NzaC1lZDI1NTE5AAAAINDKnOX8tNQD/t/8Fv0HyW2/DYkpNHS8p5dwpladC7As"


def test_the_best_kind_comes_first_with_openssh_s_fingerprint() -> None:
    printed = f"# 192.0.2.1:22 SSH-2.0-OpenSSH_9.2\n192.0.2.1 ssh-rsa AAAAB3Nz\n[192.0.2.1]:2222 ssh-ed25519 {ED}\n"
    first, second = read_keys(printed)
    assert first.key == f"ssh-ed25519 {ED}"
    # As `ssh-keygen -l` printed it for this key.
    assert first.fingerprint == "SHA256:vpD3l0zJkWg7H7QfqfM8zJfsdckFTP1swSiGFSjLMNk"
    assert second.key.startswith("ssh-rsa ")


@pytest.mark.parametrize("line", ["", "#", "h ssh-ed25519", "h ssh-dss AAAA", "h ssh-ed25519 not-base64!", "a b c d"])
def test_what_is_no_key_is_left_out(line: str) -> None:
    assert read_keys(line) == ()


def test_no_endless_lists() -> None:
    assert len(read_keys(f"h ssh-ed25519 {ED}\n" * 5000)) == 8


def test_a_fingerprint_needs_base64() -> None:
    assert fingerprint_of("§") == ""


@pytest.mark.parametrize("address", ["-oProxyCommand=x", "a b", "h;x", ""])
def test_an_address_cannot_be_an_option(address: str) -> None:
    with pytest.raises(Rejected):
        probe_host_key(address, 22)
