"""The server's own disk is full while sources are read, watched and worked on; then there is room again."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from access.middleware import WRITE_EVERY_SECONDS
from access.roles import Role
from config.supervisor import WORKERS
from core import room
from drivers.types import GuestState
from hosts.models import Source, SourceState
from inventory.models import Guest, Watch
from inventory.power import submit_power
from migrations.services import submit_migration
from operations.models import Job
from tests.factories import make_user
from tests.faults.scene import fill_up
from tests.jobs import wait_for_end, worker_of
from tests.stack import START_SECONDS, Stack, running_stack, wait_until
from tests.world import Fleet, make_fleet

ROOM_MIB = 96
SAYS = "disk is full"


@pytest.fixture
def small(django_db_blocker: Any) -> Iterator[Stack]:
    """The whole product, its data on a small file system."""
    if os.environ.get("DATABASE_URL", "").startswith("postgres"):
        pytest.skip("PostgreSQL has a disk of its own.")
    if os.geteuid() != 0:
        pytest.skip("Only root may mount a file system.")
    with django_db_blocker.unblock(), running_stack(web=True, room_mib=ROOM_MIB) as stack:
        yield stack


class Ballast:
    """What leaves no room, not even in the database's log."""

    def __init__(self, stack: Stack) -> None:
        self.file = stack.folder / "ballast"
        self.database = stack.folder / "guesthouse.sqlite3"

    def put(self) -> None:
        """Returns when not even the smallest change can be written."""
        wait_until(self._is_full, "nothing can be written any more")

    def _is_full(self) -> bool:
        # The log keeps the room that it once had, and writes into it again.
        with closing(sqlite3.connect(self.database, timeout=20)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        fill_up(self.file)
        try:
            Source.objects.update(state_since=timezone.now())
        except OperationalError as error:
            return room.is_full_error(error)
        return False

    def remove(self) -> None:
        self.file.unlink()


# Made by the product itself, since sessions are signed with its keys.
SIGN_IN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from access.middleware import SEEN, STARTED
from access.models import User
user, session = User.objects.get(username=%r), SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session[STARTED] = session[SEEN] = %d
session.create()
print("key", session.session_key)
"""


class Browser:
    """Somebody who signed in a while ago, so that the next page would note that they are still there."""

    def __init__(self, stack: Stack, role: Role) -> None:
        user = make_user(role, f"{role}-at-a-desk")
        long_ago = int(timezone.now().timestamp()) - WRITE_EVERY_SECONDS - 60
        said = stack.manage("shell", "-v", "0", "-c", SIGN_IN % (user.username, long_ago))
        assert said.returncode == 0, said.stderr
        self.url, self.key = stack.url, said.stdout.split()[-1]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Status and content of a page; with a body, of an API call."""
        token = "t" * 32
        headers = {
            "Cookie": f"{settings.SESSION_COOKIE_NAME}={self.key}; {settings.CSRF_COOKIE_NAME}={token}",
            "X-CSRFToken": token,
            "Content-Type": "application/json",
        }
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(f"{self.url}{path}", data=data, headers=headers), timeout=60) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()


def told_since(stack: Stack, marks: dict[str, int], name: str, words: str) -> bool:
    return words in stack.log(name)[marks[name] :]


def pids(stack: Stack) -> dict[str, int]:
    """Of every process that runs."""
    return {name: process.pid for name, process in stack.processes.items() if process.poll() is None}


def make_due() -> None:
    now = timezone.now()
    Source.objects.update(next_states_at=now, next_inventory_at=now)


def test_a_full_disk_stops_nothing_for_good(small: Stack, tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "world.json", "alpha", "beta", seconds=25.0)
    small.start_watcher()
    wait_until(lambda: Watch.objects.filter(since__isnull=False).count() == 2, "both hosts are watched")
    browser = Browser(small, Role.OPERATOR)
    job = submit_migration(guest=fleet.guest("alpha"), target_host=fleet.hosts["beta"], by="test").job
    wait_until(Job.objects.filter(pk=job.pk, state="copying").exists, "a move is under way")
    make_due()
    running, ballast = pids(small), Ballast(small)
    marks = {name: len(small.log(name)) for name in small.processes}
    ballast.put()
    changed = fleet.set_state("beta", GuestState.PAUSED, 2)
    require_met(small, marks, job)
    require_says_so(browser, changed)
    assert pids(small) == running, "nothing ended, nothing was started again"
    ballast.remove()
    require_moved_once(fleet, wait_for_end(job, START_SECONDS))
    require_healed(browser, changed)
    assert pids(small) == running
    assert is_sound(ballast.database)


def require_met(stack: Stack, marks: dict[str, int], job: Job) -> None:
    """Whoever would write has found that it cannot."""
    holder = worker_of(stack, job)
    words = ("Leases could not be renewed", f"The database failed while {job.pk}")  # whichever wrote first
    wait_until(lambda: any(told_since(stack, marks, holder, word) for word in words), "the worker met it")
    wait_until(lambda: told_since(stack, marks, "watcher", SAYS), "the watcher met it")
    wait_until(lambda: any(told_since(stack, marks, name, SAYS) for name in WORKERS), "what beat sends met it")


def require_says_so(browser: Browser, guest: Guest) -> None:
    """Pages are read as before, and say so; nothing is taken that cannot be kept."""
    assert browser.ask("/healthz") == (200, '{"status": "full"}')
    status, page = browser.ask("/guests/")
    assert (status, SAYS in page, guest.name in page) == (200, True, True)
    jobs = Job.objects.count()
    status, answer = browser.ask(f"/api/v1/guests/{guest.pk}/power/", {"action": "reset"})
    assert (status, json.loads(answer)["error"]["code"]) == (507, "no_room")
    assert Job.objects.count() == jobs


def require_moved_once(fleet: Fleet, ended: Job) -> None:
    assert ended.state == "succeeded", ended.message
    assert fleet.moves() == 1
    guest = Guest.objects.get(pk=ended.target_id)
    assert fleet.world.running_on(guest.uuid) == ("beta",)


def require_healed(browser: Browser, changed: Guest) -> None:
    wait_until(Guest.objects.filter(pk=changed.pk, state="paused").exists, "what changed meanwhile is written")
    asked_at = timezone.now()
    make_due()
    wait_until(lambda: Source.objects.filter(inventory_read_at__gt=asked_at).count() == 2, "both are read again")
    assert not Source.objects.exclude(state=SourceState.OK).exists()
    wait_until(lambda: Watch.objects.filter(since__isnull=False).count() == 2, "both are watched")
    assert browser.ask("/healthz") == (200, '{"status": "ok"}')
    status, page = browser.ask("/guests/")
    assert (status, SAYS in page) == (200, False)
    again = submit_power(guest=Guest.objects.get(pk=changed.pk), action="off", by="test")
    assert wait_for_end(again, START_SECONDS).state == "succeeded"


def is_sound(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))
