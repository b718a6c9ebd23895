"""Many sources at once: planned, tested, their keys accepted, added; new credentials tried before they replace any."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import Any

import pytest

from access.models import User
from access.roles import Role
from audit.models import AuditRow
from core.crypto import decrypt, encrypt
from core.errors import Conflict, Forbidden, Invalid
from core.ids import new_id
from drivers.errors import AuthFailed, Unreachable
from drivers.fake.world import FakeWorld
from drivers.types import HostKeyFact
from hosts import batch_runner, batches, probe, services
from hosts.batches import Defaults
from hosts.certificates import presented_key
from hosts.importing import Line, read_lines, read_range
from hosts.models import Outcome, Source, SourceBatch, SourceDraft
from hosts.validation import fingerprint
from operations.errors import AlreadyOpen, CancelRequested
from operations.models import Job, JobState
from operations.runtime import run
from operations.services import request_cancel
from tests.certificates import CLIENT, make
from tests.factories import make_source, make_user
from tests.world import open_here

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
CA = make("house CA", ca=True)
OURS = make("console", CA, usage=(CLIENT,))
PIN = presented_key(make("kvm-9").pem)
NO_CA = {"client_certificate": OURS.pem, "client_key": OURS.key}
SSH = Defaults(transport="ssh", user="root", password="right", datacenter="Berlin")


class Network:
    """Hosts that answer, one that does not, and what was sent to whom."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.silent: set[str] = set()
        self.sessions: list[tuple[str, str]] = []

    def knock(self, address: tuple[str, int], timeout: float) -> Any:
        if address[0] in self.silent:
            raise ConnectionRefusedError(111, "raw detail")
        return socket.socket()

    def probe_host_key(self, address: str, port: int, *, accepted: str = "") -> HostKeyFact:
        return HostKeyFact(KEY, fingerprint(KEY))

    @contextmanager
    def session(self, endpoint: Any, *, deadline_s: float) -> Any:
        self.sessions.append((endpoint.address, endpoint.password))
        if endpoint.password == "wrong":
            raise AuthFailed("The host refused the sign-in.")
        with open_here(Source(kind="fake", transport="fake", uri=self.world.uri("alpha"))) as session:
            yield session


