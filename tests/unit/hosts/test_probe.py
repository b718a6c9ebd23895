"""Testing a source: each step only when the one before worked; nothing secret before the host key is accepted."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import Any

import pytest

from core.crypto import encrypt
from drivers.errors import AuthFailed, Unreachable
from drivers.fake.world import FakeWorld
from drivers.types import HostKeyFact, Transport
from hosts import probe, services
from hosts.certificates import presented_key
from hosts.models import Source, SourceDraft
from hosts.validation import fingerprint
from operations.models import Job, JobState
from operations.runtime import run
from tests.certificates import make
from tests.factories import make_user
from tests.world import open_here

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


PRESENTED = presented_key(make("kvm-9").pem)


class Network:
    """What the host presents, and what was sent to it."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.key = KEY
        self.knocks: list[tuple[str, int]] = []
        self.sessions: list[Any] = []
        self.refuses: Exception | None = None

    def knock(self, address: tuple[str, int], timeout: float) -> Any:
        self.knocks.append(address)
        if self.refuses:
            raise self.refuses
        return socket.socket()

    def probe_host_key(self, address: str, port: int, *, accepted: str = "") -> HostKeyFact:
        return HostKeyFact(self.key, fingerprint(self.key))

    @contextmanager
    def session(self, endpoint: Any, *, deadline_s: float) -> Any:
        self.sessions.append(endpoint)
        if endpoint.password == "wrong":
            raise AuthFailed("The host refused the sign-in.")
        source = Source(kind="fake", transport="fake", uri=self.world.uri("alpha"))
        with open_here(source) as session:
            yield session


@pytest.fixture
def network(tmp_path, monkeypatch) -> Network:
    made = Network(FakeWorld.create(tmp_path / "world.json"))
    monkeypatch.setattr(socket, "create_connection", made.knock)
    monkeypatch.setattr("drivers.ssh.probe_host_key", made.probe_host_key)
    monkeypatch.setattr(probe, "default_pool", lambda: made)
    return made


def draft(**values: Any) -> SourceDraft:
    parts = {"name": "x", "kind": "libvirt", "transport": Transport.SSH, "address": "10.0.0.9", "username": "root"}
    return SourceDraft.objects.create(**{**parts, "password_encrypted": encrypt("right"), **values})


def by_tls(**values: Any) -> SourceDraft:
    return draft(transport=Transport.TLS, username="", password_encrypted="", **values)


def tried(source: SourceDraft | Source) -> Job:
    """The source's test, run to its end as a worker runs it."""
    job = services.test_source(source=source, by=make_user("admin", f"boss-{Job.objects.count()}"))
    run(str(job.pk))
    job.refresh_from_db()
    return job


def steps(job: Job) -> list[tuple[str, str]]:
    return [(step["name"], step["state"]) for step in job.progress["steps"]]


