"""`manage migrate_guest GUEST HOST [--wait]`."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from inventory.models import Guest
from migrations.management.commands import migrate_guest
from migrations.models import GuestMigration
from operations.models import Job
from operations.runtime import run
from operations.services import request_cancel
from tests.world import Fleet


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def call(*words: Any, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    call_command("migrate_guest", *map(str, words), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def on_first_look(monkeypatch: Any, act: Any) -> None:
    """The command sleeps between two looks: something happens meanwhile."""

    def sleep(_seconds: float) -> None:
        act(Job.objects.get())

    monkeypatch.setattr(f"{migrate_guest.__name__}.time.sleep", sleep)


def test_names_or_ids_name_guest_and_host(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    printed = call(guest.name, fleet.hosts["beta"].pk).strip()
    migration = GuestMigration.objects.get()
    assert printed == str(migration.pk)
    assert (migration.guest, migration.job.submitted_by_name) == (guest, "command line")


def test_wait_tells_the_end(fleet: Fleet, monkeypatch: Any) -> None:
    on_first_look(monkeypatch, lambda job: run(str(job.pk)))
    assert call(fleet.guest("alpha").pk, "beta", "--wait").splitlines()[-1] == "The guest runs on beta."


def test_progress_comes_in_one_line_on_a_terminal(fleet: Fleet, monkeypatch: Any) -> None:
    def act(job: Job) -> None:
        if job.state == "queued":
            figures = {"percent": 41, "bytes_remaining": 3 << 20, "rate_bytes_per_s": 7 << 20}
            Job.objects.update(state="copying", progress=figures)
        else:
            Job.objects.update(state="succeeded", message="The guest runs on beta.")

    on_first_look(monkeypatch, act)
    assert "\r\x1b[Kcopying, 41 %, 3 MiB left, 7 MiB/s" in call(
        fleet.guest("alpha").pk, "beta", "--wait", out=Terminal()
    )


def test_a_move_that_failed_is_an_error(fleet: Fleet, monkeypatch: Any) -> None:
    fleet.world.add_fault("alpha", at="migration", do="refused")
    on_first_look(monkeypatch, lambda job: run(str(job.pk)))
    with pytest.raises(CommandError, match=r"failed: The target host does not accept this guest\."):
        call(fleet.guest("alpha").pk, "beta", "--wait")


def test_a_cancelled_move_is_an_error(fleet: Fleet, monkeypatch: Any) -> None:
    on_first_look(monkeypatch, lambda job: request_cancel(job=job, by="ada"))
    with pytest.raises(CommandError, match=r"cancelled: Cancel asked by ada\."):
        call(fleet.guest("alpha").pk, "beta", "--wait")


def test_every_reason_against_it_is_told(fleet: Fleet) -> None:
    guest = fleet.guest("alpha")
    Guest.objects.filter(pk=guest.pk).update(state="off", snapshot_count=1)
    with pytest.raises(CommandError) as error:
        call(guest.pk, "beta")
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("guest", "host", "says"),
    [("nobody", "beta", "no guest"), (None, "nowhere", "no host"), ("twice", "beta", "More than one")],
)
def test_what_is_not_there_or_not_clear(fleet: Fleet, guest: str | None, host: str, says: str) -> None:
    known = fleet.guest("alpha")
    if guest == "twice":
        Guest.objects.filter(host=fleet.hosts["alpha"]).update(name="twice")
    with pytest.raises(CommandError, match=says):
        call(guest or known.pk, host)


def test_ctrl_c_leaves_the_move_alone(fleet: Fleet, monkeypatch: Any) -> None:
    def interrupt(_job: Job) -> None:
        raise KeyboardInterrupt

    on_first_look(monkeypatch, interrupt)
    with pytest.raises(CommandError, match="The migration goes on") as error:
        call(fleet.guest("alpha").pk, "beta", "--wait")
    assert error.value.returncode == 130
    assert Job.objects.get().is_open
