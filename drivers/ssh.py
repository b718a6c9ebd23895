"""The SSH host keys a host presents, for a person to look at and accept."""

from __future__ import annotations

import base64
import hashlib
import subprocess

from drivers.errors import NotSupported, Unreachable
from drivers.libvirt.tunnel import HOST_KEY_ALGORITHMS
from drivers.libvirt.uri import SSH_PORT, checked_address, checked_port
from drivers.types import HostKeyFact
from drivers.words import gettext_noop as _

MOST_KEYS = 8
DEFAULT_LIMIT_S = 5.0
_ORDER = list(HOST_KEY_ALGORITHMS)  # the best kind first


def probe_host_key(
    address: str, port: int | None, timeout_s: float = DEFAULT_LIMIT_S, *, accepted: str = ""
) -> HostKeyFact:
    """The key to compare with the accepted one: of the same kind if the host shows one, else the best it shows.

    Raises: as probe_host_keys.
    """
    keys = probe_host_keys(address, port, timeout_s)
    kind = accepted.partition(" ")[0]
    return next((fact for fact in keys if fact.key.partition(" ")[0] == kind), keys[0])


def probe_host_keys(address: str, port: int | None, timeout_s: float = DEFAULT_LIMIT_S) -> tuple[HostKeyFact, ...]:
    """The keys a host shows now, the best kind first. Proves nothing about who shows them.

    Raises: Unreachable when it shows none in time; Rejected for a bad address; NotSupported without ssh-keyscan.
    """
    host, number = checked_address(address).strip("[]"), checked_port(port or None, SSH_PORT)
    command = [
        "ssh-keyscan",
        "-T",
        str(max(1, int(timeout_s))),
        "-p",
        str(number),
        "-t",
        "ed25519,ecdsa,rsa",
        "--",
        host,
    ]
    try:
        scan = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s + 1, check=False
        )
    except FileNotFoundError:
        raise NotSupported(_("This server has no SSH client; install the package openssh-client.")) from None
    except subprocess.TimeoutExpired:
        raise _silent(host, number) from None
    keys = read_keys(scan.stdout)
    if not keys:
        raise _silent(host, number)
    return keys


def _silent(host: str, port: int) -> Unreachable:
    return Unreachable(
        _("%(host)s shows no SSH host key on port %(port)s; check that its SSH service runs."), host=host, port=port
    )


def read_keys(text: str) -> tuple[HostKeyFact, ...]:
    """What ssh-keyscan printed. Pure; lines that are no key are left out."""
    facts = []
    for line in text.splitlines()[:100]:
        parts = line.split()
        if len(parts) != 3 or parts[1] not in HOST_KEY_ALGORITHMS:  # noqa: PLR2004 (host, kind, key)
            continue
        fingerprint = fingerprint_of(parts[2])
        if fingerprint:
            facts.append(HostKeyFact(f"{parts[1]} {parts[2]}", fingerprint))
    facts.sort(key=lambda fact: _ORDER.index(fact.key.split()[0]))
    return tuple(facts[:MOST_KEYS])


def fingerprint_of(data: str) -> str:
    """OpenSSH's SHA256:… form; empty for what is no base64."""
    try:
        digest = hashlib.sha256(base64.b64decode(data, validate=True)).digest()
    except ValueError:
        return ""
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
