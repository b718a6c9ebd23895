"""Every route, every role, every method, unknown and foreign objects, and requests from other sites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.models import ApiToken, User
from access.roles import Action, Role
from core.ids import new_id
from hosts.models import SourceBatch, SourceDraft
from migrations.models import GuestMigration
from operations.models import Job, JobState, JobStep
from tests.factories import (
    add_volume,
    make_cluster,
    make_datastore,
    make_folder,
    make_guest,
    make_host,
    make_source,
    make_switch,
    make_tag,
    make_upload,
    make_user,
)
from tests.web.routes import BY_NAME, EVERYBODY, ROUTES, Route, allowed, url_names

pytestmark = pytest.mark.django_db

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# Names of the URL conf that are no routes of their own.
CATCH_ALL = {"api:unknown"}


class World:
    """One object of each kind, and a user of each role."""

    def __init__(self) -> None:
        self.users = {role: make_user(role) for role in Role.values}
        self.user = make_user(Role.VIEWER, "somebody")
        self.source = make_source("rack-1")
        self.datacenter = self.source.datacenter
        self.cluster = make_cluster("rack", self.datacenter)
        self.host = make_host("kvm-01", self.source, cluster=self.cluster)
        self.other_host = make_host("kvm-02", self.source)
        self.guest = make_guest("db-07", self.host)
        self.folder = make_folder("web", None, self.datacenter)
        self.tag = make_tag("prod", self.guest)
        self.bare_guest = make_guest("bare", self.host)
        self.datastore = make_datastore("fast", (self.host, self.other_host))
        self.switch = make_switch("default", self.host)
        self.draft = SourceDraft.objects.create(name="new", kind="libvirt", transport="tcp", address="10.0.0.9")
        self.batch = SourceBatch.objects.create(kind="import", title="rack 4")
        self.task = self._job("power", JobState.RUNNING, {"action": "start"})
        self.migration = self._migration()
        self.upload = make_upload(self.users[Role.ADMIN])
        self.volume = add_volume(self.datastore, "free.qcow2")
        self.mount = self.datastore.mounts.get(host=self.host)

    def _job(self, kind: str, state: str, parameters: dict[str, Any]) -> Job:
        return Job.objects.create(
            kind=kind,
            state=state,
            target_kind="guest",
            target_id=str(new_id()),
            target_name="db-07",
            parameters=parameters,
            submitted_by_name="somebody",
            submitted_at=timezone.now(),
            lease_until=timezone.now() + timedelta(minutes=1),
        )

    def _migration(self) -> GuestMigration:
        job = self._job("migration", JobState.QUEUED, {"target_host_name": "kvm-02"})
        JobStep.objects.create(job=job, at=job.submitted_at, state=job.state)
        return GuestMigration.objects.create(
            job=job,
            guest=self.guest,
            guest_name="db-07",
            guest_uuid=self.guest.uuid,
            source_host=self.host,
            source_host_name="kvm-01",
            target_host=self.other_host,
            target_host_name="kvm-02",
            stamp=str(job.pk),
        )

    def value(self, name: str, role: str | None) -> Any:
        if name.startswith("'"):
            return name[1:]
        if name == "own_token":
            return self.token_of(self.users[role or Role.VIEWER]).pk
        return getattr(self, name).pk

    def token_of(self, user: User) -> ApiToken:
        key = str(user.pk)
        return ApiToken.objects.get_or_create(digest=key, defaults={"user": user, "name": "x", "prefix": "gst_x"})[0]

    def address(self, route: Route, role: str | None, instead: UUID | None = None) -> str:
        kwargs = {
            name: instead if instead and not value.startswith("'") else self.value(value, role)
            for name, value in route.kwargs.items()
        }
        return reverse(route.name, kwargs=kwargs)

    def data(self, route: Route) -> dict[str, Any]:
        return {name: self._filled(value) for name, value in route.data.items()}

    def _filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        return str(getattr(self, value[1:-1]).pk) if isinstance(value, str) and value.startswith("{") else value

    def ask(self, route: Route, method: str, role: str | None, instead: UUID | None = None) -> HttpResponseBase:
        client = Client(raise_request_exception=False)
        if role:
            client.force_login(self.users[role])
        kwargs: dict[str, Any] = {}
        if method not in ("GET", "HEAD", "OPTIONS"):
            kwargs["data"] = self.data(route)
            if route.is_api or method != "POST":
                kwargs["content_type"] = "application/json"
        answer: HttpResponseBase = getattr(client, method.lower())(self.address(route, role, instead), **kwargs)
        return answer


@pytest.fixture
def world(db: None) -> World:
    return World()


@contextmanager
def undone() -> Iterator[None]:
    """What one request changed is not there for the next."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def names(routes: list[Route]) -> list[str]:
    return [route.name for route in routes]


