"""The pages."""

from django.urls import path

from console import (
    access,
    audit,
    batches,
    folders,
    guests,
    home,
    hosts,
    load,
    maintenance,
    migrations,
    networks,
    organization,
    places,
    power,
    recent,
    relocation,
    search,
    sources,
    storage,
    stream,
    tasks,
    tree,
)
from console.health import healthz

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    *access.urlpatterns,
    *sources.urlpatterns,
    *batches.urlpatterns,
    *relocation.urlpatterns,
    *audit.urlpatterns,
    *search.urlpatterns,
    *organization.urlpatterns,
    *folders.urlpatterns,
    *places.urlpatterns,
    path("", home.home, name="home"),
    path("events/", stream.events, name="events"),
    path("tree/<slug:name>/", tree.tree, name="tree"),
    *(
        path(f"{kind}s/<uuid:pk>/load/export/", load.load_export, {"kind": kind}, name=f"{kind}_load_export")
        for kind in load.CHARTS
    ),
    path("hosts/", hosts.host_list, name="host_list"),
    path("hosts/<uuid:host_id>/maintenance/", maintenance.host_maintenance, name="host_maintenance"),
    path("hosts/<uuid:pk>/", hosts.host_page, name="host_page"),
    path("hosts/<uuid:pk>/<slug:tab>/", hosts.host_page, name="host_tab"),
    path("guests/", guests.guest_list, name="guest_list"),
    path("guests/<uuid:pk>/", guests.guest_page, name="guest_page"),
    path("datastores/", storage.datastore_list, name="datastore_list"),
    path("datastores/<uuid:pk>/", storage.datastore_page, name="datastore_page"),
    path("datastores/<uuid:pk>/<slug:tab>/", storage.datastore_page, name="datastore_tab"),
    path("switches/", networks.switch_list, name="switch_list"),
    path("switches/<uuid:pk>/", networks.switch_page, name="switch_page"),
    path("switches/<uuid:pk>/<slug:tab>/", networks.switch_page, name="switch_tab"),
    path("tasks/recent/", recent.recent_tasks, name="recent_tasks"),
    path("tasks/", tasks.task_list, name="task_list"),
    path("tasks/<uuid:task_id>/", tasks.task_page, name="task_page"),
    path("tasks/<uuid:task_id>/live/", tasks.task_live, name="task_live"),
    path("tasks/<uuid:task_id>/cancel/", tasks.task_cancel, name="task_cancel"),
    path("migrations/", migrations.migration_list, name="migration_list"),
    path("migrations/<uuid:migration_id>/", migrations.migration_page, name="migration_page"),
    path("migrations/<uuid:migration_id>/live/", migrations.migration_live, name="migration_live"),
    path("guests/<uuid:guest_id>/actions/", power.guest_actions, name="guest_actions"),
    path("guests/<uuid:guest_id>/power/<slug:action>/", power.guest_power, name="guest_power"),
    path("guests/<uuid:guest_id>/migrate/", migrations.guest_migrate, name="guest_migrate"),
    # An object's tabs come last: an act such as guests/<id>/migrate/ is no tab.
    path("guests/<uuid:pk>/<slug:tab>/", guests.guest_page, name="guest_tab"),
]
