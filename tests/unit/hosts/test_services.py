"""Sources' life: drafted, tested, added, paused, removed; secrets stay secret all the way."""

import io
import logging
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from access.models import ApiToken, User
from access.roles import Role
from audit.models import AuditRow
from core.crypto import decrypt
from core.errors import Conflict, Forbidden, Invalid
from hosts import services, tasks
from hosts.models import Datacenter, Host, Source, SourceDraft, SourceState
from inventory.models import Guest, Placement
from metrics.models import GuestLoad, HostLoad
from operations.models import Job, JobState
from storage.models import Datastore
from tests.factories import make_datastore, make_guest, make_host, make_source, make_user
from tests.unit.hosts.test_validation import private_key

pytestmark = pytest.mark.django_db

SECRET = "hunter2-hunter2"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
FINGERPRINT = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


@pytest.fixture
def boss() -> User:
    return make_user(Role.ADMIN)


def draft(by, **values) -> SourceDraft:
    parts = {"name": "rack-9", "transport": "ssh", "address": "10.0.0.9", "username": "root", "password": SECRET}
    return services.draft_source(**(parts | values), by=by)


def end_test(job: Job, state=JobState.SUCCEEDED, **progress) -> None:
    Job.objects.filter(pk=job.pk).update(state=state, progress={"ready": False, "steps": [], **progress})


def ready_draft(by, **values) -> SourceDraft:
    made = draft(by, **values)
    end_test(services.test_source(source=made, by=by), ready=True)
    return made


ACTS = {
    "draft": lambda source, by: draft(by),
    "test": lambda source, by: services.test_source(source=source, by=by),
    "key": lambda source, by: services.accept_host_key(source=source, job=Job(), fingerprint="", by=by),
    "add": lambda source, by: services.add_source(draft=SourceDraft(), by=by),
    "discard": lambda source, by: services.discard_draft(draft=SourceDraft(), by=by),
    "credentials": lambda source, by: services.update_credentials(source=source, username="x", by=by),
    "pause": lambda source, by: services.pause_source(source=source, by=by),
    "resume": lambda source, by: services.resume_source(source=source, by=by),
    "read": lambda source, by: services.read_source_now(source=source, by=by),
    "remove": lambda source, by: services.remove_source(source=source, confirmation=source.name, by=by),
}


@pytest.mark.parametrize("role", [role for role in Role if role != Role.ADMIN])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_only_administrators(act, role):
    source = make_source()
    with pytest.raises(Forbidden):
        act(source, make_user(role))
    assert Source.objects.filter(pk=source.pk, state=SourceState.OK).exists()
    assert not AuditRow.objects.exists()


