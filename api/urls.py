"""The endpoints of /api/v1/."""

from django.urls import path, re_path
from django.urls.resolvers import URLPattern

from api.resources import DATASTORES, GUESTS, HOSTS, MIGRATIONS, SOURCES, SWITCHES, TASKS
from api.search import SearchEndpoint
from api.views import (
    DatastoreVolumes,
    DetailEndpoint,
    GuestPower,
    GuestTargets,
    HostMaintenance,
    ListEndpoint,
    MigrationCancel,
    Migrations,
    TaskCancel,
    Unknown,
)

app_name = "api"

RESOURCES = {
    "sources": SOURCES,
    "hosts": HOSTS,
    "guests": GUESTS,
    "datastores": DATASTORES,
    "switches": SWITCHES,
    "tasks": TASKS,
    "migrations": MIGRATIONS,
}

urlpatterns: list[URLPattern] = [
    path("migrations/", Migrations.as_view(), name="migrations"),
    *(
        path(f"{name}/", ListEndpoint.as_view(resource=resource), name=name)
        for name, resource in RESOURCES.items()
        if name != "migrations"
    ),
    *(
        path(f"{name}/<uuid:id>/", DetailEndpoint.as_view(resource=resource), name=f"{name}-detail")
        for name, resource in RESOURCES.items()
    ),
    path("datastores/<uuid:id>/volumes/", DatastoreVolumes.as_view(), name="datastore-volumes"),
    path("search/", SearchEndpoint.as_view(), name="search"),
    path("guests/<uuid:id>/targets/", GuestTargets.as_view(), name="guest-targets"),
    path("guests/<uuid:id>/power/", GuestPower.as_view(), name="guest-power"),
    path("hosts/<uuid:id>/maintenance/", HostMaintenance.as_view(), name="host-maintenance"),
    path("migrations/<uuid:id>/cancel/", MigrationCancel.as_view(), name="migration-cancel"),
    path("tasks/<uuid:id>/cancel/", TaskCancel.as_view(), name="task-cancel"),
    re_path(r"^(?:.*/)?$", Unknown.as_view(), name="unknown"),
]
