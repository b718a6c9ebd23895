"""The endpoints of /api/v1/."""

from django.urls import path, re_path
from django.urls.resolvers import URLPattern

from api.batches import Batch, BatchAccept, BatchAdd, BatchDiscard, BatchTest, SourceCredentials, SourceImport
from api.building import Guests, Switches
from api.building import urlpatterns as building
from api.guest_acts import urlpatterns as guest_acts
from api.load import LoadEndpoint
from api.organization import (
    ClusterAssign,
    ClusterDelete,
    ClusterRelease,
    ClusterRename,
    Clusters,
    DatacenterDelete,
    DatacenterRename,
    Datacenters,
    FolderAssign,
    FolderDelete,
    FolderRelease,
    FolderRename,
    Folders,
)
from api.relocation import Relocate, RelocationPlan
from api.resources import (
    CLUSTERS,
    DATACENTERS,
    DATASTORES,
    FOLDERS,
    GUESTS,
    HOSTS,
    MIGRATIONS,
    MOVES,
    SOURCES,
    SWITCHES,
    TAGS,
    TASKS,
)
from api.search import SearchEndpoint
from api.tags import TagChange, TagDelete, Tags, TagsOfMany
from api.uploads import UploadDetail, UploadDiscard, UploadPiece, Uploads
from api.views import (
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
    "datacenters": DATACENTERS,
    "clusters": CLUSTERS,
    "folders": FOLDERS,
    "tags": TAGS,
}
# What can be added by a POST to its list.
ADDED = {
    "migrations": Migrations,
    "datacenters": Datacenters,
    "clusters": Clusters,
    "folders": Folders,
    "tags": Tags,
    "guests": Guests,
    "switches": Switches,
}

urlpatterns: list[URLPattern] = [
    *(
        path(f"{name}/", ADDED.get(name, ListEndpoint).as_view(resource=resource), name=name)
        for name, resource in RESOURCES.items()
    ),
    *(
        path(f"{name}/<uuid:id>/", DetailEndpoint.as_view(resource=resource), name=f"{name}-detail")
        for name, resource in RESOURCES.items()
    ),
    *building,
    path("sources/import/", SourceImport.as_view(), name="source-import"),
    path("sources/credentials/", SourceCredentials.as_view(), name="source-credentials"),
    path("sources/batches/<uuid:id>/", Batch.as_view(), name="source-batch"),
    path("sources/batches/<uuid:id>/test/", BatchTest.as_view(), name="source-batch-test"),
    path("sources/batches/<uuid:id>/accept/", BatchAccept.as_view(), name="source-batch-accept"),
    path("sources/batches/<uuid:id>/add/", BatchAdd.as_view(), name="source-batch-add"),
    path("sources/batches/<uuid:id>/discard/", BatchDiscard.as_view(), name="source-batch-discard"),
    path("moves/", ListEndpoint.as_view(resource=MOVES), name="moves"),
    path("sources/<uuid:id>/relocation/", RelocationPlan.as_view(), name="source-relocation"),
    path("sources/<uuid:id>/relocate/", Relocate.as_view(), name="source-relocate"),
    path("datacenters/<uuid:id>/rename/", DatacenterRename.as_view(), name="datacenter-rename"),
    path("datacenters/<uuid:id>/delete/", DatacenterDelete.as_view(), name="datacenter-delete"),
    path("clusters/<uuid:id>/rename/", ClusterRename.as_view(), name="cluster-rename"),
    path("clusters/<uuid:id>/delete/", ClusterDelete.as_view(), name="cluster-delete"),
    path("clusters/<uuid:id>/assign/", ClusterAssign.as_view(), name="cluster-assign"),
    path("clusters/<uuid:id>/release/", ClusterRelease.as_view(), name="cluster-release"),
    path("folders/<uuid:id>/rename/", FolderRename.as_view(), name="folder-rename"),
    path("folders/<uuid:id>/delete/", FolderDelete.as_view(), name="folder-delete"),
    path("folders/<uuid:id>/assign/", FolderAssign.as_view(), name="folder-assign"),
    path("folders/<uuid:id>/release/", FolderRelease.as_view(), name="folder-release"),
    path("tags/change/", TagsOfMany.as_view(), name="tags-change"),
    path("tags/<uuid:id>/change/", TagChange.as_view(), name="tag-change"),
    path("tags/<uuid:id>/delete/", TagDelete.as_view(), name="tag-delete"),
    path("uploads/", Uploads.as_view(), name="uploads"),
    path("uploads/<uuid:id>/", UploadDetail.as_view(), name="upload"),
    path("uploads/<uuid:id>/pieces/", UploadPiece.as_view(), name="upload-pieces"),
    path("uploads/<uuid:id>/discard/", UploadDiscard.as_view(), name="upload-discard"),
    *(
        path(f"{kind}s/<uuid:id>/load/", LoadEndpoint.as_view(resource=resource, kind=kind), name=f"{kind}-load")
        for kind, resource in {"guest": GUESTS, "host": HOSTS, "datastore": DATASTORES}.items()
    ),
    path("search/", SearchEndpoint.as_view(), name="search"),
    path("guests/<uuid:id>/targets/", GuestTargets.as_view(), name="guest-targets"),
    path("guests/<uuid:id>/power/", GuestPower.as_view(), name="guest-power"),
    *guest_acts,
    path("hosts/<uuid:id>/maintenance/", HostMaintenance.as_view(), name="host-maintenance"),
    path("migrations/<uuid:id>/cancel/", MigrationCancel.as_view(), name="migration-cancel"),
    path("tasks/<uuid:id>/cancel/", TaskCancel.as_view(), name="task-cancel"),
    re_path(r"^(?:.*/)?$", Unknown.as_view(), name="unknown"),
]