@pytest.mark.django_db(transaction=True)
class TestSteps:
    def test_an_unknown_host_key_is_a_question_and_nothing_was_sent(self, network):
        job = tried(draft())
        assert job.state == JobState.SUCCEEDED
        assert steps(job) == [("name", "done"), ("port", "done"), ("host_key", "question")]
        assert job.progress["host_key"]["fingerprint"] == fingerprint(KEY)
        assert not job.progress["ready"]
        assert network.sessions == []

    def test_with_the_accepted_key_everything_is_tried(self, network):
        job = tried(draft(host_key=KEY))
        assert [name for name, state in steps(job) if state == "done"] == [
            "name",
            "port",
            "host_key",
            "sign_in",
            "version",
        ]
        assert job.progress["ready"]
        assert job.state == JobState.SUCCEEDED
        assert "alpha" in job.progress["steps"][-1]["message"]
        assert [one.password for one in network.sessions] == ["right"]

    def test_a_changed_key_fails_and_tells_both(self, network):
        network.key = OTHER_KEY
        job = tried(draft(host_key=KEY))
        assert job.state == JobState.FAILED
        assert job.progress["host_key"]["accepted_fingerprint"] == fingerprint(KEY)
        assert job.progress["host_key"]["fingerprint"] == fingerprint(OTHER_KEY)
        assert network.sessions == []

    def test_a_certificate_is_asked_about_as_a_host_key_is(self, network, monkeypatch):
        """Without a CA: with what stands in it, and nothing is sent before somebody accepts it."""
        monkeypatch.setattr("drivers.tls.probe_certificate", lambda _endpoint: HostKeyFact(PRESENTED, "AA"))
        source = by_tls()
        job = tried(source)
        assert (job.state, steps(job)[-1]) == (JobState.SUCCEEDED, ("certificate", "question"))
        asked = job.progress["host_key"]
        assert (asked["key"], asked["certificate"]["subject"]) == (PRESENTED, "CN=kvm-9")
        assert network.sessions == []
        source.host_key = PRESENTED
        source.save()
        job = tried(source)
        assert (job.state, job.progress["ready"]) == (JobState.SUCCEEDED, True)
        assert [one.server_name for one in network.sessions] == ["10.0.0.9"]

    def test_a_changed_certificate_fails_and_tells_both(self, network, monkeypatch):
        monkeypatch.setattr("drivers.tls.probe_certificate", lambda _endpoint: HostKeyFact(PRESENTED, "AA"))
        job = tried(by_tls(host_key=presented_key(make("kvm-8").pem)))
        assert job.state == JobState.FAILED
        assert job.progress["host_key"]["accepted_fingerprint"]
        assert network.sessions == []

    def test_with_a_ca_nobody_is_asked(self, network, monkeypatch):
        """The sign-in has it verified."""
        monkeypatch.setattr("drivers.tls.probe_certificate", lambda _endpoint: HostKeyFact(PRESENTED, "AA"))
        job = tried(by_tls(ca_certificate_encrypted=encrypt(make("CA", ca=True).pem)))
        assert (job.state, job.progress["ready"]) == (JobState.SUCCEEDED, True)
        assert len(network.sessions) == 1

    def test_a_refused_sign_in(self, network):
        job = tried(draft(host_key=KEY, password_encrypted=encrypt("wrong")))
        assert (job.state, steps(job)[-1]) == (JobState.FAILED, ("sign_in", "failed"))
        assert "wrong" not in str(job.progress)

    def test_a_closed_port(self, network):
        network.refuses = ConnectionRefusedError(111, "raw detail")
        job = tried(draft())
        assert (job.state, steps(job)[-1]) == (JobState.FAILED, ("port", "failed"))
        assert "10.0.0.9" in job.message
        assert "raw detail" not in job.message

    @pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1"])
    def test_a_forbidden_address_is_not_even_knocked_at(self, network, address):
        job = tried(draft(address=address))
        assert (job.state, steps(job)) == (JobState.FAILED, [("name", "failed")])
        assert network.knocks == []

    def test_what_was_checked_is_what_is_connected_to(self, network, monkeypatch):
        answers = iter(["10.0.0.9", "127.0.0.1"])

        def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 0))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        job = tried(draft(address="kvm.example.org", transport=Transport.TCP, username="", password_encrypted=""))
        assert job.state == JobState.SUCCEEDED
        assert network.knocks == [("10.0.0.9", 16509)]
        assert [one.address for one in network.sessions] == ["10.0.0.9"]

    def test_a_draft_that_is_gone(self, network):
        source = draft()
        job = services.test_source(source=source, by=make_user("admin"))
        source.delete()
        run(str(job.pk))
        job.refresh_from_db()
        assert job.state == JobState.FAILED

    def test_unreadable_credentials(self, network):
        job = tried(draft(password_encrypted="rubbish"))
        assert job.state == JobState.FAILED
        assert network.knocks == []

    def test_a_driver_that_breaks_in_the_middle(self, network, monkeypatch):
        @contextmanager
        def session(endpoint: Any, *, deadline_s: float) -> Any:
            raise Unreachable("The host stopped answering.")
            yield

        monkeypatch.setattr(network, "session", session)
        job = tried(draft(host_key=KEY))
        assert (job.state, job.message) == (JobState.FAILED, "The host stopped answering.")