class TestAdding:
    def test_from_draft_to_source(self, boss):
        made = ready_draft(boss, port="2222", datacenter="Berlin")
        source = services.add_source(draft=made, by=boss)
        source.refresh_from_db()
        assert (source.address, source.port, source.transport) == ("10.0.0.9", 2222, "ssh")
        assert source.datacenter == Datacenter.objects.get(name="Berlin")
        assert source.next_inventory_at <= timezone.now()
        assert decrypt(source.password_encrypted) == SECRET
        assert not SourceDraft.objects.exists()
        assert AuditRow.objects.filter(action="source.added", target_id=str(source.pk)).exists()

    @pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.FAILED])
    def test_not_before_a_test_succeeded(self, boss, state):
        made = draft(boss)
        with pytest.raises(Conflict):
            services.add_source(draft=made, by=boss)
        end_test(services.test_source(source=made, by=boss), state=state, ready=True)
        with pytest.raises(Conflict):
            services.add_source(draft=made, by=boss)

    def test_not_on_the_word_of_another_drafts_test(self, boss):
        ready_draft(boss, name="other", address="10.0.0.8")
        with pytest.raises(Conflict):
            services.add_source(draft=draft(boss), by=boss)

    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({"transport": "unix"}, "transport"),
            ({"transport": "test"}, "transport"),
            ({"transport": "fake"}, "transport"),
            ({"transport": "tcp"}, "username"),
            ({"transport": "tcp", "username": ""}, "username"),
            ({"address": "127.0.0.1"}, "address"),
            ({"address": "qemu+ext:///system?command=/x"}, "address"),
            ({"address": "h/system?command=/x"}, "address"),
            ({"port": "0"}, "port"),
            ({"username": ""}, "username"),
            ({"username": "-oProxyCommand=x"}, "username"),
            ({"private_key": "x"}, "private_key"),
            ({"name": ""}, "name"),
        ],
    )
    def test_what_is_refused(self, boss, values, field):
        with pytest.raises(Invalid) as error:
            draft(boss, **values)
        assert error.value.field == field
        assert not SourceDraft.objects.exists()

    def test_password_or_key_not_both(self, boss):
        from cryptography.hazmat.primitives.serialization import PrivateFormat

        with pytest.raises(Invalid):
            draft(boss, private_key=private_key(PrivateFormat.OpenSSH))

    @pytest.mark.parametrize(("known", "new"), [(None, "22"), (22, ""), (2222, "2222"), (None, "")])
    def test_one_hypervisor_is_read_once(self, boss, known, new):
        make_source("there", transport="ssh", address="10.0.0.9", port=known)
        with pytest.raises(Invalid) as error:
            draft(boss, port=new)
        assert "there" in error.value.message

    def test_another_port_is_another_hypervisor(self, boss):
        make_source("there", transport="ssh", address="10.0.0.9", port=22)
        assert draft(boss, port="2222").port == 2222

    def test_names_are_told_apart(self, boss):
        make_source("rack-9")
        with pytest.raises(Invalid) as error:
            draft(boss)
        assert error.value.field == "name"

    def test_old_drafts_are_forgotten(self, boss):
        old = draft(boss)
        SourceDraft.objects.update(created_at=timezone.now() - timedelta(days=2))
        draft(boss, name="new", address="10.0.0.8")
        assert not SourceDraft.objects.filter(pk=old.pk).exists()


class TestHostKey:
    def test_what_was_shown_is_what_is_pinned(self, boss):
        made = draft(boss)
        job = services.test_source(source=made, by=boss)
        end_test(job, host_key={"key": KEY, "fingerprint": FINGERPRINT})
        job.refresh_from_db()
        for other in ("", "SHA256:other"):
            with pytest.raises(Conflict):
                services.accept_host_key(source=made, job=job, fingerprint=other, by=boss)
        services.accept_host_key(source=made, job=job, fingerprint=FINGERPRINT, by=boss)
        made.refresh_from_db()
        assert made.host_key == KEY

    def test_a_job_of_another_source_pins_nothing(self, boss):
        other = services.test_source(source=draft(boss), by=boss)
        end_test(other, host_key={"key": KEY, "fingerprint": FINGERPRINT})
        other.refresh_from_db()
        source = make_source(transport="ssh")
        with pytest.raises(Conflict):
            services.accept_host_key(source=source, job=other, fingerprint=FINGERPRINT, by=boss)

    def test_a_new_key_is_written_down_with_the_old_one(self, boss):
        source = make_source(transport="ssh", host_key="ssh-ed25519 AAAA")
        job = services.test_source(source=source, by=boss)
        end_test(job, host_key={"key": KEY, "fingerprint": FINGERPRINT})
        job.refresh_from_db()
        services.accept_host_key(source=source, job=job, fingerprint=FINGERPRINT, by=boss)
        detail = AuditRow.objects.get(action="source.host_key_accepted").detail
        assert detail["after"] == FINGERPRINT
        assert detail["before"].startswith("SHA256:")


