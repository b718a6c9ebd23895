"""How a source is signed in to: checked, then encrypted. Nothing here is ever shown again."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from core.crypto import encrypt
from core.errors import Invalid
from drivers.types import Transport
from hosts import validation
from hosts.certificates import checked_sheet
from hosts.models import SECRETS, Connection

FIELDS = ["username", *SECRETS, "certificates"]
"""What `set_credentials` may change of a connection; it may also forget the host key."""


def fields_after(source: Connection, accepted: str) -> list[str]:
    """What to save then. A host key only when it was forgotten: a person may have accepted another one meanwhile."""
    return [*FIELDS, "host_key"] if accepted and not source.host_key else FIELDS


@dataclass(frozen=True, slots=True)
class SignIn:
    """As it was typed. By ssh a user with a password or a private key; by tls a certificate and its key."""

    username: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    ca_certificate: str = field(default="", repr=False)
    client_certificate: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)

    @property
    def for_ssh(self) -> bool:
        return bool(self.username or self.password or self.private_key)

    @property
    def for_tls(self) -> bool:
        return bool(self.ca_certificate.strip() or self.client_certificate.strip() or self.client_key.strip())


def set_credentials(source: Connection, sign_in: SignIn) -> list[str]:
    """Give a connection another sign-in; encrypts before any transaction opens. Returns what changed, for the log.

    Of password and key one is kept: the one given last. Certificates change as a whole, which may make
    the accepted one forgotten: `forget_accepted`.

    Raises: Invalid.
    """
    if source.transport != Transport.TLS and sign_in.for_tls:
        raise Invalid(_("Only tls has certificates; leave them empty."), field="client_certificate")
    if source.transport == Transport.TLS:
        return _set_certificates(source, sign_in)
    return _set_user(source, sign_in)


def forget_accepted(source: Connection, *, had_ca: bool) -> None:
    """A certificate accepted while a CA speaks for the host, or spoke: a person accepts anew once none does."""
    if had_ca or source.ca_certificate_encrypted:
        source.host_key = ""


def _set_user(source: Connection, sign_in: SignIn) -> list[str]:
    source.username = validation.checked_username(sign_in.username)
    password = validation.checked_password(sign_in.password)
    private_key = validation.checked_private_key(sign_in.private_key)
    if source.transport == Transport.SSH and not source.username:
        raise Invalid(_("Enter the user to sign in as."), field="username")
    if password and private_key:
        raise Invalid(_("Give a password or a private key, not both."), field="password")
    if source.transport != Transport.SSH and sign_in.for_ssh:
        raise Invalid(_("Only ssh signs in; leave user, password and key empty."), field="username")
    if password or private_key:
        source.password_encrypted = encrypt(password)
        source.private_key_encrypted = encrypt(private_key)
    return [name for name, given in (("password", password), ("private key", private_key)) if given]


def _set_certificates(source: Connection, sign_in: SignIn) -> list[str]:
    if sign_in.for_ssh:
        raise Invalid(
            _("Over tls the certificate is the sign-in; leave user, password and private key empty."), field="username"
        )
    if not sign_in.client_certificate.strip():
        raise Invalid(_("Enter the client certificate."), field="client_certificate")
    if not sign_in.client_key.strip():
        raise Invalid(_("Enter the key of the client certificate."), field="client_key")
    key = validation.checked_pem_key(sign_in.client_key)
    sheet = checked_sheet(sign_in.ca_certificate, sign_in.client_certificate, key)
    had_ca = bool(source.ca_certificate_encrypted)
    source.private_key_encrypted = encrypt(key)
    source.client_certificate_encrypted = encrypt(sheet.client_certificate)
    source.ca_certificate_encrypted = encrypt(sheet.ca_certificate)
    forget_accepted(source, had_ca=had_ca)
    presented = {name: told for name, told in source.certificates.items() if name == "server"}
    source.certificates = {**sheet.described, **presented}
    of_ca = "CA" if sheet.ca_certificate else "CA removed" if had_ca else ""
    return ["client certificate", *([of_ca] if of_ca else [])]
