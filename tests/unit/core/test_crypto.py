"""Credentials at rest."""

import pytest
from cryptography.fernet import Fernet

from core.crypto import UnreadableSecret, decrypt, encrypt


def test_round_trip_and_never_twice_the_same():
    first, second = encrypt("geheim"), encrypt("geheim")
    assert first != second
    assert "geheim" not in first
    assert decrypt(first) == decrypt(second) == "geheim"


def test_nothing_stays_nothing():
    assert encrypt("") == ""
    assert decrypt("") == ""


def test_after_a_new_key_old_secrets_are_still_read(settings):
    old = encrypt("geheim")
    settings.CREDENTIAL_KEYS = (Fernet.generate_key().decode(), *settings.CREDENTIAL_KEYS)
    assert decrypt(old) == "geheim"
    new = encrypt("neu")
    settings.CREDENTIAL_KEYS = settings.CREDENTIAL_KEYS[:1]
    assert decrypt(new) == "neu"


@pytest.mark.parametrize("token", ["rubbish", "gAAAAA", "\0", "é"])
def test_rubbish_and_foreign_keys_are_one_error(token):
    with pytest.raises(UnreadableSecret) as error:
        decrypt(token)
    assert token not in str(error.value)


def test_a_changed_secret_is_noticed():
    token = encrypt("geheim")
    changed = token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:]
    with pytest.raises(UnreadableSecret):
        decrypt(changed)
