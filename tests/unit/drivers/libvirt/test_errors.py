"""libvirt's errors, as recorded on libvirt 9.0, become our kinds and sentences; their text goes nowhere."""

import libvirt
import pytest

from drivers import errors as ours
from drivers.libvirt.errors import guarded, migration_error, translate

REMOTE, RPC, QEMU, DOMAIN, STORAGE, NETWORK = 13, 7, 10, 20, 18, 19


def error(code: int, domain: int, text: str) -> libvirt.libvirtError:
    made = libvirt.libvirtError("failed")
    made.err = (code, domain, text, 2, text, None, None, -1, -1)
    return made


@pytest.mark.parametrize(
    ("code", "domain", "text", "kind"),
    [
        (42, QEMU, "Domain not found: no domain with matching uuid 'x' (y)", ours.NotFound),
        (43, NETWORK, "Network not found: no network with matching name 'x'", ours.NotFound),
        (3, DOMAIN, "this function is not supported by the connection driver", ours.NotSupported),
        (84, QEMU, "Operation not supported: migration statistics are available only …", ours.NotSupported),
        (68, QEMU, "Timed out during operation: cannot acquire state change lock", ours.Busy),
        (87, QEMU, "resource busy", ours.Busy),
        (45, 46, "authentication failed: Password request failed", ours.AuthFailed),
        (79, 46, "authentication cancelled", ours.AuthFailed),
        (29, 0, "operation virDomainCreate forbidden for read only access", ours.AuthFailed),
        (98, 66, "libssh transport error: failed to authenticate: Access denied", ours.AuthFailed),
        (45, 66, "!!! SSH HOST KEY VERIFICATION FAILED !!!: Identity of host …", ours.HostKeyChanged),
        (38, RPC, "unable to connect to server at '192.0.2.1:16509': Connection refused", ours.Unreachable),
        (38, RPC, "Cannot recv data: Connection reset by peer", ours.Unreachable),
        (1, RPC, "internal error: client socket is closed", ours.Unreachable),
        (39, RPC, "packet 1213486156 bytes received from server too large", ours.Unreachable),
        (55, DOMAIN, "Requested operation is not valid: domain is not running", ours.Rejected),
        (1, QEMU, "internal error: something", ours.Rejected),
        (12345, 99, "<script>", ours.Rejected),
    ],
)
def test_kinds(code: int, domain: int, text: str, kind: type[ours.DriverError]) -> None:
    raised = translate(error(code, domain, text))
    assert type(raised) is kind
    assert text not in raised.message
    assert raised.message.endswith(".")


@pytest.mark.parametrize(
    ("code", "domain", "text", "part"),
    [
        (78, QEMU, "operation aborted: job 'migration out' canceled by client", "canceled"),
        (81, QEMU, "Unsafe migration: Migration without shared storage is unsafe", "storage that both hosts share"),
        (81, QEMU, "Unsafe migration: Migration may lead to data corruption if disks use cache other than", "cache"),
        (55, QEMU, "Requested operation is not valid: cannot migrate domain with 1 snapshots", "snapshots"),
        (55, DOMAIN, "Requested operation is not valid: domain is not running", "not running"),
        (43, NETWORK, "Network not found: no network with matching name 'onlyhere'", "no network onlyhere"),
        (55, NETWORK, "Requested operation is not valid: network 'lan' is not active", "lan is not started"),
        (38, 0, "Cannot get interface MTU on 'virbr7': No such device", "no bridge virbr7"),
        (9, DOMAIN, "operation failed: domain 'n4' already exists with uuid c499c113", "another guest of this name"),
        (9, DOMAIN, "operation failed: domain 'n4x' is already defined with uuid 6f2a", "with this UUID"),
        (38, STORAGE, "Cannot access storage file '/x/loc.img': No such file or directory", "mount its datastore"),
        (1, QEMU, "internal error: Attempt to migrate guest to the same host 0000", "same host"),
        (38, RPC, "unable to connect to server at '192.0.2.2:9999': Connection refused", "refused"),
        (38, RPC, "Unable to resolve address 'nohost.lab' service '16509': Temporary failure", "resolve"),
        (38, RPC, "unable to connect to server at '10.99.0.12:16509': Network is unreachable", "no network route"),
        (38, RPC, "Cannot read CA certificate '/etc/pki/CA/cacert.pem'", "TLS"),
        (9, QEMU, "operation failed: Lost connection to destination host", "broke during the migration"),
        (1, RPC, "internal error: client socket is closed", "broke during the migration"),
        (38, RPC, "End of file while reading data: Input/output error", "broke during the migration"),
        (9, QEMU, "operation failed: guest CPU doesn't match specification: missing features: avx512f", "CPU"),
        (67, QEMU, "unsupported configuration: Emulator '/q' does not support machine type 'pc-9'", "QEMU"),
        (42, QEMU, "Domain not found", "not on this host"),
        (1, QEMU, "internal error: no idea", "libvirt logs of both hosts"),
    ],
)
def test_why_a_migration_failed(code: int, domain: int, text: str, part: str) -> None:
    sentence = migration_error(error(code, domain, text)).message
    assert part in sentence
    assert sentence.endswith(".")


def test_names_in_a_sentence_are_cleaned() -> None:
    sentence = migration_error(error(43, NETWORK, f"no network with matching name '\u202e{'x' * 500}'")).message
    assert "\u202e" not in sentence
    assert len(sentence) < 200


def test_a_call_raises_ours_without_the_cause() -> None:
    def refuse() -> None:
        raise error(38, RPC, "secret text")

    with pytest.raises(ours.Unreachable) as raised:
        guarded(refuse)
    assert raised.value.__suppress_context__
