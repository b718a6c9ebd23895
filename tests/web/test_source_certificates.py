"""Sources by TLS on the pages and in the API: certificates are checked at once, and never come back."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from access.models import User
from access.roles import Role
from audit.models import AuditRow
from core.crypto import decrypt, encrypt
from drivers.errors import AuthFailed
from drivers.tls import _trust
from hosts.certificates import describe, presented_key
from hosts.models import Source, SourceDraft
from hosts.services import update_credentials
from hosts.validation import fingerprint
from operations.models import Job, JobState
from tests.certificates import CLIENT, Made, make
from tests.factories import make_source, make_user

pytestmark = pytest.mark.django_db

CA = make("house CA", ca=True)
OURS = make("console", CA, usage=(CLIENT,))
HOST = make("kvm-9")
PLACE = {"name": "rack-9", "hypervisor": "qemu", "transport": "tls", "address": "kvm-9.example.org"}
SHEET = {"client_certificate": OURS.pem, "client_key": OURS.key, "ca_certificate": CA.pem}
SECRET_PARTS = [one.splitlines()[1] for one in (OURS.pem, OURS.key, CA.pem)]


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(make_user(Role.ADMIN))
    return client


def end_test(**progress: Any) -> None:
    Job.objects.filter(kind="source_test").update(
        state=JobState.SUCCEEDED, message="Done.", progress={"ready": False, "steps": [], **progress}
    )


def test_from_form_to_source_with_a_ca(boss):
    page = boss.post(reverse("source_add"), {**PLACE, **SHEET})
    assert page.status_code == 302, page.content
    end_test(ready=True)
    boss.post(reverse("source_draft_add", args=[SourceDraft.objects.get().pk]))
    endpoint = Source.objects.get().endpoint()
    assert (endpoint.client_certificate, endpoint.private_key, endpoint.ca_certificate) == (OURS.pem, OURS.key, CA.pem)
    assert endpoint.server_name == "kvm-9.example.org"


def test_files_in_place_of_text(boss):
    files = {f"{name}_file": SimpleUploadedFile("x.pem", text.encode()) for name, text in SHEET.items()}
    assert boss.post(reverse("source_add"), {**PLACE, **files}).status_code == 302
    assert decrypt(SourceDraft.objects.get().client_certificate_encrypted) == OURS.pem


def test_without_a_ca_a_person_accepts_the_certificate(boss):
    boss.post(reverse("source_add"), {**PLACE, **SHEET, "ca_certificate": ""})
    draft, key = SourceDraft.objects.get(), presented_key(HOST.pem)
    shown = {
        "key": key,
        "fingerprint": fingerprint(key),
        "accepted_fingerprint": "",
        "certificate": describe(HOST.certificate),
    }
    end_test(steps=[], host_key=shown)
    asked = boss.get(reverse("source_draft", args=[draft.pk])).content.decode()
    assert fingerprint(key) in asked
    assert "CN=kvm-9" in asked
    boss.post(reverse("source_draft_accept_key", args=[draft.pk]), {"fingerprint": "AA:BB"})
    assert not SourceDraft.objects.get().host_key
    boss.post(reverse("source_draft_accept_key", args=[draft.pk]), {"fingerprint": fingerprint(key)})
    assert SourceDraft.objects.get().host_key == key
    assert AuditRow.objects.filter(action="source.certificate_accepted").exists()


def test_what_was_entered_is_never_shown_again(boss):
    pages = [boss.post(reverse("source_add"), {**PLACE, **SHEET, "address": "127.0.0.1"})]
    boss.post(reverse("source_add"), {**PLACE, **SHEET})
    pages.append(boss.get(reverse("source_draft", args=[SourceDraft.objects.get().pk])))
    end_test(ready=True)
    boss.post(reverse("source_draft_add", args=[SourceDraft.objects.get().pk]))
    source = Source.objects.get()
    pages += [boss.get(reverse(name, args=[source.pk])) for name in ("source_page", "source_credentials")]
    pages += [boss.get(reverse(name)) for name in ("source_list", "audit_list", "task_list", "api:sources")]
    for part in (*SECRET_PARTS, source.client_certificate_encrypted, source.ca_certificate_encrypted):
        assert not any(part.encode() in page.content for page in pages)
        assert part not in str(list(AuditRow.objects.values())) + str(list(Job.objects.values()))
    assert "BEGIN" not in repr(source.endpoint())[:60]


OTHER = make("other", make("other CA", ca=True))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"client_certificate": ""}, "client_certificate"),
        ({"client_key": ""}, "client_key"),
        ({"client_certificate": "<script>alert(1)</script>"}, "client_certificate"),
        ({"client_certificate": "A" * 70_000}, "client_certificate"),
        ({"client_certificate": OURS.key}, "client_certificate"),
        ({"client_key": CA.key}, "client_key"),
        ({"client_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}, "client_key"),
        ({"ca_certificate": HOST.pem}, "ca_certificate"),
        ({"client_certificate": OTHER.pem, "client_key": OTHER.key}, "ca_certificate"),
        ({"hypervisor": "qemu+ext:///system?command=/x"}, "hypervisor"),
    ],
)
def test_a_mistake_is_told_at_its_field(boss, values, field):
    answer = boss.post(reverse("source_add"), {**PLACE, **SHEET, **values})
    assert answer.status_code == 400
    assert f'id="e-{field}"' in answer.content.decode()
    assert b"<script>alert" not in answer.content
    assert not SourceDraft.objects.exists()
    assert not any(part.encode() in answer.content for part in SECRET_PARTS)


def test_fields_of_another_transport_count_for_nothing(boss):
    """They are hidden; a browser sends them all the same."""
    by_ssh = {**PLACE, **SHEET, "transport": "ssh", "username": "root", "password": "x"}
    assert boss.post(reverse("source_add"), by_ssh).status_code == 302
    assert SourceDraft.objects.get().client_certificate_encrypted == ""


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_others_may_not(role):
    client = Client()
    client.force_login(make_user(role))
    assert client.post(reverse("source_add"), {**PLACE, **SHEET}).status_code == 403
    assert not SourceDraft.objects.exists()


def tls_source(made: Made = OURS, **values: Any) -> Source:
    told = {"client": describe(made.certificate), "ca": [describe(CA.certificate)]}
    return make_source("rack-1", transport="tls", address="kvm-1", certificates=told, **values)


def test_new_certificates_take_the_place_of_the_old_ones(boss):
    source, new = tls_source(), make("console", CA, usage=(CLIENT,))
    url = reverse("source_credentials", args=[source.pk])
    assert boss.post(url, {}).status_code == 400
    assert boss.post(url, {"client_certificate": new.pem, "client_key": new.key}).status_code == 302
    source.refresh_from_db()
    assert decrypt(source.client_certificate_encrypted) == new.pem
    assert decrypt(source.ca_certificate_encrypted) == ""  # from now on a person accepts the host's own
    row = AuditRow.objects.get(action="source.credentials_changed")
    assert row.detail["changed"] == ["client certificate"]


def test_the_page_tells_the_certificates_and_when_they_end(boss):
    source = tls_source(make("console", CA, usage=(CLIENT,), days=9.5))
    source.certificates = {**source.certificates, "server": describe(HOST.certificate)}
    source.save()
    page = boss.get(reverse("source_page", args=[source.pk])).content.decode()
    for name in ("CN=console", "CN=house CA", "CN=kvm-9"):
        assert name in page
    assert "in 9 days; replace it before" in page
    told = json.loads(boss.get(reverse("api:sources-detail", args=[source.pk])).content)
    assert told["hypervisor"] == "qemu"
    assert told["certificates"]["server"]["subject"] == "CN=kvm-9"
    assert datetime.fromisoformat(told["certificates"]["client"]["not_after"]) > datetime.now(UTC)
    assert len(told["warnings"]) == 1


def test_an_import_by_api(boss):
    body = {"sources": [{"address": "10.0.0.8"}, {"address": "10.0.0.9", "hypervisor": "lxc"}], "transport": "tls"}
    answer = boss.post(reverse("api:source-import"), json.dumps({**body, **SHEET}), content_type="application/json")
    assert answer.status_code == 202, answer.content
    assert [one["hypervisor"] for one in answer.json()["sources"]] == ["qemu", "lxc"]
    assert not any(part in answer.content.decode() for part in SECRET_PARTS)
    assert {draft.endpoint().private_key for draft in SourceDraft.objects.all()} == {OURS.key}


def test_rotation_by_api(boss):
    source = tls_source()
    body = json.dumps({"sources": [str(source.pk)], **SHEET})
    answer = boss.post(reverse("api:source-credentials"), body, content_type="application/json")
    assert answer.status_code == 202, answer.content
    (draft,) = SourceDraft.objects.all()
    assert (draft.source_id, decrypt(draft.ca_certificate_encrypted)) == (source.pk, CA.pem)
    both = json.dumps({"sources": [str(source.pk)], "password": "x", **SHEET})
    assert boss.post(reverse("api:source-credentials"), both, content_type="application/json").status_code == 400


PIN = presented_key(HOST.pem)
NO_CA = {"client_certificate": OURS.pem, "client_key": OURS.key}


@pytest.mark.parametrize("older", ["pinned before", "never pinned"])
def test_after_the_ca_is_removed_a_person_accepts_the_certificate_anew(boss, older):
    """What was accepted before the CA spoke for the host counts for nothing: it may be years old, or stolen."""
    source = tls_source(host_key=PIN if older == "pinned before" else "", ca_certificate_encrypted=encrypt(CA.pem))
    url = reverse("source_credentials", args=[source.pk])
    assert boss.post(url, NO_CA).status_code == 302
    source.refresh_from_db()
    assert (source.host_key, source.endpoint().host_key, source.endpoint().ca_certificate) == ("", "", "")
    assert AuditRow.objects.get(action="source.credentials_changed").detail["changed"][-1] == "CA removed"
    with pytest.raises(AuthFailed, match="not accepted yet"):
        _trust(ssl.create_default_context(), source.endpoint())
    shown = {"key": PIN, "fingerprint": fingerprint(PIN), "accepted_fingerprint": "", "certificate": {}}
    boss.post(reverse("source_test", args=[source.pk]))
    end_test(host_key=shown)
    boss.post(reverse("source_accept_key", args=[source.pk]), {"fingerprint": fingerprint(PIN)})
    source.refresh_from_db()
    assert source.host_key == PIN


def test_a_ca_takes_the_place_of_an_accepted_certificate_for_good(boss):
    source = tls_source(host_key=PIN)
    url = reverse("source_credentials", args=[source.pk])
    for sheet in (SHEET, NO_CA):
        assert boss.post(url, sheet).status_code == 302
        source.refresh_from_db()
        assert source.host_key == ""


def test_an_accepted_certificate_stays_while_there_is_no_ca(boss):
    source = tls_source(host_key=PIN)
    assert boss.post(reverse("source_credentials", args=[source.pk]), NO_CA).status_code == 302
    source.refresh_from_db()
    assert source.host_key == PIN


def test_new_credentials_keep_what_somebody_accepts_meanwhile(boss):
    """They never write a host key, they only forget one."""
    source, newer = tls_source(host_key=PIN), presented_key(make("kvm-9").pem)
    stale = Source.objects.get()
    Source.objects.update(host_key=newer)
    update_credentials(source=stale, by=User.objects.get(), **NO_CA)
    source.refresh_from_db()
    assert source.host_key == newer
