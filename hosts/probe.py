"""Trying a source, step by step, as a job: only in workers.

The job's progress is what the dialog shows: `steps` with name, state and message; `host_key` with the key presented
and both fingerprints when a person has to decide on it, and what stands in it when it is a certificate; `ready` when
everything worked.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.utils.translation import gettext as _

from core.crypto import UnreadableSecret
from drivers.errors import AuthFailed, DriverError, Unreachable
from drivers.isolation import default_pool
from drivers.types import Endpoint, HostFact, HostKeyFact, Transport
from hosts.certificates import describe_presented
from hosts.models import Connection, Source, SourceDraft
from hosts.validation import NETWORK_TRANSPORTS, fingerprint, is_certificate, pinned
from hosts.words import sentence
from operations.errors import CancelRequested
from operations.handle import JobHandle
from operations.models import JobState

PORT_SECONDS = 5.0
SESSION_SECONDS = 30.0


class HostKeyQuestion(Exception):
    """A person must accept the presented host key or certificate before credentials are sent to it."""


class Story:
    """The steps so far, shown in the job's progress."""

    def __init__(self, show: Callable[[dict[str, Any]], object]) -> None:
        self.progress: dict[str, Any] = {"steps": [], "ready": False}
        self._show = show

    @contextmanager
    def step(self, name: str, label: str) -> Iterator[dict[str, str]]:
        """One step; it fails with the error's own sentence."""
        entry = {"name": name, "label": label, "state": "running", "message": ""}
        self.progress["steps"].append(entry)
        self._show(self.progress)
        try:
            yield entry
        except DriverError as error:
            entry.update(state="failed", message=sentence(error))
            raise
        except HostKeyQuestion:
            entry["state"] = "question"
            raise
        entry["state"] = "done"
        self._show(self.progress)

    def ask_about_key(self, presented: HostKeyFact, accepted: str) -> None:
        self.progress["host_key"] = {
            "key": presented.key,
            "fingerprint": presented.fingerprint,
            "accepted_fingerprint": fingerprint(accepted),
            "certificate": describe_presented(presented.key) if is_certificate(presented.key) else {},
        }


def run(handle: JobHandle) -> None:
    """The runner of `source_test`. Each attempt starts from the beginning: it changes nothing anywhere."""
    story = Story(lambda progress: handle.progress({**progress}))
    if handle.state is JobState.CANCELLING:  # asked while the worker before this one died
        handle.switch(JobState.CANCELLED, _("The test was cancelled."))
        return
    try:
        if handle.state is JobState.QUEUED:
            handle.switch(JobState.RUNNING)
        ended, message = _outcome(handle, story)
    except CancelRequested:
        ended, message = JobState.CANCELLED, _("The test was cancelled.")
    try:
        handle.switch(ended, message, progress=story.progress)
    except CancelRequested:
        handle.switch(JobState.CANCELLED, _("The test was cancelled."), progress=story.progress)


def _outcome(handle: JobHandle, story: Story) -> tuple[JobState, str]:
    connection = _connection(handle.job.target_kind, handle.job.target_id)
    if connection is None:
        return JobState.FAILED, _("This source is gone.")
    try:
        probe(connection, story)
    except HostKeyQuestion:
        return _key_outcome(connection)
    except DriverError as error:
        return JobState.FAILED, sentence(error)
    return JobState.SUCCEEDED, _("Everything works.")


def _key_outcome(connection: Connection) -> tuple[JobState, str]:
    if connection.transport == Transport.TLS:
        return _certificate_outcome(connection)
    if connection.host_key:
        return JobState.FAILED, _(
            "The host key is not the one that was accepted: the host was set up anew, or somebody is in between. "
            "Compare both fingerprints on the host itself before you accept the new key."
        )
    return JobState.SUCCEEDED, _("The host answers. Compare its host key's fingerprint and accept it, then go on.")


def _certificate_outcome(connection: Connection) -> tuple[JobState, str]:
    if connection.host_key:
        return JobState.FAILED, _(
            "The certificate is not the one that was accepted: the host got a new one, or somebody is in between. "
            "Compare both fingerprints on the host itself before you accept the new one."
        )
    return JobState.SUCCEEDED, _("The host answers. Compare its certificate's fingerprint and accept it, then go on.")


def _connection(kind: str, identifier: str) -> Connection | None:
    model: type[Source] | type[SourceDraft] = Source if kind == "source" else SourceDraft
    return model.objects.filter(pk=identifier).first()


def probe(connection: Connection, story: Story) -> list[str]:
    """Name, port, host key or certificate, sign-in, version: each is tried only when the one before worked.

    Returns the hosts' names.

    Raises: DriverError; HostKeyQuestion.
    """
    endpoint = _readable_endpoint(connection)
    if endpoint.transport in NETWORK_TRANSPORTS:
        endpoint = _reach(endpoint, story)
    if endpoint.transport is Transport.SSH:
        _check_host_key(endpoint, story)
    if endpoint.transport is Transport.TLS:
        _check_certificate(endpoint, story)
    with story.step("sign_in", _("Sign in")), default_pool().session(endpoint, deadline_s=SESSION_SECONDS) as session:
        snapshot = session.snapshot()
    with story.step("version", _("Read the version")) as entry:
        entry["message"] = ", ".join(map(_describe, snapshot.hosts))
    story.progress["ready"] = True
    return [host.name for host in snapshot.hosts]


def _readable_endpoint(connection: Connection) -> Endpoint:
    try:
        return connection.endpoint()
    except UnreadableSecret as error:
        raise AuthFailed(_("The stored credentials cannot be read on this server; enter them again.")) from error


def _reach(endpoint: Endpoint, story: Story) -> Endpoint:
    with story.step("name", _("Find the address")) as entry:
        endpoint = pinned(endpoint)
        entry["message"] = endpoint.address
    with story.step("port", _("Reach the port")) as entry:
        _knock(endpoint)
        entry["message"] = str(endpoint.port)
    return endpoint


def _knock(endpoint: Endpoint) -> None:
    try:
        socket.create_connection((endpoint.address, endpoint.port or 0), timeout=PORT_SECONDS).close()
    except OSError as error:
        raise Unreachable(
            _("Port %(port)d of %(address)s does not answer; check the address, the service and the firewalls.")
            % {"port": endpoint.port or 0, "address": endpoint.address}
        ) from error


def _check_host_key(endpoint: Endpoint, story: Story) -> None:
    from drivers.ssh import probe_host_key

    with story.step("host_key", _("Check the host key")) as entry:
        presented = probe_host_key(endpoint.address, endpoint.port or 0, accepted=endpoint.host_key)
        entry["message"] = presented.fingerprint
        if presented.key != endpoint.host_key:
            story.ask_about_key(presented, endpoint.host_key)
            raise HostKeyQuestion


def _check_certificate(endpoint: Endpoint, story: Story) -> None:
    """Where a CA is given, the sign-in has it verified; else a person decides."""
    from drivers.tls import probe_certificate

    with story.step("certificate", _("Check the certificate")) as entry:
        presented = probe_certificate(endpoint)
        entry["message"] = presented.fingerprint
        if not endpoint.ca_certificate and presented.key != endpoint.host_key:
            story.ask_about_key(presented, endpoint.host_key)
            raise HostKeyQuestion


def _describe(host: HostFact) -> str:
    return f"{host.name}: {host.hypervisor} {host.hypervisor_version}, libvirt {host.manager_version}".strip()
