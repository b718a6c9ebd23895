"""TLS to a libvirt: whom we trust, who we are, and the certificate a host presents.

Python's own TLS rather than libvirt's: see docs/adr/0016-tls-by-our-own-hand.md. Of libvirt's protocol only one byte is
known here: after the handshake the host sends it when it accepts the client's certificate, or closes the connection.
Source: https://libvirt.org/kbase/tlscerts.html and virNetClientSetTLSSession in libvirt's src/rpc/virnetclient.c
"""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from drivers.errors import AuthFailed, DriverError, HostKeyChanged, Rejected, Unreachable
from drivers.libvirt.tunnel import memory_file
from drivers.libvirt.uri import TLS_PORT, checked_address, checked_port, name_of
from drivers.reach import reach
from drivers.types import Endpoint, HostKeyFact
from drivers.words import gettext_noop as _

HANDSHAKE_LIMIT_S = 10.0
KIND = "x509"
WELCOME = b"\x01"
# Source: X509_V_ERR_… in OpenSSL's include/openssl/x509_vfy.h.in
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_IP = 9, 10, 62, 64


def connect(endpoint: Endpoint) -> tuple[ssl.SSLSocket, HostKeyFact]:
    """An encrypted connection to a libvirt that is the right one and took our certificate; what it presented.

    Raises: Unreachable; AuthFailed when either side refuses the other's certificate, HostKeyChanged when it is not the
    accepted one; Rejected for what cannot be right.
    """
    context = _context(endpoint)
    with _socket(endpoint) as plain, _explained(endpoint):
        secure = context.wrap_socket(plain, server_hostname=name_of(endpoint) if context.check_hostname else None)
        try:
            presented = _presented(secure)
            _require_accepted(endpoint, presented)
            _require_welcome(secure)
        except BaseException:
            secure.close()
            raise
    return secure, presented


def probe_certificate(endpoint: Endpoint) -> HostKeyFact:
    """The certificate a host presents now, whoever signed it. Proves nothing; sends nothing but a greeting.

    Raises: Unreachable; Rejected.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # to be looked at by a person: no data and no certificate of ours goes this way
    with _socket(endpoint) as plain, _explained(endpoint), context.wrap_socket(plain) as secure:
        return _presented(secure)


def fact_of(certificate: bytes) -> HostKeyFact:
    """Of a certificate in DER."""
    digest = hashlib.sha256(certificate).hexdigest().upper()
    key = f"{KIND} {base64.b64encode(certificate).decode()}"
    return HostKeyFact(key, ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)))


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which demands a certificate that is valid for the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # who was checked once is who stays
    _trust(context, endpoint)
    with ExitStack() as files:
        try:
            context.load_cert_chain(
                memory_file(files, "certificate", endpoint.client_certificate),
                memory_file(files, "key", endpoint.private_key),
                password="",  # else OpenSSL asks at a terminal
            )
        except (ssl.SSLError, OSError):
            raise AuthFailed(_("The client certificate or its key is missing or damaged; enter both again.")) from None
    return context


def _trust(context: ssl.SSLContext, endpoint: Endpoint) -> None:
    """The CA's certificates, or the very one a person accepted: then names count for nothing."""
    if endpoint.ca_certificate:
        trusted: str | bytes = endpoint.ca_certificate
    elif endpoint.host_key:
        trusted = _pinned(endpoint.host_key)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it need not be its own issuer
    else:
        raise AuthFailed(_("The host's certificate was not accepted yet; test the source and accept it."))
    try:
        context.load_verify_locations(cadata=trusted)
    except (ssl.SSLError, ValueError):
        raise Rejected(_("The stored CA certificate is damaged; enter it again.")) from None


def _pinned(host_key: str) -> bytes:
    kind, _space, data = host_key.partition(" ")
    try:
        if kind == KIND:
            return base64.b64decode(data, validate=True)
    except ValueError:
        pass
    raise Rejected(_("The accepted certificate is not one; accept it again."))


@contextmanager
def _socket(endpoint: Endpoint) -> Iterator[socket.socket]:
    """Closed after an error."""
    host = checked_address(endpoint.address).strip("[]")
    port = checked_port(endpoint.port, TLS_PORT)
    plain = reach(host, port, HANDSHAKE_LIMIT_S)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        yield plain
    except BaseException:
        plain.close()
        raise


@contextmanager
def _explained(endpoint: Endpoint) -> Iterator[None]:
    """What went wrong in a handshake, in our words."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise _distrust(endpoint, error) from None
    except (ssl.SSLError, OSError) as error:
        raise _broken(error) from None


def _distrust(endpoint: Endpoint, error: ssl.SSLCertVerificationError) -> DriverError:
    if error.verify_code == _EXPIRED:
        return AuthFailed(_("The host's certificate has expired; give the host a new one."))
    if error.verify_code == _NOT_YET_VALID:
        return AuthFailed(_("The host's certificate is not valid yet; check the clocks of both machines."))
    if error.verify_code in (_OTHER_HOST, _OTHER_IP):
        return AuthFailed(
            _("The host's certificate is not for %(name)s; use a name or an address that stands in it."),
            name=name_of(endpoint),
        )
    if not endpoint.ca_certificate:
        return _changed(endpoint)
    return AuthFailed(_("The CA you gave did not sign the host's certificate; find out who did before you trust it."))


def _changed(endpoint: Endpoint) -> HostKeyChanged:
    """With both fingerprints, as far as the host shows the new one once more."""
    accepted = fact_of(_pinned(endpoint.host_key)).fingerprint
    try:
        presented = probe_certificate(endpoint).fingerprint
    except DriverError:
        presented = "?"
    return HostKeyChanged(
        _(
            "The host's certificate is %(presented)s now, not the accepted %(accepted)s. Find out why; then test the "
            "source and accept the new one."
        ),
        presented=presented,
        accepted=accepted,
    )


def _broken(error: OSError) -> DriverError:
    if isinstance(error, TimeoutError):
        return Unreachable(_("The host accepts connections by TLS, but does not go on; restart its libvirtd."))
    if "ALERT" in str(getattr(error, "reason", "")):
        return _refused()
    return Unreachable(_("This port does not speak TLS as libvirt does; check the port, and listen_tls on the host."))


def _refused() -> AuthFailed:
    return AuthFailed(
        _(
            "The host refused the client certificate; its CA must have signed it, and tls_allowed_dn_list on the host, "
            "where it is set, must name it."
        )
    )


def _presented(secure: ssl.SSLSocket) -> HostKeyFact:
    certificate = secure.getpeercert(binary_form=True)
    if not certificate:
        raise Rejected(_("The host presents no certificate."))
    return fact_of(certificate)


def _require_accepted(endpoint: Endpoint, presented: HostKeyFact) -> None:
    """Another one that the accepted one signed is not the accepted one."""
    if not endpoint.ca_certificate and presented.key != endpoint.host_key:
        raise _changed(endpoint)


def _require_welcome(secure: ssl.SSLSocket) -> None:
    try:
        answer = secure.recv(1)
    except TimeoutError:
        raise
    except OSError:  # an alert, or the connection reset: both are how it refuses
        answer = b""
    if answer != WELCOME:
        raise _refused()
