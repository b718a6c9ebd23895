"""Making volumes, sending files into them, switching datastores: once, whole, or not at all."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from access.models import User
from access.roles import Role
from core.errors import Conflict, Forbidden, Invalid
from drivers.fake.ops_model import FakeVolume
from hosts.models import Source
from operations.errors import AlreadyOpen
from operations.models import Job
from operations.services import request_cancel
from storage import act_runner, staging
from storage.acts import MountAct, submit_datastore_switch, submit_volume_create, submit_volume_upload
from storage.models import Datastore, DatastoreMount, Upload
from storage.uploads import discard_upload
from tests.factories import add_volume, make_upload, make_user
from tests.lives import Fate, Killed, live, strike_with
from tests.world import Fleet, local_store, make_fleet, put_theirs

CONTENT = os.urandom(1000)
GIB = 1 << 30


@pytest.fixture
def fleet(db: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    settings.UPLOAD_DIR = tmp_path / "uploads"
    monkeypatch.setattr(act_runner, "PART_BYTES", 300)
    monkeypatch.setattr(act_runner, "LARGEST_PIECE", 100)
    monkeypatch.setattr(act_runner, "RETRY_SECONDS", 0.005)
    return make_fleet(tmp_path / "world.json", "alpha", "beta", guests=1)


@pytest.fixture
def local(fleet: Fleet) -> Datastore:
    return Datastore.objects.get(name="local", mounts__host__name="alpha")


@pytest.fixture
def admin(db: None) -> User:
    return make_user(Role.ADMIN, "boss")


def volumes(fleet: Fleet) -> dict[str, FakeVolume]:
    with local_store(fleet.world) as store:
        return store.volumes


def whole_upload(admin: User, content: bytes = CONTENT, **values: Any) -> Upload:
    upload = make_upload(admin, size_bytes=len(content), **values)
    staging.write_piece(upload.pk, 0, content)
    return upload


def create(local: Datastore, admin: User, **values: Any) -> Job:
    wanted: dict[str, Any] = {"name": "a.qcow2", "capacity_bytes": GIB} | values
    return submit_volume_create(datastore=local, by=admin, **wanted)


def send(local: Datastore, admin: User, upload: Upload | None = None) -> Job:
    return submit_volume_upload(upload=upload or whole_upload(admin), datastore=local, name="a.iso", by=admin)


def story(job: Job) -> list[str]:
    return [step.message for step in job.steps.all() if step.message]


def test_a_volume_is_made(fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    strike_with(monkeypatch)
    job = live(create(local, admin))
    assert (job.state, job.message) == ("succeeded", "The volume is created: /var/lib/libvirt/images/a.qcow2.")
    assert volumes(fleet)["a.qcow2"].capacity_bytes == GIB
    assert "Volume a.qcow2 is created in local." in story(job)


def test_a_file_is_written_part_by_part(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = strike_with(monkeypatch)
    upload = whole_upload(admin, sha256=hashlib.sha256(CONTENT).hexdigest())
    job = live(send(local, admin, upload))
    assert job.state == "succeeded", job.message
    assert hashlib.sha256(CONTENT).hexdigest() in job.message
    assert volumes(fleet)["a.iso"].written_bytes == len(CONTENT)
    assert fate.calls.count("end_upload") == 4
    assert not Upload.objects.exists()


def test_the_staged_file_goes_with_the_end(
    fleet: Fleet,
    local: Datastore,
    admin: User,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    strike_with(monkeypatch)
    job = send(local, admin)
    assert len(list(staging.folder().iterdir())) == 1
    with django_capture_on_commit_callbacks(execute=True):
        live(job)
    assert list(staging.folder().iterdir()) == []


# Of the calls that sending a file makes, each may be a worker's last.
CALLS = 28


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, CALLS))
def test_a_worker_may_die_at_any_call(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch, number: int, made: bool
) -> None:
    fate = strike_with(monkeypatch, Fate([(number, made)]))
    job = live(send(local, admin, whole_upload(admin, sha256=hashlib.sha256(CONTENT).hexdigest())))
    assert job.state == "succeeded", job.message
    assert volumes(fleet)["a.iso"].written_bytes == len(CONTENT)
    assert list(volumes(fleet)) == ["a.iso"]
    # What was written whole before is not written again.
    assert fate.calls.count("end_upload") <= 5


def test_every_call_was_struck(fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    fate = strike_with(monkeypatch)
    live(send(local, admin))
    assert len(fate.calls) < CALLS


def test_a_wrong_sum_leaves_nothing(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    upload = whole_upload(admin, sha256="0" * 64)
    job = live(send(local, admin, upload))
    assert (job.state, "SHA-256 differs" in job.message) == ("failed", True)
    assert volumes(fleet) == {}
    assert Upload.objects.get() == upload


def test_a_cancelled_upload_leaves_nothing(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = strike_with(monkeypatch)
    monkeypatch.setattr("operations.handle.PROGRESS_SECONDS", 0.0)
    job = send(local, admin)

    def cancel(number: int, _method: str) -> None:
        if number == 8:
            request_cancel(job=job, by="ada")

    fate.before_call = cancel
    ended = live(job)
    assert (ended.state, ended.message) == ("cancelled", "Cancelled. What this task had made is removed again.")
    assert volumes(fleet) == {}


def test_what_cannot_be_removed_is_named(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    fleet.world.add_fault("alpha", at="delete_volume", do="rejected", times=-1)
    job = live(send(local, admin, whole_upload(admin, sha256="0" * 64)))
    assert (job.state, "Look what is left of: a.iso." in job.message) == ("needs_attention", True)
    assert "a.iso is left over: The host refused this." in story(job)


def test_a_worker_that_dies_while_it_undoes(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    upload = whole_upload(admin, sha256="0" * 64)
    number = len(strike_with(monkeypatch).calls)
    for made in (False, True):
        fate = strike_with(monkeypatch, Fate())

        def kill(number: int, method: str, fate: Fate = fate, made: bool = made) -> None:
            if method == "delete_volume" and not fate.kills and "struck" not in vars(fate):
                vars(fate)["struck"] = True
                fate.kills[number] = made

        fate.before_call = kill
        job = live(send(local, admin, upload))
        assert (job.state, volumes(fleet)) == ("failed", {})
    assert number == 0


def test_a_host_lost_in_the_middle_is_asked_again(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    fleet.world.add_fault("alpha", at="send_upload", do="unreachable", times=2)
    job = live(send(local, admin, whole_upload(admin, sha256=hashlib.sha256(CONTENT).hexdigest())))
    assert job.state == "succeeded", job.message
    assert fleet.world.fired("alpha", at="send_upload") == 2


def test_a_worker_that_slept_through_its_lease_writes_nothing_more(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped right before it sends a piece; another one ends the upload, and then it wakes up."""
    fate = strike_with(monkeypatch)
    call, late = fate.call, list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]]()

    def sleep(name: str, *rest: Any) -> Any:
        if name == "send_upload" and not late:
            late.append((name, *rest))
            raise Killed
        return call(name, *rest)

    monkeypatch.setattr(fate, "call", sleep)
    assert live(send(local, admin, whole_upload(admin))).state == "succeeded"
    name, _method, arguments, _options = late[0]
    (not_after,) = arguments[3:]
    assert time.monotonic() <= not_after < math.inf, f"{name} is refused when the lease has ended"