@pytest.fixture
def network(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network(FakeWorld.create(tmp_path / "world.json"))
    # Threads share no in-memory database, and a probe asks none.
    monkeypatch.setattr(socket, "create_connection", made.knock)
    monkeypatch.setattr("drivers.ssh.probe_host_key", made.probe_host_key)
    monkeypatch.setattr(probe, "default_pool", lambda: made)
    return made


@pytest.fixture
def boss() -> User:
    return make_user(Role.ADMIN, "boss")


def plan(by: User, lines: list[Line], defaults: Defaults = SSH) -> SourceBatch:
    return batches.plan_import(title="rack 4", lines=lines, defaults=defaults, by=by)


def worked(job: Job) -> Job:
    """As a worker leaves it."""
    run(str(job.pk))
    job.refresh_from_db()
    return job


def outcomes(batch: SourceBatch) -> list[tuple[str, str]]:
    return list(batch.drafts.order_by("position").values_list("name", "outcome"))


def sent_keys(batch: SourceBatch) -> dict[Any, str]:
    return {draft.pk: draft.presented["fingerprint"] for draft in batch.drafts.filter(outcome=Outcome.KEY)}


class TestPlan:
    def test_each_line_is_checked_by_the_rules_of_one_source(self, boss):
        make_source("known", transport="ssh", address="10.0.0.1")
        text = """name,address,transport,port,user,datacenter
good,10.0.0.9,,,,
there,10.0.0.1,,22,,
known,10.0.0.2,,,,
twice,10.0.0.9,ssh,22,,
good,10.0.0.3,,,,
loop,127.0.0.1,,,,
meta,169.254.169.254,,,,
uri,qemu+ext:///system?command=/x,,,,
unix,10.0.0.4,unix,,,
port,10.0.0.5,,99999,,
user,10.0.0.6,,,-oProxyCommand=x,
tcp,10.0.0.7,tcp,,root,
bidi\u202e,10.0.0.8,,,,
dc,10.0.0.10,,,,a\u202eb
none,,,,,
plain,10.0.0.1,tcp,,,"""
        batch = plan(boss, read_lines(text))
        assert [name for name, _outcome in outcomes(batch)] == ["good", "plain"]
        assert [one["line"] for one in batch.refused] == list(range(3, 17))
        assert all(one["message"].endswith(".") and one["text"] for one in batch.refused)
        assert "already read by the source known" in batch.refused[0]["message"]
        assert "by the source good" in batch.refused[2]["message"]

    def test_secrets_are_encrypted_and_nowhere_else(self, boss):
        batch = plan(boss, read_range("10.0.0.1-10.0.0.3"))
        assert {decrypt(draft.password_encrypted) for draft in batch.drafts.all()} == {"right"}
        assert {draft.username for draft in batch.drafts.all()} == {"root"}
        assert "right" not in str([*AuditRow.objects.values(), *SourceDraft.objects.values()])
        assert "right" not in repr(SSH)

    @pytest.mark.parametrize(
        "defaults", [Defaults(password="a\nb"), Defaults(private_key="x"), Defaults(password="a", private_key="b")]
    )
    def test_what_holds_for_all_refuses_all(self, boss, defaults):
        with pytest.raises(Invalid):
            plan(boss, read_range("10.0.0.1"), defaults)
        assert not SourceBatch.objects.exists()

    @pytest.mark.parametrize("role", [role for role in Role if role != Role.ADMIN])
    def test_only_administrators_of_sources_may(self, role):
        user, batch = make_user(role), SourceBatch.objects.create(kind="import", title="x")
        for act in (
            lambda: plan(user, []),
            lambda: batches.test_batch(batch=batch, by=user),
            lambda: batches.add_batch(batch=batch, by=user),
            lambda: batches.accept_host_keys(batch=batch, keys={}, by=user),
            lambda: batches.discard_batch(batch=batch, by=user),
            lambda: batches.plan_credentials(sources=[], username="", password="x", private_key="", by=user),
        ):
            with pytest.raises(Forbidden):
                act()
        assert SourceBatch.objects.count() == 1
        assert not Job.objects.exists()


class TestImport:
    def test_from_a_range_to_sources(self, boss, network):
        network.silent = {"10.0.0.2"}
        batch = plan(boss, read_range("10.0.0.1-10.0.0.3"))
        job = worked(batches.test_batch(batch=batch, by=boss))
        assert job.state == JobState.SUCCEEDED
        assert job.message == "host key to accept: 2, failed: 1."
        assert job.progress["percent"] == 100.0
        assert network.sessions == [], "nothing is sent before the host key is accepted"

        worked(batches.accept_host_keys(batch=batch, keys=sent_keys(batch), by=boss))
        names = dict(batch.drafts.values_list("address", "name"))
        assert sorted(names) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        assert "alpha" in names.values(), "the first one takes the name the host gives itself"
        assert batches.outcome_counts(batch)["ready"] == 2

        done = worked(batches.add_batch(batch=batch, by=boss))
        assert done.message == "added: 2, failed: 1."
        assert Source.objects.count() == 2
        for source in Source.objects.all():
            assert (decrypt(source.password_encrypted), source.host_key, source.username) == ("right", KEY, "root")
        assert not batch.drafts.filter(outcome=Outcome.DONE).exclude(password_encrypted="").exists()
        assert AuditRow.objects.filter(action="source.added", actor_name="boss").count() == 2

    def test_tcp_needs_no_key(self, boss, network):
        batch = plan(boss, read_range("10.0.0.1"), Defaults(transport="tcp"))
        worked(batches.test_batch(batch=batch, by=boss))
        assert batches.outcome_counts(batch)["ready"] == 1

    def test_what_failed_is_tried_again_and_nothing_else(self, boss, network):
        network.silent = {"10.0.0.2"}
        batch = plan(boss, read_range("10.0.0.1-10.0.0.2"), Defaults(transport="tcp"))
        worked(batches.test_batch(batch=batch, by=boss))
        network.silent.clear()
        network.sessions.clear()
        worked(batches.test_batch(batch=batch, by=boss))
        assert [address for address, _password in network.sessions] == ["10.0.0.2"]
        with pytest.raises(Conflict, match="nothing left to test"):
            batches.test_batch(batch=batch, by=boss)

    def test_asked_twice_while_it_runs(self, boss):
        batch = plan(boss, read_range("10.0.0.1"))
        job = batches.test_batch(batch=batch, by=boss)
        with pytest.raises(AlreadyOpen) as caught:
            batches.test_batch(batch=batch, by=boss)
        assert caught.value.job == job

    def test_a_worker_that_dies_leaves_the_rest_to_the_next_one(self, boss, network, monkeypatch):
        batch = plan(boss, read_range("10.0.0.1-10.0.0.4"), Defaults(transport="tcp"))
        worked(batches.test_batch(batch=batch, by=boss))
        job, add, added = batches.add_batch(batch=batch, by=boss), batch_runner._add, list[str]()

        def dies(draft: SourceDraft, *, by: Any) -> None:
            if len(added) == 2:
                added.append("dead")
                raise RuntimeError("killed")
            added.append(draft.address)
            add(draft, by=by)

        monkeypatch.setattr(batch_runner, "_add", dies)
        run(str(job.pk))
        job.refresh_from_db()
        assert (job.is_open, Source.objects.count()) == (True, 2)
        Job.objects.update(lease_until=None)  # it ran out
        worked(job)
        assert job.state == JobState.SUCCEEDED
        assert sorted(Source.objects.values_list("address", flat=True)) == [f"10.0.0.{n}" for n in (1, 2, 3, 4)]
        assert AuditRow.objects.filter(action="source.added").count() == 4

    def test_no_address_twice_however_often_it_is_imported(self, boss, network):
        first, second = (plan(boss, read_range("10.0.0.1-10.0.0.2"), Defaults(transport="tcp")) for _ in range(2))
        for batch in (first, second):
            worked(batches.test_batch(batch=batch, by=boss))
        worked(batches.add_batch(batch=first, by=boss))
        worked(batches.add_batch(batch=second, by=boss))
        assert Source.objects.count() == 2
        assert {draft.outcome for draft in second.drafts.all()} == {Outcome.FAILED}
        assert "already" in second.drafts.get(position=1).message

    def test_another_key_than_the_one_seen_is_not_accepted(self, boss, network):
        batch = plan(boss, read_range("10.0.0.1"))
        worked(batches.test_batch(batch=batch, by=boss))
        (pk,) = sent_keys(batch)
        for keys in ({pk: fingerprint(OTHER_KEY)}, {new_id(): fingerprint(KEY)}):
            with pytest.raises(Conflict, match="not the host keys"):
                batches.accept_host_keys(batch=batch, keys=keys, by=boss)
        with pytest.raises(Invalid):
            batches.accept_host_keys(batch=batch, keys={}, by=boss)
        assert batch.drafts.get().host_key == ""

    def test_who_lost_the_right_meanwhile_adds_nothing(self, boss, network):
        batch = plan(boss, read_range("10.0.0.1"), Defaults(transport="tcp"))
        worked(batches.test_batch(batch=batch, by=boss))
        job = batches.add_batch(batch=batch, by=boss)
        User.objects.update(role=Role.VIEWER)
        assert worked(job).state == JobState.FAILED
        assert not Source.objects.exists()

    def test_discarded_while_a_task_waits(self, boss, network):
        batch = plan(boss, read_range("10.0.0.1"))
        job = batches.test_batch(batch=batch, by=boss)
        batches.discard_batch(batch=batch, by=boss)
        batches.discard_batch(batch=batch, by=boss)
        assert worked(job).state == JobState.FAILED
        assert not SourceDraft.objects.exists()
        with pytest.raises(Conflict, match="is gone"):
            batches.add_batch(batch=batch, by=boss)

    def test_cancelled_it_keeps_what_was_tried(self, boss, network, monkeypatch):
        batch = plan(boss, read_range("10.0.0.1-10.0.0.3"), Defaults(transport="tcp"))
        keep, kept = batch_runner._keep, list[SourceDraft]()

        def cancelled_after_one(draft: SourceDraft, tried: Any) -> None:
            if kept:
                raise CancelRequested
            kept.append(draft)
            keep(draft, tried)

        monkeypatch.setattr(batch_runner, "_keep", cancelled_after_one)
        job = worked(batches.test_batch(batch=batch, by=boss))
        assert job.state == JobState.CANCELLED
        counts = batches.outcome_counts(batch)
        assert (counts["ready"], counts["new"]) == (1, 2)

    def test_cancelled_before_it_began(self, boss):
        batch = plan(boss, read_range("10.0.0.1"))
        job = request_cancel(job=batches.test_batch(batch=batch, by=boss), by=boss)
        assert job.state == JobState.CANCELLED

    def test_nothing_is_kept_for_longer_than_a_day(self, boss):
        batch = plan(boss, read_range("10.0.0.1"))
        batches.expire_batches()
        assert SourceBatch.objects.count() == 1
        batches.expire_batches(batch.created_at + services.KEEP_DRAFTS * 2)
        assert not SourceBatch.objects.exists()
        assert not SourceDraft.objects.exists()

    def test_a_name_from_a_host_is_checked_like_any_other(self, boss, network):
        batch = plan(boss, read_range("10.0.0.1"))
        draft = batch.drafts.get()
        for name, expected in (("\u202eevil", "10.0.0.1"), ("", "10.0.0.1"), ("x" * 101, "10.0.0.1"), ("kvm", "kvm")):
            assert batch_runner._name_of(draft, name) == expected
        make_source("kvm")
        assert batch_runner._name_of(draft, "kvm") == "10.0.0.1"


class TestCredentials:
    def sources(self, count: int = 2) -> list[Source]:
        old = encrypt("old")
        return [
            make_source(
                f"s{number}",
                transport="ssh",
                address=f"10.0.0.{number}",
                username="root",
                host_key=KEY,
                password_encrypted=old,
            )
            for number in range(1, count + 1)
        ]

    def replace(
        self, by: User, sources: list[Source], password: str = "right", username: str = ""
    ) -> tuple[SourceBatch, Job]:
        ids = [source.pk for source in sources]
        batch, job = batches.plan_credentials(sources=ids, username=username, password=password, private_key="", by=by)
        return batch, worked(job)

    def passwords(self) -> list[str]:
        return [decrypt(source.password_encrypted) for source in Source.objects.order_by("name")]

    def test_they_replace_the_old_ones_where_they_work(self, boss, network):
        network.silent = {"10.0.0.2"}
        batch, job = self.replace(boss, self.sources(3), username="op")
        assert job.message == "replaced: 2, failed: 1."
        assert self.passwords() == ["right", "old", "right"]
        assert list(Source.objects.order_by("name").values_list("username", flat=True)) == ["op", "root", "op"]
        assert AuditRow.objects.filter(action="source.credentials_changed", actor_name="boss").count() == 2
        failed = batch.drafts.get(outcome=Outcome.FAILED)
        assert "does not answer" in failed.message

    def test_wrong_ones_replace_nothing(self, boss, network):
        batch, job = self.replace(boss, self.sources(), password="wrong")
        assert self.passwords() == ["old", "old"]
        assert job.message == "failed: 2."
        assert "wrong" not in str(list(batch.drafts.values("message")))

    def test_a_source_that_was_moved_meanwhile_keeps_its_own(self, boss, network):
        (source,) = self.sources(1)
        batch, job = batches.plan_credentials(
            sources=[source.pk], username="", password="right", private_key="", by=boss
        )
        Source.objects.update(address="10.0.0.99")
        worked(job)
        assert self.passwords() == ["old"]
        assert "meanwhile" in batch.drafts.get().message

    def test_a_removed_source_is_said(self, boss, network):
        (source,) = self.sources(1)
        batch, job = batches.plan_credentials(
            sources=[source.pk], username="", password="right", private_key="", by=boss
        )
        source.delete()
        worked(job)
        assert batch.drafts.get().outcome == Outcome.FAILED

    def test_what_cannot_be_replaced_is_refused_at_once(self, boss):
        plain = make_source("plain")
        wrong: list[dict[str, Any]] = [
            {"sources": []},
            {"sources": [plain.pk]},
            {"sources": [new_id()]},
            {"sources": [plain.pk], "password": ""},
            {"sources": [plain.pk], "username": "-x"},
        ]
        for values in wrong:
            words: dict[str, Any] = {"username": "", "password": "x", "private_key": "", "by": boss, **values}
            with pytest.raises((Invalid, Conflict)):
                batches.plan_credentials(**words)
        assert not Job.objects.exists()

    def test_a_host_key_that_changed_fails_and_nothing_is_sent(self, boss, network):
        self.sources(1)
        Source.objects.update(host_key=OTHER_KEY)
        batch, _job = self.replace(boss, list(Source.objects.all()))
        assert network.sessions == []
        assert fingerprint(KEY) in batch.drafts.get().message

    def test_with_the_ca_an_accepted_certificate_is_forgotten(self, boss, network, monkeypatch):
        monkeypatch.setattr("drivers.tls.probe_certificate", lambda _endpoint: HostKeyFact(PIN, fingerprint(PIN)))
        source = make_source("s1", transport="tls", address="10.0.0.1", host_key=PIN)
        with_ca = {**NO_CA, "ca_certificate": CA.pem}
        worked(batches.plan_credentials(sources=[source.pk], by=boss, **with_ca)[1])
        source.refresh_from_db()
        assert (source.host_key, decrypt(source.ca_certificate_encrypted)) == ("", CA.pem)

    def test_without_the_ca_an_older_accepted_certificate_does_not_count(self, boss, network, monkeypatch):
        monkeypatch.setattr("drivers.tls.probe_certificate", lambda _endpoint: HostKeyFact(PIN, fingerprint(PIN)))
        ca = encrypt(CA.pem)
        source = make_source("s1", transport="tls", address="10.0.0.1", host_key=PIN, ca_certificate_encrypted=ca)
        batch, job = batches.plan_credentials(sources=[source.pk], by=boss, **NO_CA)
        worked(job)
        source.refresh_from_db()
        assert source.ca_certificate_encrypted == ca, "the old sign-in stays"
        assert "accepted by a person" in batch.drafts.get().message
        assert network.sessions == []


def test_an_unreachable_name_fails_alone(boss, network, monkeypatch):
    def unknown(endpoint: Any) -> Any:
        raise Unreachable("The name is not known.")

    monkeypatch.setattr(probe, "pinned", unknown)
    batch = plan(boss, read_lines("kvm-01.example.net"))
    job = worked(batches.test_batch(batch=batch, by=boss))
    assert job.state == JobState.SUCCEEDED
    assert batch.drafts.get().message == "The name is not known."
