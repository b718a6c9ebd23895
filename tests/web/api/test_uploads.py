"""Sending a file in pieces. Who may: test_access_routes.py."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from access.roles import Role
from core.errors import Conflict
from storage import staging, uploads
from storage.models import Upload
from tests.factories import make_guest, make_job, make_upload, make_user
from tests.together import database_for_threads, together

pytestmark = pytest.mark.django_db

TOKEN = "a" * 32
SIZE = 3_000_000
CONTENT = os.urandom(SIZE)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "UPLOAD_DIR", tmp_path / "uploads")
    return tmp_path / "uploads"


class Sender:
    def __init__(self, username: str = "boss") -> None:
        self.user = make_user(Role.ADMIN, username)
        # As a browser: who signed in by a page must say in each request that it comes from a page of ours.
        self.client = Client(enforce_csrf_checks=True, headers={"X-CSRFToken": TOKEN})
        self.client.cookies[settings.CSRF_COOKIE_NAME] = TOKEN
        self.client.force_login(self.user)

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        kind = "application/json" if isinstance(body, dict) else "application/octet-stream"
        data = json.dumps(body) if isinstance(body, dict) else body
        answer = self.client.post(f"/api/v1/uploads/{path}", data, content_type=kind)
        assert answer.status_code == status, answer.content
        return json.loads(answer.content) if answer.content else None

    def begin(self, status: int = 201, **values: Any) -> Any:
        return self.post("", {"name": "debian.iso", "size_bytes": SIZE} | values, status)

    def piece(self, upload: Any, offset: int, data: bytes, status: int = 200) -> Any:
        return self.post(f"{upload['id']}/pieces/?offset={offset}", data, status)


@pytest.fixture
def sender() -> Sender:
    return Sender()


def staged(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("*")] if folder.exists() else []


def test_a_file_in_pieces_is_whole(sender: Sender, folder: Path) -> None:
    upload = sender.begin()
    offset, size = 0, upload["largest_piece_bytes"]
    while offset < SIZE:
        offset = sender.piece(upload, offset, CONTENT[offset : offset + size])["offset"]
    assert staged(folder) == [CONTENT]
    assert sender.client.get(f"/api/v1/uploads/{upload['id']}/").json()["offset"] == SIZE
    assert (folder.stat().st_mode & 0o777, next(folder.glob("*")).stat().st_mode & 0o777) == (0o700, 0o600)


def test_whoever_lost_the_thread_is_told_where_it_goes_on(sender: Sender, folder: Path) -> None:
    upload = sender.begin()
    sender.piece(upload, 0, b"a" * 10)
    for offset in (0, 5, 11):
        error = sender.piece(upload, offset, b"b", 409)["error"]
        assert (error["code"], error["offset"]) == ("wrong_offset", 10)
    assert staged(folder) == [b"a" * 10]


@pytest.mark.parametrize(
    ("offset", "data", "status"),
    [("", b"x", 400), ("-1", b"x", 400), ("x", b"x", 400), ("0", b"", 400), ("9" * 30, b"x", 400),
     ("0", b"x" * ((1 << 20) + 1), 413), (str(SIZE), b"x", 400)],
)  # fmt: skip
def test_pieces_that_do_not_fit(sender: Sender, folder: Path, offset: str, data: bytes, status: int) -> None:
    upload = sender.begin()
    sender.post(f"{upload['id']}/pieces/?offset={offset}", data, status)
    assert staged(folder) in ([], [b""])


@pytest.mark.parametrize("values", [{"size_bytes": 0}, {"size_bytes": -1}, {"size_bytes": 1 << 50}, {"sha256": "x"}])
def test_what_cannot_be_sent(sender: Sender, values: dict[str, Any]) -> None:
    assert sender.begin(400, **values)["error"]["field"] in values
    assert not Upload.objects.exists()


def test_another_s_upload_is_not_there(sender: Sender, folder: Path) -> None:
    upload, other = sender.begin(), Sender("other")
    other.piece(upload, 0, b"x", 404)
    other.post(f"{upload['id']}/discard/", {}, 404)
    assert other.client.get("/api/v1/uploads/").json()["results"] == []
    assert staged(folder) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\x.iso", "\0", "a\u202eb", "x" * 999, ""])
def test_a_file_s_name_is_no_path(sender: Sender, folder: Path, name: str) -> None:
    upload = sender.begin(name=name)
    sender.piece(upload, 0, b"x")
    assert [path.name for path in folder.glob("*")] == [f"{upload['id']}.part"]
    assert "/" not in upload["name"]
    assert upload["name"].isprintable()


def test_what_does_not_fit_is_refused_before_it_is_sent(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    room = staging.KEEP_FREE_BYTES + 2 * SIZE
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=room))
    sender.begin()
    sender.begin()
    error = sender.begin(507)["error"]
    assert (error["code"], "Free some space" in error["message"]) == ("no_room", True)


def test_a_full_disk_keeps_what_was_there(sender: Sender, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = sender.begin()
    sender.piece(upload, 0, b"a" * 10)

    def half(descriptor: int, piece: bytes) -> None:
        os.write(descriptor, piece[:3])
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(staging, "_write_all", half)
        assert "disk is full" in sender.piece(upload, 10, b"b" * 10, 507)["error"]["message"]
    assert staged(folder) == [b"a" * 10]
    assert sender.piece(upload, 10, b"b" * 10)["offset"] == 20


def test_one_piece_at_a_time(sender: Sender, folder: Path) -> None:
    upload = sender.begin()
    row = Upload.objects.get()
    sender.piece(upload, 0, b"a")
    import fcntl

    with staging.path_of(row.pk).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert sender.piece(upload, 1, b"b", 409)["error"]["code"] == "conflict"
    assert sender.piece(upload, 1, b"b")["offset"] == 2


def test_discarded_is_gone(sender: Sender, folder: Path) -> None:
    upload = sender.begin()
    sender.piece(upload, 0, b"x")
    sender.post(f"{upload['id']}/discard/", {}, 204)
    assert (staged(folder), Upload.objects.count()) == ([], 0)
    sender.piece(upload, 1, b"x", 404)


def test_a_task_that_reads_it_keeps_it(sender: Sender) -> None:
    upload = sender.begin()
    job = make_job(make_guest(), state="running")
    Upload.objects.update(job_id=job.pk)
    sender.piece(upload, 0, b"x", 409)
    sender.post(f"{upload['id']}/discard/", {}, 409)
    assert Upload.objects.exists()


def test_nobody_begins_endlessly(sender: Sender) -> None:
    for _number in range(uploads.MOST_AT_ONCE):
        sender.begin()
    assert sender.begin(409)["error"]["code"] == "conflict"


def test_what_is_left_goes_after_a_day(sender: Sender, folder: Path) -> None:
    past = timezone.now() - timedelta(days=2)
    left = make_upload(sender.user, created_at=past)
    used = make_upload(sender.user, created_at=past)
    read = make_upload(sender.user, created_at=past, job_id=make_job(make_guest(), state="running").pk)
    fresh = make_upload(sender.user)
    for one in (left, used, read, fresh):
        staging.write_piece(one.pk, 0, b"x")
    stray = folder / "0198-stray.part"
    stray.write_bytes(b"x")
    for path in (staging.path_of(left.pk), staging.path_of(read.pk), stray):
        os.utime(path, (past.timestamp(), past.timestamp()))
    assert uploads.expire_uploads() == 1
    assert set(Upload.objects.values_list("pk", flat=True)) == {used.pk, read.pk, fresh.pk}
    assert {path.stem for path in folder.glob("*")} == {str(one.pk) for one in (used, read, fresh)}


def add_piece(sender: Sender, upload: Upload) -> None:
    uploads.add_piece(upload=upload, offset=1, piece=b"y", by=sender.user)


def hand_to_a_task(_sender: Sender, upload: Upload) -> None:
    Upload.objects.filter(pk=upload.pk).update(job_id=make_job(make_guest(), state="running").pk)


@pytest.mark.parametrize("go_on", [add_piece, hand_to_a_task])
def test_what_somebody_goes_on_with_at_that_moment_stays(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, go_on: Callable[[Sender, Upload], None]
) -> None:
    """Between the look at it and its end."""
    upload = left_upload(sender)
    is_left, looks = uploads._is_left, list[bool]()

    def judge(one: Upload) -> bool:
        looks.append(is_left(one))
        if len(looks) == 1:
            go_on(sender, one)
        return looks[-1]

    monkeypatch.setattr(uploads, "_is_left", judge)
    assert uploads.expire_uploads() == 0
    assert looks[0]
    assert Upload.objects.filter(pk=upload.pk).exists()
    assert staging.received_bytes(upload.pk) == (2 if go_on is add_piece else 1)


def left_upload(sender: Sender) -> Upload:
    past = timezone.now() - timedelta(days=2)
    upload = make_upload(sender.user, created_at=past)
    staging.write_piece(upload.pk, 0, b"x")
    os.utime(staging.path_of(upload.pk), (past.timestamp(), past.timestamp()))
    return upload


def test_no_piece_is_taken_while_it_is_forgotten(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the moment, and not after it: what was taken is here."""
    upload = left_upload(sender)
    refused: list[str] = []

    def try_now(identifier: Any) -> None:
        with pytest.raises(Conflict) as caught:
            add_piece(sender, upload)
        refused.append(str(caught.value))
        staging.path_of(identifier).unlink()

    monkeypatch.setattr(staging, "remove", try_now)
    assert uploads.expire_uploads() == 1
    monkeypatch.undo()
    with pytest.raises(Conflict, match="not here any more"):
        uploads.add_piece(upload=upload, offset=0, piece=b"x", by=sender.user)
    assert "being written" in refused[0]
    assert not staging.path_of(upload.pk).exists()


def go_on_or_forget(sender: Sender, upload: Upload, number: int) -> int | None:
    if number:
        return uploads.expire_uploads()
    add_piece(sender, upload)
    return None


def test_of_a_piece_and_the_end_of_its_upload_one_wins(
    transactional_db: None, tmp_path: Path, folder: Path, sender: Sender
) -> None:
    """What is told to be here is here, on threads of their own."""
    with database_for_threads(tmp_path):
        for _attempt in range(20):
            upload = left_upload(sender)
            added, gone = together(2, partial(go_on_or_forget, sender, upload))
            kept = Upload.objects.filter(pk=upload.pk).exists()
            assert gone == (0 if kept else 1)
            assert isinstance(added, Conflict) or (kept and staging.received_bytes(upload.pk) == 2)
            Upload.objects.all().delete()