class TestCredentials:
    def test_empty_keeps_what_is_stored(self, boss):
        source = services.add_source(draft=ready_draft(boss), by=boss)
        services.update_credentials(source=source, username="op", by=boss)
        source.refresh_from_db()
        assert (source.username, decrypt(source.password_encrypted)) == ("op", SECRET)

    def test_a_key_takes_the_passwords_place(self, boss):
        from cryptography.hazmat.primitives.serialization import PrivateFormat

        key = private_key(PrivateFormat.OpenSSH)
        source = services.add_source(draft=ready_draft(boss), by=boss)
        services.update_credentials(source=source, username="root", private_key=key, by=boss)
        source.refresh_from_db()
        assert source.password_encrypted == ""
        assert decrypt(source.private_key_encrypted) == key

    def test_tcp_has_none(self, boss):
        with pytest.raises(Conflict):
            services.update_credentials(source=make_source(), username="x", by=boss)

    def test_they_stay_secret_all_the_way(self, boss, caplog, monkeypatch):
        """Database, audit log, jobs, messages, logs and representations: the secret is in none of them."""
        sent = []
        monkeypatch.setattr("core.queue._send", lambda *args: sent.append(args))
        with caplog.at_level(logging.DEBUG):
            source = services.add_source(draft=ready_draft(boss), by=boss)
            services.update_credentials(source=source, username="root", password=SECRET + "2", by=boss)
            services.test_source(source=source, by=boss)
        rows = [list(model.objects.values()) for model in (Source, SourceDraft, AuditRow, Job, ApiToken)]
        everything = f"{rows} {sent} {caplog.text} {source!r} {vars(source)} {source.endpoint()!r}"
        assert SECRET not in everything

    def test_a_traceback_shows_none(self, boss):
        """Django's error report leaves out what the services and pages hold."""
        from django.test import RequestFactory
        from django.views.debug import ExceptionReporter

        request = RequestFactory().post("/sources/add/", {"password": SECRET})
        request.user = boss
        import sys

        from console.sources import source_add

        original = services.draft_source

        def broken(**values):
            raise RuntimeError("broken")

        services.draft_source = broken
        try:
            source_add(request)
        except RuntimeError:
            reporter = ExceptionReporter(request, *sys.exc_info())
            assert SECRET not in reporter.get_traceback_text()
        finally:
            services.draft_source = original


class TestPausing:
    def test_fences_the_read_under_way(self, boss):
        source = make_source(lease_token=7, lease_until=timezone.now() + timedelta(minutes=1))
        services.pause_source(source=source, by=boss)
        services.pause_source(source=source, by=boss)
        source.refresh_from_db()
        assert (source.state, source.lease_token, source.lease_until) == (SourceState.PAUSED, 8, None)
        assert AuditRow.objects.filter(action="source.paused").count() == 1

    def test_resumes_at_once(self, boss):
        source = make_source(state=SourceState.PAUSED)
        with pytest.raises(Conflict):
            services.read_source_now(source=source, by=boss)
        services.resume_source(source=source, by=boss)
        source.refresh_from_db()
        assert source.state == SourceState.NEW
        assert max(source.next_inventory_at, source.next_states_at) <= timezone.now()


class TestRemoving:
    def test_takes_its_rows_and_leaves_those_of_others(self, boss):
        source, other = make_source("a"), make_source("b")
        here, there = make_host("h1", source), make_host("h2", other)
        only_here, both = make_datastore("local", (here,)), make_datastore("shared", (here, there))
        gone, known = make_guest("gone", here), make_guest("known", here)
        stays = make_guest("stays", there)
        Placement.objects.create(guest=known, host=there, ref="x", state="off", evidence_at=timezone.now())
        GuestLoad.objects.create(guest_id=gone.pk, read_at=timezone.now())
        HostLoad.objects.create(host_id=here.pk, read_at=timezone.now())

        services.remove_source(source=source, confirmation="a", by=boss)

        assert list(Source.objects.all()) == [other]
        assert list(Host.objects.all()) == [there]
        assert set(Guest.objects.values_list("pk", "host")) == {(known.pk, there.pk), (stays.pk, there.pk)}
        assert list(Datastore.objects.values_list("pk", "shared")) == [(both.pk, False)]
        assert only_here.pk != both.pk
        assert not GuestLoad.objects.filter(pk=gone.pk).exists()
        assert not HostLoad.objects.exists()
        assert AuditRow.objects.get(action="source.removed").target_name == "a"

    @pytest.mark.parametrize("typed", ["", "A", "a ", "b"])
    def test_the_name_must_be_typed(self, boss, typed):
        source = make_source("a")
        if typed.strip() == "a":
            services.remove_source(source=source, confirmation=typed, by=boss)
            return
        with pytest.raises(Invalid):
            services.remove_source(source=source, confirmation=typed, by=boss)
        assert Source.objects.exists()

    @pytest.mark.parametrize("kind", ["guest", "host", "source"])
    def test_not_while_a_task_is_open_there(self, boss, kind):
        source = make_source("a")
        guest = make_guest("g", make_host("h", source))
        target = {"guest": guest, "host": guest.host, "source": source}[kind]
        job = Job.objects.create(
            kind="power",
            target_kind=kind,
            target_id=str(target.pk),
            target_name="g",
            submitted_by_name="x",
            submitted_at=timezone.now(),
        )
        with pytest.raises(Conflict):
            services.remove_source(source=source, confirmation="a", by=boss)
        assert Guest.objects.exists()
        Job.objects.filter(pk=job.pk).update(state=JobState.SUCCEEDED)
        services.remove_source(source=source, confirmation="a", by=boss)
        assert not Guest.objects.exists()


