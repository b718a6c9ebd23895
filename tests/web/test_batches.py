"""Importing sources and replacing credentials on the pages; secrets never come back."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from access.roles import Role
from audit.models import AuditRow
from console import choosing
from core.crypto import decrypt
from hosts.models import Outcome, SourceBatch, SourceDraft
from hosts.validation import fingerprint
from operations.models import Job, JobState
from tests.factories import make_source, make_user

pytestmark = pytest.mark.django_db

SECRET = "hunter2-hunter2"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
FORM = {"transport": "ssh", "username": "root", "password": SECRET, "datacenter": "Berlin"}


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(make_user(Role.ADMIN))
    return client


def imported(boss: Client, **values: Any) -> SourceBatch:
    answer: Any = boss.post(reverse("source_import"), {**FORM, **values})
    batch = SourceBatch.objects.get()
    assert answer.url == reverse("source_batch_page", args=[batch.pk]), answer.content
    return batch


def shown(boss: Client, batch: SourceBatch) -> str:
    answer = boss.get(reverse("source_batch_page", args=[batch.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def act(boss: Client, batch: SourceBatch, name: str, **data: Any) -> list[str]:
    answer = boss.post(reverse(f"source_batch_{name}", args=[batch.pk]), data)
    assert answer.status_code == 302
    return [str(one) for one in get_messages(answer.wsgi_request)]


@pytest.mark.parametrize(
    "values",
    [
        {"range": "10.0.0.1-10.0.0.2"},
        {"lines": "10.0.0.1\n10.0.0.2"},
        {"file": SimpleUploadedFile("rack.csv", b"name;address\na;10.0.0.1\nb;10.0.0.2\n")},
    ],
    ids=["range", "lines", "file"],
)
def test_three_ways_to_name_them(boss: Client, values: Any) -> None:
    batch = imported(boss, **values)
    assert sorted(batch.drafts.values_list("address", flat=True)) == ["10.0.0.1", "10.0.0.2"]
    assert not Job.objects.exists(), "nothing is connected to before somebody says so"
    assert "Test 2 sources" in shown(boss, batch)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "one of them"),
        ({"range": "10.0.0.1", "lines": "10.0.0.2"}, "one of them"),
        ({"range": "10.0.0.0/8"}, "at most 1024 addresses"),
        ({"lines": "address,shoe\nx,42"}, "no column"),
        ({"file": SimpleUploadedFile("x.xlsx", b"PK\x03\x04\xff")}, "save it as CSV"),
        ({"range": "10.0.0.1", "port": "99999"}, "from 1 to 65535"),
        ({"range": "10.0.0.1", "transport": "unix"}, "Choose ssh, tls or tcp"),
        ({"range": "10.0.0.1", "private_key": "PRIVATE-PART", "password": ""}, "not a private key"),
    ],
)
def test_a_mistake_is_told_and_no_secret_comes_back(boss: Client, values: Any, sentence: str) -> None:
    answer = boss.post(reverse("source_import"), {**FORM, **values})
    body = answer.content.decode()
    assert answer.status_code == 400
    assert sentence in body
    assert SECRET not in body
    assert "PRIVATE-PART" not in body
    assert not SourceBatch.objects.exists()


def test_what_cannot_be_taken_is_shown_with_its_line_and_a_sentence(boss: Client) -> None:
    make_source("there", transport="ssh", address="10.0.0.1")
    batch = imported(boss, lines="kvm-01,10.0.0.1\n<b>x</b>,127.0.0.1\nkvm-03,10.0.0.3")
    page = shown(boss, batch)
    assert "already read by the source there" in page
    assert "This address is not allowed" in page
    assert "<b>x</b>" not in page
    assert "Test 1 source<" in page


def test_from_test_to_keys_to_adding(boss: Client) -> None:
    batch = imported(boss, range="10.0.0.1-10.0.0.2")
    act(boss, batch, "test")
    assert Job.objects.get().kind == "source_batch"
    assert "already has an open task" in act(boss, batch, "test")[-1]
    Job.objects.update(state=JobState.SUCCEEDED)
    batch.drafts.update(outcome=Outcome.KEY, presented={"key": KEY, "fingerprint": fingerprint(KEY)})
    page = shown(boss, batch)
    assert page.count(fingerprint(KEY)) == 4  # shown, and said by the box

    first = batch.drafts.order_by("position")[0]
    wrong = act(boss, batch, "keys", key=[f"{first.pk} SHA256:another", "x", "\0 "])
    assert "not the host keys" in wrong[-1]
    assert "Tick the host keys" in act(boss, batch, "keys")[-1]
    act(boss, batch, "keys", key=[f"{first.pk} {fingerprint(KEY)}"])
    first.refresh_from_db()
    assert (first.host_key, first.outcome) == (KEY, Outcome.NEW)
    assert "Accept those ticked" not in shown(boss, batch), "not while a task is at it"

    Job.objects.update(state=JobState.SUCCEEDED)
    batch.drafts.update(outcome=Outcome.READY)
    assert "Add 2 sources" in shown(boss, batch)
    act(boss, batch, "add")
    assert Job.objects.filter(parameters__action="add").exists()
    act(boss, batch, "discard")
    assert not SourceDraft.objects.exists()


def test_nothing_to_do_is_said(boss: Client) -> None:
    batch = imported(boss, range="10.0.0.1")
    assert "No source is ready" in act(boss, batch, "add")[-1]


def test_no_page_or_answer_has_the_secret(boss: Client) -> None:
    batch = imported(boss, range="10.0.0.1")
    act(boss, batch, "test")
    stored = batch.drafts.get().password_encrypted
    pages_of = [reverse(name) for name in ("task_list", "audit_list", "source_list", "source_import", "api:tasks")]
    for path in [*pages_of, reverse("source_batch_page", args=[batch.pk])]:
        content = boss.get(path).content.decode()
        assert SECRET not in content
        assert stored not in content
    assert SECRET not in str([*AuditRow.objects.values(), *Job.objects.values()])


class TestCredentials:
    @pytest.fixture
    def sources(self) -> list[Any]:
        return [
            make_source(f"s{n}", transport="ssh", username=user, address=f"10.0.0.{n}")
            for n, user in enumerate(["root", "root", "op"], 1)
        ]

    def names(self) -> list[str]:
        return sorted(SourceDraft.objects.values_list("name", flat=True))

    def test_of_those_that_are_ticked(self, boss, sources):
        form = {"who": "ticked", "sources": [str(sources[0].pk), str(sources[2].pk)], "password": SECRET}
        answer = boss.post(reverse("source_rotate"), form)
        batch = SourceBatch.objects.get()
        assert answer.url == reverse("source_batch_page", args=[batch.pk])
        assert self.names() == ["s1", "s3"]
        assert {decrypt(draft.password_encrypted) for draft in SourceDraft.objects.all()} == {SECRET}
        assert "New credentials" in shown(boss, batch)

    def test_of_all_of_one_user(self, boss, sources):
        page = boss.get(reverse("source_rotate")).content.decode()
        assert "All 2 sources signed in to as root" in page
        boss.post(reverse("source_rotate"), {"who": "user:root", "username": "admin", "password": SECRET})
        assert self.names() == ["s1", "s2"]
        assert set(SourceDraft.objects.values_list("username", flat=True)) == {"admin"}

    @pytest.mark.parametrize("who", ["", "ticked", "user:", "user:nobody", "user:\0"])
    def test_of_none_is_refused_and_the_secret_does_not_come_back(self, boss, sources, who):
        answer = boss.post(reverse("source_rotate"), {"who": who, "password": SECRET})
        assert answer.status_code == 400
        assert "Choose at least one source." in answer.content.decode()
        assert SECRET not in answer.content.decode()

    def test_what_was_ticked_stays_while_one_types(self, boss, sources, monkeypatch):
        page = boss.get(reverse("source_rotate"), {"q": "op", "sources": str(sources[0].pk)}).content.decode()
        assert f'value="{sources[0].pk}" checked' in page
        assert str(sources[2].pk) in page
        assert str(sources[1].pk) not in page
        monkeypatch.setattr(choosing, "OFFERED", 1)
        assert "2 more" in boss.get(reverse("source_rotate")).content.decode()