def test_every_route_is_in_the_table():
    assert sorted(set(url_names()) - CATCH_ALL) == sorted(BY_NAME)
    assert len(BY_NAME) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=names(ROUTES))
def test_each_role_gets_exactly_what_it_may(world, route):
    wrong = []
    for role in (None, *Role.values):
        for method in ("GET", "POST"):
            need = route.need(method)
            if need is None:
                continue
            with undone():
                status = world.ask(route, method, role).status_code
            if not fits(status, route, allowed(need, role), role):
                wrong.append((role, method, status))
    assert wrong == []


def fits(status: int, route: Route, may: bool, role: str | None) -> bool:
    if may:
        return status < 500 and status not in (401, 403, 404, 405)
    if role is None:
        return status == (401 if route.is_api else 302)
    return status == 403


@pytest.mark.parametrize("route", ROUTES, ids=names(ROUTES))
def test_other_methods_are_not_allowed(world, route):
    wrong = []
    for method in METHODS:
        known = route.need("GET") if method == "HEAD" else route.need(method)
        if known is not None or (method == "OPTIONS" and route.name == "events"):
            continue
        with undone():
            status = world.ask(route, method, Role.ADMIN).status_code
        if status != 405:
            wrong.append((method, status))
    assert wrong == []


WITH_OBJECT = [route for route in ROUTES if any(not value.startswith("'") for value in route.kwargs.values())]


@pytest.mark.parametrize("route", WITH_OBJECT, ids=names(WITH_OBJECT))
def test_an_unknown_object_is_not_found(world, route):
    unknown = new_id()
    for role in Role.values:
        for method in ("GET", "POST"):
            need = route.need(method)
            if need is None:
                continue
            with undone():
                status = world.ask(route, method, role, instead=unknown).status_code
            assert status == 404 or (status == 403 and not allowed(need, role)), (role, method, status)


@pytest.mark.parametrize("role", Role.values)
def test_anothers_token_is_not_found(world, role):
    """Not even for who manages users: tokens are their owner's."""
    foreign = world.token_of(world.user)
    client = Client()
    client.force_login(world.users[role])
    assert client.post(reverse("token_revoke", args=[foreign.pk])).status_code == 404
    assert ApiToken.objects.filter(pk=foreign.pk).exists()


WRITING = [route for route in ROUTES if route.post is not None]


@pytest.mark.parametrize("route", WRITING, ids=names(WRITING))
def test_a_form_of_another_site_changes_nothing(world, route):
    before = snapshot()
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.users[Role.ADMIN])
    address = world.address(route, Role.ADMIN)
    before = snapshot()
    for content_type in ("application/x-www-form-urlencoded", "text/plain", "application/json"):
        answer = client.post(address, data=b"{}", content_type=content_type)
        assert answer.status_code == 403, content_type
    assert snapshot() == before


def snapshot() -> dict[str, list[Any]]:
    """Every row of ours, sessions aside."""
    from django.apps import apps
    from django.conf import settings

    models = [model for label in settings.LOCAL_APPS for model in apps.get_app_config(label).get_models()]
    return {model.__name__: sorted(model._default_manager.values_list(), key=str) for model in models}


READING = [route for route in ROUTES if route.get is not None and route.name != "events"]


@pytest.mark.parametrize("route", READING, ids=names(READING))
def test_looking_changes_nothing(world, route):
    world.token_of(world.users[Role.ADMIN])
    client = Client()
    client.force_login(world.users[Role.ADMIN])
    before = snapshot()
    client.get(world.address(route, Role.ADMIN))
    after = snapshot()
    if route.get is Action.EXPORT:  # that somebody took data along is written down, and nothing else
        assert len(after.pop("AuditRow")) == len(before.pop("AuditRow")) + 1
    assert after == before


@pytest.mark.parametrize("route", READING, ids=names(READING))
def test_answers_are_kept_by_nobody_and_framed_nowhere(world, route):
    answer = world.ask(route, "GET", Role.ADMIN)
    if route.get != EVERYBODY or route.name != "healthz":
        assert "no-store" in answer.get("Cache-Control", ""), answer.status_code
    assert answer["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert answer["X-Content-Type-Options"] == "nosniff"
