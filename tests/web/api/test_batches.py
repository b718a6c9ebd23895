"""Importing sources and replacing credentials with scripts. Who may: test_access_routes.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hosts.models import Outcome, SourceBatch, SourceDraft
from hosts.validation import fingerprint
from operations.models import Job, JobState
from tests.certificates import CLIENT, make
from tests.factories import make_source
from tests.web.api.conftest import Boss

pytestmark = pytest.mark.django_db

CA = make("house CA", ca=True)
OURS = make("console", CA, usage=(CLIENT,))
SHEET: dict[str, Any] = {"client_certificate": OURS.pem, "client_key": OURS.key, "ca_certificate": CA.pem}
SECRET = "hunter2-hunter2"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


class Importer(Boss):
    def post(self, path: str, status: int = 202, **body: Any) -> Any:
        """No answer has the password."""
        told = super().post(path, status, **body)
        assert SECRET not in json.dumps(told)
        return told


@pytest.fixture
def boss() -> Importer:
    return Importer()


def end_task(outcome: str) -> None:
    """What a worker leaves."""
    Job.objects.update(state=JobState.SUCCEEDED)
    SourceDraft.objects.update(outcome=outcome, presented={"key": KEY, "fingerprint": fingerprint(KEY)})


def test_from_a_range_to_adding(boss: Importer) -> None:
    told = boss.post("sources/import/", range="10.0.0.1-10.0.0.2", user="root", password=SECRET)
    assert [one["address"] for one in told["sources"]] == ["10.0.0.1", "10.0.0.2"]
    assert told["task"] == str(Job.objects.get().pk)
    path = f"sources/batches/{told['id']}/"
    assert boss.post(f"{path}test/", 409)["error"]["code"] == "already_open"
    end_task(Outcome.KEY)
    keys = [{"id": one["id"], "fingerprint": one["fingerprint"]} for one in boss.get(path)["sources"]]
    boss.post(f"{path}accept/", 409, keys=[{**keys[0], "fingerprint": "SHA256:other"}])
    assert boss.post(f"{path}accept/", keys=keys)["counts"]["new"] == 2
    end_task(Outcome.READY)
    boss.post(f"{path}add/")
    boss.post(f"{path}discard/", 204)
    assert not SourceBatch.objects.exists()


def test_lines_that_cannot_be_taken_are_told(boss: Importer) -> None:
    wrong = [{"address": "127.0.0.1", "name": "loop"}, {"address": "10.0.0.3", "port": 70000}]
    told = boss.post("sources/import/", transport="tcp", sources=[{"address": "10.0.0.1"}, *wrong])
    assert [one["line"] for one in told["refused"]] == [2, 3]
    nothing = boss.post("sources/import/", transport="tcp", sources=[{"address": "127.0.0.1"}])
    assert nothing["task"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"range": "10.0.0.1", "sources": [{"address": "10.0.0.2"}]},
        {"range": "10.0.0.0/8"},
        {"range": "10.0.0.1", "uri": "test:///default"},
        {"sources": [{"address": "10.0.0.1", "uri": "test:///default"}]},
        {"range": "10.0.0.1", "transport": "unix"},
    ],
)
def test_a_wrong_request_keeps_nothing(boss: Importer, body: dict[str, Any]) -> None:
    boss.post("sources/import/", 400, password=SECRET, **body)
    assert not SourceBatch.objects.exists()


def test_credentials_of_some_or_of_one_user(boss: Importer) -> None:
    first, second = (make_source(f"s{n}", transport="ssh", username="root", address=f"10.0.0.{n}") for n in (1, 2))
    told = boss.post("sources/credentials/", sources=[str(first.pk)], password=SECRET, user="op")
    assert [(one["name"], one["user"]) for one in told["sources"]] == [("s1", "op")]
    told = boss.post("sources/credentials/", of_user="root", password=SECRET)
    assert [one["source"] for one in told["sources"]] == [str(first.pk), str(second.pk)]
    boss.post("sources/credentials/", 400, password=SECRET)
    boss.post("sources/credentials/", 400, of_user="nobody", password=SECRET)


def test_credentials_of_named_sources_and_of_all_by_tls(boss: Importer) -> None:
    by_ssh = make_source("s1", transport="ssh", username="root", address="10.0.0.1")
    first, second = (make_source(f"t{n}", transport="tls", address=f"10.0.1.{n}") for n in (1, 2))
    told = boss.post("sources/credentials/", names=["t2"], **SHEET)
    assert [one["source"] for one in told["sources"]] == [str(second.pk)]
    told = boss.post("sources/credentials/", names=["t2", "t1", "t1"], **SHEET)
    assert [one["source"] for one in told["sources"]] == [str(first.pk), str(second.pk)]
    told = boss.post("sources/credentials/", by_tls=True, **SHEET)
    assert [one["source"] for one in told["sources"]] == [str(first.pk), str(second.pk)]
    told = boss.post("sources/credentials/", names=["s1"], password=SECRET)
    assert [one["source"] for one in told["sources"]] == [str(by_ssh.pk)]
    second = make_source("s2", transport="ssh", username="root", address="10.0.0.9")
    told = boss.post("sources/credentials/", names=["s1"] * 1100 + ["s2"], password=SECRET)
    assert {one["source"] for one in told["sources"]} == {str(by_ssh.pk), str(second.pk)}


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ({"names": ["t1", "nobody\0"]}, 400),
        ({"names": ["nobody"]}, 400),
        ({"of_user": "root\0x"}, 400),
        ({"of_user": "ro\0ot"}, 400),
        ({"names": "t1"}, 400),
        ({"names": ["t1"], "by_tls": True}, 400),
        ({"names": ["t1"], "of_user": "root"}, 400),
        ({"names": ["s1"]}, 409),  # it needs another kind of sign-in
        ({"by_tls": False}, 400),
    ],
)
def test_credentials_of_nobody_are_tried_nowhere(boss: Importer, named: dict[str, Any], code: int) -> None:
    make_source("s1", transport="ssh", username="root", address="10.0.0.1")
    make_source("t1", transport="tls", address="10.0.1.1")
    boss.post("sources/credentials/", code, **named, **SHEET)
    assert not SourceBatch.objects.exists()
