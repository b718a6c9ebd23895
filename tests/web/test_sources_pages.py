"""Sources: adding, testing, pausing, removing on the pages; secrets never come back."""

from __future__ import annotations

import re

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from access.roles import Role
from audit.models import AuditRow
from core.crypto import decrypt
from hosts.models import Source, SourceDraft, SourceState
from hosts.validation import fingerprint
from operations.models import Job, JobState
from tests.factories import make_guest, make_host, make_source, make_user

pytestmark = pytest.mark.django_db

SECRET = "hunter2-hunter2"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
FORM = {"name": "rack-9", "transport": "ssh", "address": "10.0.0.9", "username": "root", "password": SECRET}


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(make_user(Role.ADMIN))
    return client


def end_test(**progress) -> None:
    """What a worker writes."""
    Job.objects.filter(kind="source_test").update(
        state=JobState.SUCCEEDED, message="Done.", progress={"ready": False, "steps": [], **progress}
    )


def step(name: str, state: str, message: str = "") -> dict[str, str]:
    return {"name": name, "label": name, "state": state, "message": message}


def test_from_form_to_source(boss):
    page = boss.post(reverse("source_add"), FORM)
    draft = SourceDraft.objects.get()
    assert page.url == reverse("source_draft", args=[draft.pk])
    assert Job.objects.get().kind == "source_test"
    assert b"Being tested" in boss.get(page.url).content

    key = {"key": KEY, "fingerprint": fingerprint(KEY), "accepted_fingerprint": ""}
    end_test(steps=[step("host_key", "question")], host_key=key)
    asked = boss.get(page.url).content.decode()
    assert fingerprint(KEY) in asked
    assert "Add this source" not in asked

    boss.post(reverse("source_draft_accept_key", args=[draft.pk]), {"fingerprint": fingerprint(KEY)})
    draft.refresh_from_db()
    assert draft.host_key == KEY
    assert Job.objects.count() == 2
    end_test(ready=True)
    assert b"Add this source" in boss.get(page.url).content

    done = boss.post(reverse("source_draft_add", args=[draft.pk]))
    source = Source.objects.get()
    assert done.url == reverse("source_page", args=[source.pk])
    assert decrypt(source.password_encrypted) == SECRET
    assert source.host_key == KEY
    assert boss.get(done.url).status_code == 200


def test_not_added_without_a_test_that_succeeded(boss):
    boss.post(reverse("source_add"), FORM)
    draft = SourceDraft.objects.get()
    answer = boss.post(reverse("source_draft_add", args=[draft.pk]))
    assert answer.url == reverse("source_draft", args=[draft.pk])
    assert not Source.objects.exists()


def test_secrets_are_never_shown_again(boss):
    refused = boss.post(reverse("source_add"), {**FORM, "address": "127.0.0.1", "private_key": "PRIVATE-PART"})
    assert refused.status_code == 400
    boss.post(reverse("source_add"), FORM)
    pages = [refused, boss.get(reverse("source_draft", args=[SourceDraft.objects.get().pk]))]
    end_test(ready=True)
    boss.post(reverse("source_draft_add", args=[SourceDraft.objects.get().pk]))
    source = Source.objects.get()
    own = ("source_page", "source_credentials", "source_remove")
    pages += [boss.get(reverse(name, args=[source.pk])) for name in own]
    pages += [boss.get(reverse(name)) for name in ("source_list", "audit_list", "task_list")]
    pages += [boss.get(reverse(name)) for name in ("api:sources", "api:tasks")]
    exported = b"".join(boss.get(reverse("source_list"), {"export": "csv"}).streaming_content)
    for content in [page.content for page in pages] + [exported]:
        assert SECRET.encode() not in content
        assert b"PRIVATE-PART" not in content
        assert source.password_encrypted.encode() not in content
    assert SECRET not in str(list(AuditRow.objects.values())) + str(list(Job.objects.values()))


@pytest.mark.parametrize(
    "form",
    [
        {"transport": "unix", "address": "x"},
        {"transport": "tcp", "address": "qemu+ext:///system?command=/x", "username": "", "password": ""},
        {"address": "169.254.169.254"},
        {"address": "h/system?command=x"},
        {"port": "99999"},
        {"username": "-oProxyCommand=touch /tmp/x"},
    ],
)
def test_parts_are_checked(boss, form):
    assert boss.post(reverse("source_add"), {**FORM, **form}).status_code == 400
    assert not SourceDraft.objects.exists()
    assert not Job.objects.exists()


