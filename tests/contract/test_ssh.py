"""libvirt over a real SSH server that runs on a lab host."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.errors import AuthFailed, DriverError, HostKeyChanged, Rejected, Unreachable
from drivers.isolation import SessionPool
from drivers.ssh import probe_host_key, probe_host_keys
from drivers.types import MigrationPlan, Severity
from lab.api import Lab
from lab.processes import start_time
from tests.contract.conftest import lab_endpoint
from tests.contract.subjects import DEADLINE_S, soon, wait_for_end, wait_until
from tests.contract.test_reads import settled
from tests.sshd import KINDS, PASSWORD, PORT, Server, children_of, fingerprint, make_key, public, ssh_server, trust


@pytest.fixture(scope="module")
def server(session_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ssh_server(session_lab.hosts[0], tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_key_of_each_kind_signs_in(lab: Lab, server: Server, pool: SessionPool, kind: str) -> None:
    endpoint = replace(server.endpoint, private_key=(server.folder / f"client-{kind}").read_text())
    with (
        pool.session(endpoint, deadline_s=DEADLINE_S) as by_ssh,
        pool.session(lab_endpoint(server.host), deadline_s=DEADLINE_S) as by_tcp,
    ):
        assert settled(by_ssh.snapshot()) == settled(by_tcp.snapshot())
        assert by_ssh.read_states().complete


def test_a_key_that_may_run_nothing_but_the_helper_signs_in(lab: Lab, server: Server, pool: SessionPool) -> None:
    """As docs/connect-kvm.md advises."""
    endpoint = replace(server.endpoint, private_key=(server.folder / "client-forced").read_text())
    with pool.session(endpoint, deadline_s=DEADLINE_S) as session:
        assert session.snapshot().complete


def test_a_password_signs_in(lab: Lab, server: Server, pool: SessionPool) -> None:
    endpoint = replace(server.endpoint, private_key="", password=PASSWORD)
    with pool.session(endpoint, deadline_s=DEADLINE_S) as session:
        assert session.snapshot().complete


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"private_key": "", "password": "wrong"}, AuthFailed),
        ({"private_key": "no key at all"}, AuthFailed),
        ({"username": "nobody-here"}, AuthFailed),
        ({"host_key": ""}, AuthFailed),
        ({"port": PORT + 1}, Unreachable),
    ],
)
def test_what_is_refused(
    lab: Lab, server: Server, pool: SessionPool, change: dict[str, str], kind: type[DriverError]
) -> None:
    endpoint = replace(server.endpoint, **change)  # type: ignore[arg-type]
    with pytest.raises(kind) as raised, pool.session(endpoint, deadline_s=DEADLINE_S):
        pytest.fail("opened")  # pragma: no cover
    assert type(raised.value) is kind
    assert "wrong" not in raised.value.message


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_another_host_key_is_an_error_that_says_so(
    lab: Lab, server: Server, pool: SessionPool, tmp_path: Path, kind: str
) -> None:
    """Of the same kind, and of a kind the host does not have."""
    other = public(make_key(tmp_path, "other", kind))
    with pytest.raises(HostKeyChanged), pool.session(replace(server.endpoint, host_key=other), deadline_s=DEADLINE_S):
        pytest.fail("opened")  # pragma: no cover


def test_every_kind_of_host_key_can_be_pinned(lab: Lab, server: Server, pool: SessionPool) -> None:
    """ssh is told to ask for the accepted kind, whatever it would prefer."""
    for fact in probe_host_keys(server.host.address, PORT):
        with pool.session(replace(server.endpoint, host_key=fact.key), deadline_s=DEADLINE_S) as session:
            assert session.read_states().complete


def test_the_host_keys_are_shown(lab: Lab, server: Server) -> None:
    best, other = probe_host_keys(server.host.address, PORT)
    assert best.key == public(server.folder / "host-ed25519")
    assert other.key == public(server.folder / "host-ecdsa")
    assert best.fingerprint == fingerprint(server.folder / "host-ed25519")
    assert probe_host_key(server.host.address, PORT, accepted=other.key) == other
    assert probe_host_key(server.host.address, PORT, accepted="ssh-rsa AAAA") == best


def test_no_ssh_server_shows_no_key(lab: Lab, server: Server) -> None:
    with pytest.raises(Unreachable):
        probe_host_key(server.host.address, PORT + 1)


def test_no_libvirt_behind_ssh(lab: Lab, server: Server) -> None:
    server.host.kill_libvirtd()
    own = SessionPool(processes=1)  # without the sessions of the tests before
    try:
        with pytest.raises(Rejected, match="libvirt"), own.session(server.endpoint, deadline_s=DEADLINE_S):
            pytest.fail("opened")  # pragma: no cover
    finally:
        own.close()


def test_nothing_is_left_behind(lab: Lab, server: Server) -> None:
    """No key on disk at any time after, no ssh process once the pool is closed."""
    own = SessionPool(processes=1)
    with own.session(server.endpoint, deadline_s=DEADLINE_S) as session:
        (child,) = own.process_ids()
        assert session.read_states().complete
        (ssh,) = children_of(child)
        shown = b"".join(Path(f"/proc/{ssh}/{name}").read_bytes() for name in ("cmdline", "environ"))
        assert b"libvirt-sock" in shown
        assert b"PRIVATE KEY" not in shown
        assert not [fd for fd in Path(f"/proc/{child}/fd").iterdir() if "memfd" in os.readlink(fd)]  # noqa: PTH115
    own.close()
    wait_until(lambda: start_time(ssh) == 0, "the end of ssh")


def test_a_guest_moves_between_hosts_that_know_each_other_by_ssh(
    lab: Lab, server: Server, pool: SessionPool, tmp_path: Path
) -> None:
    """As docs/connect-kvm.md says: root of the source host signs in to the target with a key of its own."""
    guest = next(guest for guest in lab.guests if guest.host.name == server.host.name)
    other_host = next(host for host in lab.hosts if host.name != server.host.name)
    with ssh_server(other_host, tmp_path) as other:
        for here, there in ((server, other), (other, server)):
            trust(here.host, there)
            plan = MigrationPlan(guest.uuid, guest.uuid, there.endpoint)
            with pool.session(here.endpoint, deadline_s=DEADLINE_S) as session:
                assert [f for f in session.check_migration(plan) if f.severity is Severity.ERROR] == []
                session.start_migration(plan, f"to-{there.host.name}", soon())
                last = wait_for_end(session, guest.uuid, f"to-{there.host.name}")[-1]
            assert (last.error, last.cancelled) == ("", False)
            assert guest.running_on == [there.host.name]