class TestMaintenance:
    def test_who_may(self):
        host = make_host()
        for role in (Role.VIEWER, Role.OPERATOR, Role.AUDITOR):
            with pytest.raises(Forbidden):
                services.set_maintenance(host=host, on=True, by=make_user(role))
        migrator = make_user(Role.MIGRATION_ADMIN)
        for on in (True, True, False):
            services.set_maintenance(host=host, on=on, by=migrator)
            assert Host.objects.get().maintenance is on
        acts = list(AuditRow.objects.order_by("at", "id").values_list("action", flat=True))
        assert acts == ["host.maintenance_entered", "host.maintenance_left"]


class TestCommand:
    def add(self, *args) -> str:
        out = io.StringIO()
        call_command("add_source", *args, stdout=out, stderr=io.StringIO())
        return out.getvalue()

    def test_prints_the_id_last_and_changes_nothing_the_second_time(self):
        first = self.add("kvm-01", "qemu+tcp://10.0.0.1/system").split()[-1]
        again = self.add("kvm-01", "qemu+tcp://10.0.0.2/system").split()[-1]
        source = Source.objects.get()
        assert first == again == str(source.pk)
        assert (source.address, source.created_by) == ("10.0.0.1", "command line")

    def test_local_ones(self):
        self.add("here", "qemu:///system")
        self.add("try", "test:///default", "--datacenter", "Lab")
        assert set(Source.objects.values_list("uri", flat=True)) == {"qemu:///system", "test:///default"}

    def test_ssh_with_key_and_host_key(self, tmp_path):
        from cryptography.hazmat.primitives.serialization import PrivateFormat

        file = tmp_path / "key"
        file.write_text(private_key(PrivateFormat.OpenSSH))
        self.add(
            "kvm-01", "qemu+ssh://root@10.0.0.1/system", "--private-key", str(file), "--host-key", KEY + " comment"
        )
        source = Source.objects.get()
        assert source.host_key == KEY
        assert decrypt(source.private_key_encrypted) == file.read_text()

    @pytest.mark.parametrize(
        "uri", ["qemu+ext:///system?command=/x", "test:///etc/passwd", "qemu+tcp://127.0.0.1/system"]
    )
    def test_refuses_in_one_sentence(self, uri):
        with pytest.raises(CommandError) as error:
            self.add("x", uri)
        assert "\n" not in str(error.value)
        assert not Source.objects.exists()


def test_drafts_are_written_down_without_their_secrets(boss):
    made = draft(boss)
    services.discard_draft(draft=made, by=boss)
    services.discard_draft(draft=made, by=boss)
    rows = AuditRow.objects.filter(target_kind="source_draft").order_by("at", "id")
    assert [(row.action, row.target_name) for row in rows] == [
        ("source_draft.created", "rack-9"),
        ("source_draft.discarded", "rack-9"),
    ]
    assert rows[0].detail == {
        "hypervisor": "qemu",
        "transport": "ssh",
        "address": "10.0.0.9",
        "port": None,
        "username": "root",
    }


def test_old_drafts_are_forgotten_by_themselves(boss):
    old, new = draft(boss), draft(boss, name="rack-10", address="10.0.0.10")
    SourceDraft.objects.filter(pk=old.pk).update(
        created_at=timezone.now() - services.KEEP_DRAFTS - timedelta(minutes=1)
    )
    tasks.expire_drafts()
    assert list(SourceDraft.objects.all()) == [new]