@pytest.mark.parametrize("field", ["name", "datacenter", "address", "port", "username"])
def test_a_mistake_is_told_at_its_field(boss, field):
    page = boss.post(reverse("source_add"), {**FORM, field: "\u202ewrong"}).content.decode()
    assert re.findall(r'id="e-(\w+)"', page) == [field]


@pytest.mark.parametrize("extra", ["uri", "kind", "host_key", "state", "lease_token", "created_by", "id"])
def test_nothing_else_of_a_form_counts(boss, extra):
    """Mass assignment: no URI, kind or host key comes in from a page."""
    boss.post(reverse("source_add"), {**FORM, extra: "test:///default"})
    draft = SourceDraft.objects.get()
    assert (draft.uri, draft.kind, draft.host_key, draft.created_by) == ("", "libvirt", "", "the-admin")


def test_a_changed_host_key_is_told_with_both_fingerprints_and_accepted_on_purpose(boss):
    source = make_source(transport="ssh", username="root", host_key="ssh-ed25519 " + "A" * 68, state="auth_failed")
    boss.post(reverse("source_test", args=[source.pk]))
    old = fingerprint(source.host_key)
    end_test(host_key={"key": KEY, "fingerprint": fingerprint(KEY), "accepted_fingerprint": old})
    page = boss.get(reverse("source_page", args=[source.pk])).content.decode()
    assert "The host key has changed." in page
    assert fingerprint(KEY) in page
    assert old in page
    boss.post(reverse("source_accept_key", args=[source.pk]), {"fingerprint": "SHA256:another"})
    source.refresh_from_db()
    assert source.host_key != KEY
    boss.post(reverse("source_accept_key", args=[source.pk]), {"fingerprint": fingerprint(KEY)})
    source.refresh_from_db()
    assert source.host_key == KEY


def test_accepting_without_any_test(boss):
    source = make_source(transport="ssh", username="root")
    answer = boss.post(reverse("source_accept_key", args=[source.pk]), {"fingerprint": ""})
    assert answer.status_code == 302
    source.refresh_from_db()
    assert source.host_key == ""


def test_pause_and_resume(boss):
    source = make_source()
    boss.post(reverse("source_pause", args=[source.pk]))
    source.refresh_from_db()
    assert source.state == SourceState.PAUSED
    assert b"Resume" in boss.get(reverse("source_page", args=[source.pk])).content
    answer = boss.post(reverse("source_read", args=[source.pk]))
    assert "resume it first" in str([str(one) for one in get_messages(answer.wsgi_request)])
    boss.post(reverse("source_resume", args=[source.pk]))
    source.refresh_from_db()
    assert source.state == SourceState.NEW


def test_remove_asks_for_the_name(boss):
    source = make_source("rack-1")
    make_guest("db-07", make_host("kvm-01", source))
    address = reverse("source_remove", args=[source.pk])
    assert boss.post(address, {"confirmation": "rack"}).status_code == 400
    assert boss.post(address, {"confirmation": "rack-1"}).url == reverse("source_list")
    assert not Source.objects.exists()


def test_new_credentials_are_tested(boss):
    source = make_source(transport="ssh", username="root")
    form = {"username": "op", "password": SECRET}
    boss.post(reverse("source_credentials", args=[source.pk]), form)
    source.refresh_from_db()
    assert decrypt(source.password_encrypted) == SECRET
    assert Job.objects.filter(kind="source_test", target_id=str(source.pk)).exists()


def test_who_only_sees_gets_no_buttons():
    source = make_source()
    client = Client()
    client.force_login(make_user(Role.OPERATOR))
    page = client.get(reverse("source_page", args=[source.pk])).content.decode()
    for act in ("source_pause", "source_remove", "source_test"):
        assert reverse(act, args=[source.pk]) not in page


def test_names_from_outside_stay_text(boss):
    source = make_source("<script>alert(1)</script>", state_message="<img src=x>", state="failing")
    make_host("<b>host</b>", source)
    for page in (reverse("source_list"), reverse("source_page", args=[source.pk])):
        content = boss.get(page).content
        assert b"<script>alert" not in content
        assert b"<img src=x>" not in content
        assert b"<b>host</b>" not in content


def test_the_list_asks_a_constant_number_of_queries(boss, django_assert_max_num_queries):
    for number in range(30):
        make_host(f"kvm-{number}", make_source(f"rack-{number}"))
    with django_assert_max_num_queries(8):
        boss.get(reverse("source_list"))


def test_maintenance_is_set_not_toggled(boss):
    host = make_host()
    for wanted in ("1", "1", "0", "0"):
        boss.post(reverse("host_maintenance", args=[host.pk]), {"on": wanted})
        host.refresh_from_db()
        assert host.maintenance is (wanted == "1")
