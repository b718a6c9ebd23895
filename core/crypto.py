"""Credentials at rest."""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class UnreadableSecret(Exception):
    """A stored secret was encrypted with a key this installation does not have."""


def _box() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.CREDENTIAL_KEYS])


def encrypt(text: str) -> str:
    """Encrypt with the newest key; an empty text stays empty."""
    return _box().encrypt(text.encode()).decode() if text else ""


def encrypt_anew(token: str) -> str:
    """The same secret, encrypted with the newest key.

    Raises: UnreadableSecret.
    """
    return encrypt(decrypt(token))


def decrypt(token: str) -> str:
    """Decrypt with any key we have.

    Raises: UnreadableSecret.
    """
    if not token:
        return ""
    try:
        return _box().decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecret from error
