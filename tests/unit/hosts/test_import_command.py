"""`manage import_sources`: many sources from the server's own command line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditRow
from core.crypto import decrypt
from hosts.importing import read_known_hosts
from hosts.models import Source

pytestmark = pytest.mark.django_db

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


def called(*args: str, **options: Any) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("import_sources", *args, stdout=out, stderr=err, **options)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_a_file_is_added_with_its_host_keys_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    for name, text in (
        ("list.csv", "name,address\nkvm-01,10.0.0.1\nkvm-02,10.0.0.2\n"),
        ("password", "hunter2\nrest"),
        ("known_hosts", f"10.0.0.1 {KEY} comment\n"),
    ):
        (tmp_path / name).write_text(text)
    args = [str(tmp_path / "list.csv"), "--user=root", "--datacenter=Berlin"]
    options = [f"--password-file={tmp_path / 'password'}", f"--known-hosts={tmp_path / 'known_hosts'}"]
    code, out, _err = called(*args, *options)
    first, second = Source.objects.order_by("name")
    assert code == 0
    assert out == f"{first.pk} kvm-01\n{second.pk} kvm-02\n"
    assert (first.host_key, second.host_key) == (KEY, "")
    assert {decrypt(source.password_encrypted) for source in (first, second)} == {"hunter2"}
    assert AuditRow.objects.filter(action="source.added", actor_name="command line").count() == 2
    code, out, err = called(*args)
    assert (code, out) == (0, "")
    assert "already read by the source kvm-01" in err
    assert Source.objects.count() == 2


def test_a_line_that_cannot_be_taken_is_told_and_the_others_are_added() -> None:
    code, out, err = called("127.0.0.0-127.0.0.1", "--range", "--transport=tcp")
    assert (code, out) == (1, "")
    assert "Line 1, 127.0.0.0: This address is not allowed" in err
    assert called("10.0.0.0/30", "--range", "--transport=tcp")[0] == 0
    assert Source.objects.count() == 2


@pytest.mark.parametrize("args", [["/nowhere"], ["10.0.0.0/8", "--range"], ["10.0.0.1", "--range", "--transport=unix"]])
def test_what_holds_for_all_ends_it(args: list[str]) -> None:
    with pytest.raises(CommandError):
        called(*args)


def test_known_hosts_as_openssh_writes_them() -> None:
    text = f"""# comment
|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM= {KEY}
@revoked 10.0.0.1 {KEY}
10.0.0.2,kvm-02.example.net ssh-rsa AAAA
10.0.0.2 {KEY}
[10.0.0.3]:2222 {KEY}
10.0.0.4 unknown-kind AAAA
"""
    found = read_known_hosts(text)
    assert found == {"10.0.0.2": KEY, "kvm-02.example.net": "ssh-rsa AAAA", "10.0.0.3": KEY}
