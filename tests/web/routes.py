"""Every address of the console and the API: what it takes and who may.

The table is written by hand and compared with the URL conf: a route that is not here fails the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from access.roles import ROLE_ACTIONS, Action, Role

EVERYBODY = "everybody"  # signed in or not
SIGNED_IN = "signed in"
Need = Action | str


@dataclass(frozen=True)
class Route:
    """`get` and `post` say who may; None where the method is not allowed. `kwargs` are named by their object."""

    name: str
    get: Need | None = None
    post: Need | None = None
    kwargs: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def is_api(self) -> bool:
        return self.name.startswith("api:")

    def need(self, method: str) -> Need | None:
        return {"GET": self.get, "POST": self.post}.get(method)


def page(name: str, get: Need | None = Action.VIEW, post: Need | None = None, /, **kwargs: str) -> Route:
    data = POSTED.get(name, {})
    return Route(name, get, post, kwargs, data)


def api(name: str, get: Need | None = Action.VIEW, post: Need | None = None, /, **kwargs: str) -> Route:
    return page(f"api:{name}", get, post, **kwargs)


# What a POST needs to get as far as the act; objects are named in braces.
POSTED: dict[str, dict[str, Any]] = {
    "account_password": {"current": "x", "new": "y", "again": "y"},
    "account_tokens": {"name": "script"},
    "host_maintenance": {"on": "1"},
    "datacenter_folder_add": {"name": "south"},
    "folder_add": {"name": "south"},
    "folder_rename": {"name": "south"},
    "folder_assign": {"guests": "{guest}"},
    "folder_release": {"guests": "{guest}"},
    "tag_add": {"name": "new"},
    "tag_edit": {"name": "other", "color": "red"},
    "tag_assign": {"ids": "{bare_guest}"},
    "tag_release": {"ids": "{guest}"},
    **{f"{kind}_tags": {"tag": "{tag}"} for kind in ("guest", "host", "datastore", "switch")},
    **{f"{kind}_tag_many": {"tag": "{tag}", "ids": f"{{{kind}}}"} for kind in ("guest", "host", "datastore", "switch")},
    "datacenter_add": {"name": "north"},
    "datacenter_rename": {"name": "north"},
    "cluster_add": {"name": "compute"},
    "cluster_rename": {"name": "compute"},
    "cluster_assign": {"hosts": "{other_host}"},
    "cluster_release": {"hosts": "{host}"},
    "host_cluster": {"cluster": "{cluster}"},
    "user_add": {"username": "new", "role": "viewer"},
    "user_role": {"role": "auditor"},
    "source_add": {"name": "new", "transport": "tcp", "address": "10.0.0.77"},
    "source_import": {"range": "10.0.0.70", "transport": "tcp"},
    "source_rotate": {"who": "ticked", "username": "op"},
    "source_credentials": {"username": "op"},
    "guest_migrate": {"target_host": "{other_host}", "from_host": "{host}", "live": "true"},
    "api:source-import": {"range": "10.0.0.70", "transport": "tcp"},
    "api:source-credentials": {"of_user": "root", "password": "x"},
    "api:source-batch-accept": {"keys": []},
    "api:source-relocation": {"datacenter": "{datacenter}"},
    "api:source-relocate": {"datacenter": "{datacenter}", "confirmation": "x"},
    "api:uploads": {"name": "debian.iso", "size_bytes": 10},
    "api:datacenters": {"name": "north"},
    "api:datacenter-rename": {"name": "north"},
    "api:tags": {"name": "new"},
    "api:tag-change": {"name": "other", "color": "red"},
    "api:tags-change": {"kind": "guest", "ids": ["{guest}"], "add": ["web"]},
    "api:clusters": {"name": "compute", "datacenter": "{datacenter}"},
    "api:folders": {"name": "south", "datacenter": "{datacenter}"},
    "api:folder-rename": {"name": "south"},
    "api:folder-assign": {"guests": ["{guest}"]},
    "api:folder-release": {"guests": ["{guest}"]},
    "api:cluster-rename": {"name": "compute"},
    "api:cluster-assign": {"hosts": ["{other_host}"]},
    "api:cluster-release": {"hosts": ["{host}"]},
    "api:guest-power": {"action": "shutdown"},
    "snapshot_create": {"name": "before"},
    "snapshot_revert": {"name": "before"},
    "snapshot_delete": {"name": "before"},
    "guest_edit": {"notes": "x"},
    "guest_media": {"target": "sda"},
    "disk_add": {"volume": "{volume}"},
    "disk_grow": {"target": "vda", "capacity": "2 GiB"},
    "disk_remove": {"target": "vda"},
    "nic_add": {"plug": "{switch}"},
    "nic_change": {"mac": "52:54:00:00:00:01", "link": "down"},
    "nic_remove": {"mac": "52:54:00:00:00:01"},
    "api:guest-snapshot-create": {"name": "before"},
    "api:guest-snapshot-revert": {"name": "before"},
    "api:guest-snapshot-delete": {"name": "before"},
    "api:guest-settings": {"notes": "x"},
    "api:guest-media": {"target": "sda"},
    "api:guest-disk-add": {"volume": "{volume}"},
    "api:guest-disk-grow": {"target": "vda", "capacity_bytes": 1 << 40},
    "api:guest-disk-remove": {"target": "vda"},
    "api:guest-nic-add": {"switch": "{switch}"},
    "api:guest-nic-change": {"mac": "52:54:00:00:00:01", "link_up": False},
    "api:guest-nic-remove": {"mac": "52:54:00:00:00:01"},
    "api:host-maintenance": {"on": True},
    "api:migrations": {"guest": "{guest}", "target_host": "{other_host}", "live": True},
}

POSTED |= {
    "host_new_guest": {
        "name": "web-1", "memory": "1 GiB", "vcpus": "1", "disk": "none", "cd": "none", "firmware": "bios",
    },
    "volume_new": {"name": "a.qcow2", "capacity_bytes": "1 GiB", "format": "qcow2"},
    "volume_upload": {"upload": "{upload}", "name": "debian.iso"},
    "volume_grow": {"capacity_bytes": "900 GiB"},
    "volume_delete": {"confirmation": "free.qcow2"},
    "host_new_network": {"name": "lab", "mode": "isolated"},
    "guest_clone": {"name": "copy"},
    "guest_delete": {"confirmation": "db-07"},
    "api:guests": {"host": "{host}", "name": "web-1", "memory_bytes": 1 << 30, "vcpus": 1},
    "api:guest-clone": {"name": "copy"},
    "api:guest-delete": {"confirmation": "db-07"},
    "api:datastore-volumes": {"name": "a.qcow2", "capacity_bytes": 1 << 30},
    "api:datastore-upload": {"upload": "{upload}", "name": "debian.iso"},
    "api:datastore-switch": {"host": "{host}", "action": "refresh"},
    "api:volume-grow": {"capacity_bytes": 900 << 30},
    "api:volume-delete": {"confirmation": "free.qcow2"},
    "api:switches": {"host": "{host}", "name": "lab", "mode": "isolated"},
    "api:switch-act": {"action": "stop"},
}  # fmt: skip

VIEW, SOURCES, USERS = Action.VIEW, Action.SOURCES, Action.USERS
TAGGED = ("guest", "host", "datastore", "switch")
SNAPSHOT_ACTS = ("create", "revert", "delete")
DEVICE_ACTS = ("disk_add", "disk_grow", "disk_remove", "nic_add", "nic_change", "nic_remove")

ROUTES = [
    page("healthz", EVERYBODY),
    page("login", EVERYBODY, EVERYBODY),
    page("logout", None, EVERYBODY),
    page("account_password", SIGNED_IN, SIGNED_IN),
    page("account_tokens", SIGNED_IN, SIGNED_IN),
    page("token_revoke", None, SIGNED_IN, token_id="own_token"),
    page("user_list", USERS),
    page("user_add", USERS, USERS),
    page("user_page", USERS, user_id="user"),
    page("user_role", None, USERS, user_id="user"),
    page("user_disable", USERS, USERS, user_id="user"),
    page("user_enable", None, USERS, user_id="user"),
    page("user_reset_password", USERS, USERS, user_id="user"),
    page("audit_list", Action.AUDIT),
    page("source_list"),
    page("source_page", source_id="source"),
    page("source_add", SOURCES, SOURCES),
    page("source_import", SOURCES, SOURCES),
    page("source_rotate", SOURCES, SOURCES),
    page("source_batch_page", SOURCES, batch_id="batch"),
    *(page(f"source_batch_{act}", None, SOURCES, batch_id="batch") for act in ("test", "keys", "add", "discard")),
    page("source_draft", SOURCES, draft_id="draft"),
    page("source_draft_test", None, SOURCES, draft_id="draft"),
    page("source_draft_accept_key", None, SOURCES, draft_id="draft"),
    page("source_draft_add", None, SOURCES, draft_id="draft"),
    page("source_draft_discard", None, SOURCES, draft_id="draft"),
    page("source_test", None, SOURCES, source_id="source"),
    page("source_accept_key", None, SOURCES, source_id="source"),
    page("source_pause", None, SOURCES, source_id="source"),
    page("source_resume", None, SOURCES, source_id="source"),
    page("source_read", None, SOURCES, source_id="source"),
    page("source_credentials", SOURCES, SOURCES, source_id="source"),
    page("source_remove", SOURCES, SOURCES, source_id="source"),
    page("source_relocate", SOURCES, SOURCES, source_id="source"),
    page("datacenter_list"),
    page("datacenter_page", pk="datacenter"),
    page("datacenter_tab", pk="datacenter", tab="'hosts"),
    page("datacenter_add", SOURCES, SOURCES),
    page("datacenter_rename", SOURCES, SOURCES, datacenter_id="datacenter"),
    page("datacenter_delete", SOURCES, SOURCES, datacenter_id="datacenter"),
    page("cluster_list"),
    page("cluster_page", pk="cluster"),
    page("cluster_tab", pk="cluster", tab="'hosts"),
    page("cluster_add", SOURCES, SOURCES, datacenter_id="datacenter"),
    page("cluster_rename", SOURCES, SOURCES, cluster_id="cluster"),
    page("cluster_delete", SOURCES, SOURCES, cluster_id="cluster"),
    page("cluster_assign", SOURCES, SOURCES, cluster_id="cluster"),
    page("cluster_release", SOURCES, SOURCES, cluster_id="cluster"),
    page("host_cluster", SOURCES, SOURCES, host_id="host"),
    page("folder_page", pk="folder"),
    page("datacenter_folder_add", SOURCES, SOURCES, datacenter_id="datacenter"),
    *(page(f"folder_{act}", SOURCES, SOURCES, folder_id="folder") for act in ("add", "rename", "delete")),
    *(page(f"folder_{act}", SOURCES, SOURCES, folder_id="folder") for act in ("assign", "release")),
    page("tag_list"),
    page("tag_page", pk="tag"),
    page("tag_tab", pk="tag", tab="'hosts"),
    page("tag_add", SOURCES, SOURCES),
    *(page(f"tag_{act}", SOURCES, SOURCES, pk="tag") for act in ("edit", "delete")),
    *(page(f"tag_{act}", Action.CONFIGURE, Action.CONFIGURE, pk="tag", kind="'guest") for act in ("assign", "release")),
    page("tag_pick", Action.CONFIGURE),
    *(page(f"{kind}_tags", Action.CONFIGURE, Action.CONFIGURE, pk=kind) for kind in TAGGED),
    *(page(f"{kind}_tag_many", None, Action.CONFIGURE) for kind in TAGGED),
    page("home"),
    page("events"),
    page("tree", name="'hosts"),
    page("host_list"),
    page("host_page", pk="host"),
    page("host_tab", pk="host", tab="'guests"),
    page("host_maintenance", None, Action.MAINTENANCE, host_id="host"),
    page("guest_list"),
    page("guest_page", pk="guest"),
    page("guest_tab", pk="guest", tab="'tasks"),
    *(page(f"{kind}_load_export", Action.EXPORT, pk=kind) for kind in ("guest", "host", "datastore")),
    page("guest_actions", guest_id="guest"),
    page("guest_power", Action.POWER, Action.POWER, guest_id="guest", action="'shutdown"),
    page("guest_migrate", Action.MIGRATE, Action.MIGRATE, guest_id="guest"),
    page("guest_now", guest_id="guest"),
    *(
        page(name, Action.CONFIGURE, Action.CONFIGURE, guest_id="guest")
        for name in (*(f"snapshot_{act}" for act in SNAPSHOT_ACTS), "guest_edit", "guest_media", *DEVICE_ACTS)
    ),
    page("guest_new", Action.PROVISION),
    page("host_new_guest", Action.PROVISION, Action.PROVISION, host_id="host"),
    page("host_new_network", Action.PROVISION, Action.PROVISION, host_id="host"),
    *(page(f"guest_{act}", Action.PROVISION, Action.PROVISION, guest_id="guest") for act in ("clone", "delete")),
    page("volume_new", Action.PROVISION, Action.PROVISION, datastore_id="datastore"),
    page("volume_upload", Action.PROVISION, Action.PROVISION, datastore_id="datastore"),
    *(page(f"volume_{act}", Action.PROVISION, Action.PROVISION, volume_id="volume") for act in ("grow", "delete")),
    page("datastore_switch", Action.PROVISION, Action.PROVISION, mount_id="mount", action="'refresh"),
    page("switch_act", Action.PROVISION, Action.PROVISION, switch_id="switch", action="'stop"),
    page("datastore_list"),
    page("datastore_page", pk="datastore"),
    page("datastore_tab", pk="datastore", tab="'guests"),
    page("switch_list"),
    page("switch_page", pk="switch"),
    page("switch_tab", pk="switch", tab="'guests"),
    page("search"),
    page("search_suggestions"),
    page("recent_tasks"),
    page("task_list"),
    page("task_page", task_id="task"),
    page("task_live", task_id="task"),
    page("task_undo", None, Action.CONFIGURE, task_id="task"),
    page("task_cancel", Action.CANCEL, Action.CANCEL, task_id="task"),
    page("migration_list"),
    page("move_list"),
    api("moves"),
    page("migration_page", migration_id="migration"),
    page("migration_live", migration_id="migration"),
    *(api(name) for name in ("sources", "hosts", "datastores", "tasks")),
    *(api(name, VIEW, Action.PROVISION) for name in ("guests", "switches")),
    *(api(f"guest-{act}", None, Action.PROVISION, id="guest") for act in ("clone", "delete")),
    *(api(f"volume-{act}", None, Action.PROVISION, id="volume") for act in ("grow", "delete")),
    *(api(f"datastore-{act}", None, Action.PROVISION, id="datastore") for act in ("upload", "switch")),
    api("switch-act", None, Action.PROVISION, id="switch"),
    *(api(f"{name}s-detail", id=name) for name in ("source", "host", "guest", "datastore", "task", "migration")),
    api("switches-detail", id="switch"),
    *(api(name, VIEW, SOURCES) for name in ("datacenters", "clusters", "folders", "tags")),
    api("tags-detail", id="tag"),
    *(api(f"tag-{act}", None, SOURCES, id="tag") for act in ("change", "delete")),
    api("tags-change", None, Action.CONFIGURE),
    *(api(f"{name}s-detail", id=name) for name in ("datacenter", "cluster", "folder")),
    *(
        api(f"{name}-{act}", None, SOURCES, id=name)
        for name in ("datacenter", "cluster", "folder")
        for act in ("rename", "delete")
    ),
    *(api(f"{name}-{act}", None, SOURCES, id=name) for name in ("cluster", "folder") for act in ("assign", "release")),
    *(api(f"source-{act}", None, SOURCES, id="source") for act in ("relocation", "relocate")),
    api("source-import", None, SOURCES),
    api("source-credentials", None, SOURCES),
    api("source-batch", SOURCES, id="batch"),
    *(api(f"source-batch-{act}", None, SOURCES, id="batch") for act in ("test", "accept", "add", "discard")),
    api("uploads", Action.PROVISION, Action.PROVISION),
    api("upload", Action.PROVISION, id="upload"),
    *(api(f"upload-{act}", None, Action.PROVISION, id="upload") for act in ("pieces", "discard")),
    api("search"),
    api("datastore-volumes", VIEW, Action.PROVISION, id="datastore"),
    *(api(f"{kind}-load", id=kind) for kind in ("guest", "host", "datastore")),
    api("guest-targets", id="guest"),
    api("guest-power", None, Action.POWER, id="guest"),
    *(
        api(f"guest-{act.replace('_', '-')}", None, Action.CONFIGURE, id="guest")
        for act in (*(f"snapshot-{act}" for act in SNAPSHOT_ACTS), "settings", "media", *DEVICE_ACTS)
    ),
    api("task-undo", None, Action.CONFIGURE, id="task"),
    api("host-maintenance", None, Action.MAINTENANCE, id="host"),
    api("migrations", VIEW, Action.MIGRATE),
    api("migration-cancel", None, Action.CANCEL, id="migration"),
    api("task-cancel", None, Action.CANCEL, id="task"),
]
BY_NAME = {route.name: route for route in ROUTES}


def allowed(need: Need, role: str | None) -> bool:
    """Whether a role, or nobody, may."""
    if need == EVERYBODY:
        return True
    if role is None:
        return False
    return need == SIGNED_IN or need in ROLE_ACTIONS[Role(role)]


def url_names(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[str]:
    """The name of every address there is."""
    for one in (resolver or get_resolver()).url_patterns:
        if isinstance(one, URLResolver):
            yield from url_names(one, f"{prefix}{one.namespace}:" if one.namespace else prefix)
        elif isinstance(one, URLPattern):
            yield f"{prefix}{one.name}"
