"""A new key for stored credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditRow
from config import data
from core.crypto import UnreadableSecret, decrypt, encrypt
from hosts.models import SECRETS, Source
from tests.factories import make_source

pytestmark = pytest.mark.django_db


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> data.Instance:
    monkeypatch.setenv("GUESTHOUSE_DATA", str(tmp_path / "var"))
    made = data.load_or_create(tmp_path / "var")
    settings.CREDENTIAL_KEYS = list(made.fernet_keys)
    return made


def test_every_credential_is_read_with_the_new_key_and_no_longer_with_the_old(
    instance: data.Instance, settings: Any
) -> None:
    stored = {name: encrypt(name) for name in SECRETS}
    make_source("rack-1", **{**stored, "password_encrypted": encrypt("geheim")})
    make_source("rack-2")
    before = Source.objects.get(name="rack-1").password_encrypted
    call_command("rotate_keys")
    after = data.load(instance.data_dir)
    assert after is not None
    assert len(after.fernet_keys) == 1
    assert not set(after.fernet_keys) & set(instance.fernet_keys)
    assert (after.secret_key, after.instance_id) == (instance.secret_key, instance.instance_id)
    assert after.file.stat().st_mode & 0o777 == 0o600
    settings.CREDENTIAL_KEYS = list(after.fernet_keys)
    source = Source.objects.get(name="rack-1")
    assert decrypt(source.password_encrypted) == "geheim"
    assert all(decrypt(getattr(source, name)) == name for name in SECRETS if name != "password_encrypted")
    with pytest.raises(UnreadableSecret):
        decrypt(before)
    assert AuditRow.objects.get().detail == {"number": 1}


def test_a_running_console_keeps_its_keys(instance: data.Instance) -> None:
    with data.lock(instance.data_dir), pytest.raises(CommandError, match="already runs"):
        call_command("rotate_keys")
    assert data.load(instance.data_dir) == instance


def test_an_unreadable_credential_changes_none(instance: data.Instance) -> None:
    make_source("rack-1", password_encrypted=encrypt("geheim"))
    make_source("rack-2", password_encrypted="rubbish")
    before = list(Source.objects.order_by("name").values_list("password_encrypted", flat=True))
    with pytest.raises(CommandError, match="a key that is not here"):
        call_command("rotate_keys")
    assert list(Source.objects.order_by("name").values_list("password_encrypted", flat=True)) == before
    kept = data.load(instance.data_dir)
    assert kept is not None
    assert set(instance.fernet_keys) <= set(kept.fernet_keys), "what is stored can still be read"