def test_a_worker_elsewhere_says_what_is_missing(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    strike_with(monkeypatch)
    job = send(local, admin)
    settings.UPLOAD_DIR = tmp_path / "another machine's"
    ended = live(job)
    assert (ended.state, "GUESTHOUSE_UPLOADS" in ended.message) == ("failed", True)
    assert volumes(fleet) == {}


def test_what_is_there_already_stays(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else made one of this name a moment ago."""
    strike_with(monkeypatch)
    job = create(local, admin)
    assert put_theirs(fleet.world, "a.qcow2", 7)
    ended = live(job)
    assert (ended.state, "choose another" in ended.message) == ("failed", True)
    assert volumes(fleet)["a.qcow2"].capacity_bytes == 7


def test_what_is_there_already_is_not_written_to_by_who_takes_over(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host said no, and the worker died before it could note that."""
    fate = strike_with(monkeypatch)
    job = send(local, admin)
    assert put_theirs(fleet.world, "a.iso", GIB)
    fate.dies_refused = lambda _method: True
    ended = live(job)
    assert (ended.state, "choose another" in ended.message) == ("failed", True)
    assert volumes(fleet)["a.iso"].digest == "theirs"


ASKED: dict[str, Callable[[Datastore, User], Job]] = {
    "a.img": lambda store, by: create(store, by, name="a.img", format="raw", capacity_bytes=len(CONTENT)),
    "a.iso": send,
}


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("name", list(ASKED))
def test_a_name_that_is_taken_while_nobody_works_on_it(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch, name: str, number: int, made: bool
) -> None:
    """A worker dies, and before the next one looks somebody else makes one like it in all that a host tells."""
    fate, theirs = strike_with(monkeypatch, Fate([(number, made)])), list[bool]()
    fate.at_death = lambda: theirs.append(put_theirs(fleet.world, name, len(CONTENT), format="raw"))
    job = live(ASKED[name](local, admin))
    if any(theirs):
        assert (job.state, "choose another" in job.message) == ("failed", True)
        assert vars_of(volumes(fleet)[name]) == (len(CONTENT), 0, "theirs")
    else:
        assert job.state == "succeeded", job.message
        assert vars_of(volumes(fleet)[name])[0] == len(CONTENT)


def vars_of(volume: FakeVolume) -> tuple[int, int, str]:
    return volume.capacity_bytes, volume.written_bytes, volume.digest


@pytest.mark.parametrize("name", list(ASKED))
@pytest.mark.parametrize("small", [False, True])
def test_a_name_that_is_taken_between_the_look_and_the_call(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch, name: str, small: bool
) -> None:
    """The host says no, and the worker dies before it can note that."""
    content = CONTENT[:50] if small else CONTENT  # of so small a one the sizes do not tell whose it is
    monkeypatch.setattr(f"{__name__}.CONTENT", content)
    fate = strike_with(monkeypatch)
    fate.before_call = lambda _, at: at == "create_volume" and put_theirs(fleet.world, name, len(content), format="raw")
    fate.dies_refused = lambda at: at == "create_volume" and fate.calls.count(at) == 1
    job = live(send(local, admin, whole_upload(admin, content)) if name == "a.iso" else ASKED[name](local, admin))
    assert fate.calls.count("create_volume") == 2
    if small:
        assert (job.state, "cannot be told" in job.message) == ("needs_attention", True)
    else:
        assert (job.state, "choose another" in job.message) == ("failed", True)
    assert vars_of(volumes(fleet)[name]) == (len(content), 0, "theirs")


def test_what_took_the_place_of_a_volume_that_is_not_whole_yet_stays(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = strike_with(monkeypatch)
    job = send(local, admin)

    def replace(_number: int, method: str) -> None:
        if method == "complete_volume":
            put_theirs(fleet.world, "a.iso", 7, instead=True)

    fate.before_call = replace
    ended = live(job)
    assert (ended.state, "a.iso" in ended.message) == ("needs_attention", True)
    assert vars_of(volumes(fleet)["a.iso"]) == (7, 0, "theirs")


def is_named(message: str, name: str) -> bool:
    told = f"Volume {name} may be left in datastore local: look there, and delete it if no guest uses it"
    return message.count(told) == 1


@pytest.mark.parametrize("name", list(ASKED))
@pytest.mark.parametrize("at", ["create_volume", "complete_volume"])
def test_what_a_host_that_fell_silent_may_have_made_is_named(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch, name: str, at: str
) -> None:
    strike_with(monkeypatch)
    monkeypatch.setattr("hosts.acts.SILENCE_SECONDS", 0.0)
    fleet.world.add_fault("alpha", at=at, do="unreachable", times=-1)
    job = live(ASKED[name](local, admin))
    assert (job.state, is_named(job.message, name)) == ("needs_attention", True), job.message


def test_what_a_dead_worker_may_have_made_is_named_when_the_host_lost_the_datastore(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = strike_with(monkeypatch)
    job = create(local, admin)

    def kill(number: int, method: str) -> None:
        if method == "create_volume":
            fate.kills[number] = True
            DatastoreMount.objects.filter(datastore=local).update(missing_since=timezone.now())

    fate.before_call = kill
    ended = live(job)
    assert (ended.state, is_named(ended.message, "a.qcow2")) == ("needs_attention", True), ended.message


def test_what_nobody_can_tell_whose_it_is_is_named(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So small that its size says nothing; the worker died when it had made it."""
    fate = strike_with(monkeypatch)
    job = create(local, admin, name="a.img", format="raw", capacity_bytes=50)
    fate.before_call = lambda number, method: fate.kills.update({number: True} if method == "create_volume" else {})
    ended = live(job)
    assert (ended.state, "cannot be told" in ended.message) == ("needs_attention", True)
    assert is_named(ended.message, "a.img")


def test_an_upload_that_a_task_reads_is_not_discarded_by_an_older_page(
    fleet: Fleet, local: Datastore, admin: User
) -> None:
    upload = whole_upload(admin)
    older = Upload.objects.get(pk=upload.pk)
    send(local, admin, upload)
    with pytest.raises(Conflict, match="already"):
        discard_upload(upload=older, by=admin)
    assert staging.received_bytes(upload.pk) == len(CONTENT)


def test_a_discarded_upload_is_told_in_a_sentence(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = whole_upload(admin)
    discard_upload(upload=Upload.objects.get(pk=upload.pk), by=admin)
    monkeypatch.setattr("storage.acts.require_whole", lambda _upload: None)  # it was, a moment ago
    with pytest.raises(Conflict, match="not here any more"):
        send(local, admin, upload)


def test_one_of_many_at_once(fleet: Fleet, local: Datastore, admin: User) -> None:
    create(local, admin)
    for _number in range(49):
        with pytest.raises(AlreadyOpen, match="local already has an open task"):
            create(local, admin)
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    "name", ["", " ", ".hidden", "a/b", "../a", "a\0b", "a\nb", "x" * 200, "<script>", "ä", "-rf", "a;b"]
)
def test_names_that_are_none(fleet: Fleet, local: Datastore, admin: User, name: str) -> None:
    with pytest.raises(Invalid):
        create(local, admin, name=name)
    with pytest.raises(Invalid):
        submit_volume_upload(upload=whole_upload(admin), datastore=local, name=name, by=admin)


@pytest.mark.parametrize("values", [{"capacity_bytes": 0}, {"capacity_bytes": 1 << 62}, {"format": "vmdk"}])
def test_what_no_volume_has(fleet: Fleet, local: Datastore, admin: User, values: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        create(local, admin, **values)


def test_what_speaks_against_it(fleet: Fleet, local: Datastore, admin: User) -> None:
    add_volume(local, "a.qcow2")
    with pytest.raises(Invalid, match="something of this name"):
        create(local, admin)
    with pytest.raises(Forbidden):
        create(local, make_user(Role.OPERATOR))
    Datastore.objects.update(capacity_bytes=10 * GIB, available_bytes=GIB // 2)
    local.refresh_from_db()
    with pytest.raises(Invalid, match="has 512 MiB free"):
        create(local, admin, name="b.qcow2", preallocate=True)
    with pytest.raises(Conflict, match="not whole"):
        send(local, admin, make_upload(admin))
    with pytest.raises(Conflict, match="is not started on beta"):
        create(local, admin, name="b.qcow2", host=fleet.hosts["beta"])
    Source.objects.update(state="paused")
    with pytest.raises(Conflict, match="No host that answers"):
        create(local, admin, name="b.qcow2")


def test_one_upload_is_written_once_at_a_time(fleet: Fleet, local: Datastore, admin: User) -> None:
    upload = whole_upload(admin)
    send(local, admin, upload)
    with pytest.raises(Conflict, match="already"):
        submit_volume_upload(upload=upload, datastore=local, name="b.iso", by=admin)


@pytest.mark.parametrize("action", list(MountAct))
def test_a_datastore_is_switched(
    fleet: Fleet, local: Datastore, admin: User, monkeypatch: pytest.MonkeyPatch, action: MountAct
) -> None:
    strike_with(monkeypatch)
    mount = DatastoreMount.objects.select_related("host__source", "datastore").get(datastore=local)
    job = live(submit_datastore_switch(mount=mount, action=action, by=admin))
    assert job.state == "succeeded", job.message
    with local_store(fleet.world) as store:
        assert store.active is (action is not MountAct.STOP)
        assert store.autostart is (action is not MountAct.AUTOSTART_OFF)


def test_what_no_datastore_does(fleet: Fleet, local: Datastore, admin: User) -> None:
    mount = DatastoreMount.objects.select_related("host__source", "datastore").get(datastore=local)
    with pytest.raises(Invalid):
        submit_datastore_switch(mount=mount, action="explode", by=admin)
    mount.active = False
    with pytest.raises(Conflict, match="start it first"):
        submit_datastore_switch(mount=mount, action="refresh", by=admin)
    with pytest.raises(Forbidden):
        submit_datastore_switch(mount=mount, action="stop", by=make_user(Role.MIGRATION_ADMIN))
