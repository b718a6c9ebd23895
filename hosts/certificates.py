"""Certificates for TLS: checked when they are entered, described for pages. The description tells no secret.

A description is a dict with `subject`, `issuer`, `not_before`, `not_after` (ISO 8601, UTC) and `fingerprint`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.utils import timezone
from django.utils.translation import gettext as _

from core.errors import Invalid
from hosts.facts import text

LONGEST = 64 * 1024  # bytes of PEM: a client's with all between it and the CA, or a bundle of CAs
MOST = 20
LONGEST_NAME = 300
SOON = timedelta(days=30)
KIND = "x509"

Description = dict[str, str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a form has for TLS, checked: PEM, and what may be told of it."""

    ca_certificate: str
    client_certificate: str
    described: dict[str, Any]


def checked_sheet(ca_certificate: str, client_certificate: str, private_key: str) -> Sheet:
    """A client's certificate with its key, and whom the host's certificate must be signed by, if anybody.

    Raises: Invalid.
    """
    client = read_certificates(client_certificate, "client_certificate")
    authorities = read_certificates(ca_certificate, "ca_certificate") if ca_certificate.strip() else []
    _require_key(client[0], private_key)
    _require_client(client[0])
    for authority in authorities:
        _require_authority(authority)
    if authorities:
        _require_signed(client, authorities)
    described = {"client": describe(client[0]), "ca": [describe(one) for one in authorities]}
    return Sheet(_pem(authorities), _pem(client), described)


def read_certificates(pem: str, field: str) -> list[x509.Certificate]:
    """All in a PEM text, in its order. Raises: Invalid."""
    if len(pem) > LONGEST:
        raise Invalid(_("This is too long for a certificate."), field=field)
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        for one in found:
            describe(one)  # what cannot even be shown
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise Invalid(
            _("This is not a certificate; paste the whole file, from BEGIN CERTIFICATE to END CERTIFICATE."),
            field=field,
        ) from error
    if len(found) > MOST:
        raise Invalid(_("These are too many certificates; only those are needed that sign each other."), field=field)
    return found


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    """Written anew: what else stood in the file, such as a key, is not kept."""
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def describe(certificate: x509.Certificate) -> Description:
    """Raises: ValueError for one that is broken inside."""
    return {
        "subject": _name(certificate.subject),
        "issuer": _name(certificate.issuer),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
    }


def describe_presented(key: str) -> Description:
    """Of what a host presented, spelled as Endpoint.host_key; empty for what cannot be read."""
    try:
        return describe(x509.load_der_x509_certificate(base64.b64decode(key.removeprefix(f"{KIND} "), validate=True)))
    except (ValueError, TypeError, x509.InvalidVersion):
        return {}


def presented_key(pem: str) -> str:
    """A host's own certificate, spelled as Endpoint.host_key; empty for none. Raises: Invalid."""
    if not pem.strip():
        return ""
    first = read_certificates(pem, "host_key")[0]
    return f"{KIND} {base64.b64encode(first.public_bytes(Encoding.DER)).decode()}"


def _name(name: x509.Name) -> str:
    shown = name.rfc4514_string() or "–"  # noqa: RUF001 - a dash
    return text("".join(letter if letter.isprintable() else "\ufffd" for letter in shown), LONGEST_NAME)


def _require_key(certificate: x509.Certificate, private_key: str) -> None:
    """Raises: Invalid; its sentence never repeats the key."""
    try:
        # Not validated: see hosts.validation.
        key: Any = load_pem_private_key(private_key.encode(), password=None, unsafe_skip_rsa_key_validation=True)
        mine, theirs = (
            one.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for one in (key.public_key(), certificate.public_key())
        )
    except UnsupportedAlgorithm:
        raise Invalid(
            _("The client certificate has a kind of key that is not known here; use RSA, ECDSA or Ed25519."),
            field="client_certificate",
        ) from None
    except (ValueError, TypeError, x509.InvalidVersion):
        raise Invalid(
            _("This is not the key of a certificate; paste the whole PEM file, without a passphrase."),
            field="client_key",
        ) from None
    if mine != theirs:
        raise Invalid(_("This key does not belong to the client certificate."), field="client_key")


def _require_client(certificate: x509.Certificate) -> None:
    _require_valid(certificate, "client_certificate")
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    if usage is not None and not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(
        usage
    ):
        raise Invalid(
            _("This certificate is not for clients: its extended key usage lacks clientAuth."),
            field="client_certificate",
        )


def _require_authority(certificate: x509.Certificate) -> None:
    _require_valid(certificate, "ca_certificate")
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.ca:
        raise Invalid(
            _(
                "This is not the certificate of a CA. To trust the host's own certificate, leave this empty: the test "
                "shows it to you, to be accepted."
            ),
            field="ca_certificate",
        )


def _require_valid(certificate: x509.Certificate, field: str) -> None:
    now, words = timezone.now(), {"name": _name(certificate.subject)}
    if certificate.not_valid_after_utc < now:
        raise Invalid(_("The certificate of %(name)s has expired.") % words, field=field)
    if certificate.not_valid_before_utc > now:
        raise Invalid(_("The certificate of %(name)s is not valid yet; check the clocks.") % words, field=field)


def _require_signed(chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]) -> None:
    """libvirt demands the same of its own clients: one CA for both sides. Raises: Invalid."""
    issued, others = chain[0], [*chain[1:], *authorities]
    trusted = {one.fingerprint(hashes.SHA256()) for one in authorities}
    for _step in range(MOST):
        issuer = next((one for one in others if _signed(issued, one)), None)
        if issuer is None:
            break
        if issuer.fingerprint(hashes.SHA256()) in trusted:
            return
        issued = issuer
    raise Invalid(
        _("The CA you gave did not sign the client certificate; add the one that did, or what is between them."),
        field="ca_certificate",
    )


def _signed(issued: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    """None when it is not there. Raises: Invalid."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise Invalid(_("This certificate is broken inside; have it made anew.")) from error


def warnings(described: dict[str, Any]) -> list[str]:
    """A sentence for each certificate that has expired or soon will. `described` is a source's `certificates`."""
    told = [
        (_("The client certificate"), described.get("client")),
        (_("The host's certificate"), described.get("server")),
        *((_("The certificate of the CA"), one) for one in described.get("ca", [])),
    ]
    return list(_late((name, one) for name, one in told if one))


def _late(told: Iterable[tuple[str, Description]]) -> Iterable[str]:
    now = timezone.now()
    for name, one in told:
        ends = datetime.fromisoformat(one["not_after"])
        words = {"what": name, "day": timezone.localtime(ends).date().isoformat(), "days": max(0, (ends - now).days)}
        if ends < now:
            yield _("%(what)s expired on %(day)s.") % words
        elif ends - now < SOON:
            yield _("%(what)s expires on %(day)s, in %(days)d days; replace it before.") % words
