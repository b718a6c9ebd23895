"""The endpoints. Each asks the database only: no endpoint opens a hypervisor connection."""

from typing import Any
from uuid import UUID

from django.http import Http404
from django.shortcuts import get_object_or_404
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.models import require
from access.roles import Action
from api.formats import Body, read_body
from api.lists import read_page
from api.resources import DATASTORES, GUESTS, HOSTS, MIGRATIONS, TASKS, VOLUMES, Resource, tell_volumes
from api.serializers import migration_detail_json, target_json, task_detail_json
from drivers.types import PowerAction
from hosts.services import set_maintenance
from inventory.power import submit_power
from migrations.selectors import targets_for
from migrations.services import request_cancel as cancel_migration
from migrations.services import submit_migration
from operations.services import request_cancel as cancel_job
from storage.selectors import volumes_of


class Endpoint(APIView):
    """What all endpoints share."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"] = "no-store"
        return answer


class ListEndpoint(Endpoint):
    resource: Resource[Any] = GUESTS  # each URL names its own

    def get(self, request: Request) -> Response:
        page, following = read_page(self.resource.rows(request.user), self.resource.shape_for(request.user), request)
        return Response({"results": self.resource.page_json(page.rows, request.user), "next": following})


class DetailEndpoint(Endpoint):
    resource: Resource[Any] = GUESTS

    def get(self, request: Request, id: UUID) -> Response:  # noqa: A002 - the name in the URL
        return Response(self.resource.one_json(_visible(self.resource, request, id), request.user))


class DatastoreVolumes(Endpoint):
    def get(self, request: Request, id: UUID) -> Response:  # noqa: A002
        datastore = _visible(DATASTORES, request, id)
        page, following = read_page(volumes_of(datastore, user=request.user), VOLUMES, request)
        return Response({"results": list(tell_volumes(page.rows, datastore, request.user)), "next": following})


class GuestTargets(Endpoint):
    def get(self, request: Request, id: UUID) -> Response:  # noqa: A002
        guest = _visible(GUESTS, request, id)
        targets = targets_for(guest=guest, user=request.user)
        return Response({"results": [target_json(target) for target in targets], "next": None})


class PowerBody(Body):
    action: PowerAction


class GuestPower(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        require(request.user, Action.POWER)
        guest = _visible(GUESTS, request, id)
        body = read_body(request, PowerBody)
        job = submit_power(guest=guest, action=body.action, by=request.user)
        return Response(task_detail_json(job), status=status.HTTP_202_ACCEPTED)


class MaintenanceBody(Body):
    on: bool


class HostMaintenance(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        require(request.user, Action.MAINTENANCE)
        host = _visible(HOSTS, request, id)
        body = read_body(request, MaintenanceBody)
        changed = set_maintenance(host=host, on=body.on, by=request.user)
        return Response(HOSTS.one_json(changed, request.user))


class MigrationBody(Body):
    guest: UUID
    target_host: UUID
    live: bool = True


class Migrations(ListEndpoint):
    resource = MIGRATIONS

    def post(self, request: Request) -> Response:
        require(request.user, Action.MIGRATE)
        body = read_body(request, MigrationBody)
        migration = submit_migration(
            guest=_visible(GUESTS, request, body.guest),
            target_host=_visible(HOSTS, request, body.target_host),
            live=body.live,
            by=request.user,
        )
        return Response(migration_detail_json(migration), status=status.HTTP_202_ACCEPTED)


class MigrationCancel(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        require(request.user, Action.CANCEL)
        migration = _visible(MIGRATIONS, request, id)
        cancelled = cancel_migration(migration=migration, by=request.user)
        return Response(migration_detail_json(cancelled), status=status.HTTP_202_ACCEPTED)


class TaskCancel(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        require(request.user, Action.CANCEL)
        job = cancel_job(job=_visible(TASKS, request, id), by=request.user)
        return Response(task_detail_json(job), status=status.HTTP_202_ACCEPTED)


class Unknown(Endpoint):
    """Everything else under /api/v1/: a script gets JSON, also when it mistyped."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.clear()
        return super().dispatch(request, *args, **kwargs)

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        raise Http404


def _visible(resource: Resource[Any], request: Request, identifier: UUID) -> Any:
    """One object this user may see. Raises: Http404."""
    return get_object_or_404(resource.rows(request.user), pk=identifier)
