"""Every page asks the database a fixed number of questions, however many rows there are."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from console.tree import MOST_DATACENTERS
from hosts.models import Datacenter
from tests.web.everything import TABS, Everything, Place
from tests.web.routes import EVERYBODY

# Session and user are two queries of each budget.
BUDGETS = {
    "login": 1,
    "account_password": 3,
    "account_tokens": 4,
    "user_list": 6,
    "user_add": 3,
    "user_page": 5,
    "user_disable": 4,
    "user_reset_password": 4,
    "audit_list": 6,
    "source_list": 6,
    "source_page": 6,
    "source_add": 4,
    "source_import": 4,
    "source_rotate": 4,
    "source_batch_page": 10,
    "source_draft": 5,
    "source_credentials": 4,
    "source_remove": 5,
    "source_relocate": 5,
    "home": 17,
    "tree hosts": 15,
    "tree guests": 14,
    "tree storage": 14,
    "tree networks": 15,
    "datacenter_list": 5,
    "datacenter_page": 13,
    "datacenter_tab clusters": 8,
    "datacenter_tab hosts": 10,
    "datacenter_tab guests": 10,
    "datacenter_tab datastores": 12,
    "datacenter_tab switches": 10,
    "datacenter_tab sources": 8,
    "datacenter_add": 2,
    "datacenter_rename": 3,
    "datacenter_delete": 3,
    "cluster_list": 5,
    "cluster_page": 12,
    "cluster_tab hosts": 10,
    "cluster_tab guests": 10,
    "cluster_tab datastores": 12,
    "cluster_tab switches": 10,
    "cluster_add": 3,
    "cluster_rename": 3,
    "cluster_delete": 4,
    "cluster_assign": 4,
    "cluster_release": 4,
    "host_cluster": 4,
    "folder_page": 9,
    "datacenter_folder_add": 3,
    "folder_add": 3,
    "folder_rename": 3,
    "folder_delete": 3,
    "folder_assign": 4,
    "folder_release": 4,
    "tag_list": 5,
    "tag_page": 9,
    "tag_tab hosts": 9,
    "tag_tab datastores": 11,
    "tag_tab switches": 9,
    "tag_add": 2,
    "tag_edit": 3,
    "tag_delete": 3,
    **{f"tag_{act} {kind}": 5 for act in ("assign", "release") for kind in ("guest", "host", "datastore", "switch")},
    "tag_pick": 3,
    **{f"{kind}_tags": 5 for kind in ("guest", "host", "datastore", "switch")},
    "host_list": 9,
    "host_page": 14,  # one of them the line of the last hour
    "host_tab monitor": 15,
    "host_tab hardware": 7,
    "host_tab guests": 13,
    "host_tab datastores": 15,
    "host_tab switches": 13,
    "host_tab tasks": 12,
    "guest_list": 8,
    "guest_page": 15,  # two of them only for one in a conflict, one the line of the last hour
    "guest_tab monitor": 15,
    "guest_tab hardware": 10,
    "guest_tab snapshots": 8,
    "guest_tab migrations": 10,
    "guest_tab tasks": 10,
    "guest_actions": 5,
    "guest_power start": 5,
    "guest_power shutdown": 5,
    "guest_power reset": 5,
    "guest_power off": 5,
    "guest_power suspend": 5,
    "guest_power resume": 5,
    "guest_migrate": 16,
    "guest_now": 5,
    "snapshot_create": 6,
    "snapshot_revert": 5,
    "snapshot_delete": 5,
    "guest_edit": 7,
    "guest_media": 6,
    "disk_add": 14,  # six of them who else has the volumes, on any host
    "disk_grow": 5,
    "disk_remove": 4,
    "nic_add": 6,
    "nic_change": 7,
    "nic_remove": 4,
    "guest_new": 4,
    "host_new_guest": 18,  # six as with disk_add
    "host_new_network": 3,
    "guest_clone": 8,
    "guest_delete": 12,
    "volume_new": 3,
    "volume_upload": 3,
    "volume_grow": 3,
    "volume_delete": 7,
    **{f"datastore_switch {act}": 3 for act in ("start", "stop", "refresh", "autostart_on", "autostart_off")},
    **{f"switch_act {act}": 3 for act in ("start", "stop", "autostart_on", "autostart_off", "delete")},
    "datastore_list": 10,
    "datastore_page": 12,  # one of them the line of the last month
    "datastore_tab monitor": 17,
    "datastore_tab volumes": 14,
    "datastore_tab guests": 14,
    "datastore_tab hosts": 15,
    "switch_list": 8,
    "switch_page": 10,
    "switch_tab guests": 11,
    "search": 14,
    "search_suggestions": 14,
    "recent_tasks": 4,
    "task_list": 6,
    "task_page": 5,
    "task_live": 5,
    "task_cancel": 4,
    "migration_list": 6,
    "move_list": 5,
    "guest_tab moves": 9,
    "migration_page": 5,
    "migration_live": 5,
}


@pytest.fixture
def everything(db: None) -> Everything:
    made = Everything(rows=3)
    for number in range(MOST_DATACENTERS):  # a tree asks once for each open datacenter, up to so many
        Datacenter.objects.create(name=f"elsewhere-{number}")
    return made


def client_for(everything: Everything, place: Place) -> Client:
    client = Client()
    if place.need != EVERYBODY:
        client.force_login(everything.me)
    return client


def queries(everything: Everything) -> dict[str, int]:
    """How many each page asks; by its name."""
    counts = {}
    for place in everything.places():
        client = client_for(everything, place)
        client.get("/healthz")
        with CaptureQueriesContext(connection) as captured:
            assert client.get(place.path).status_code == 200, place
        counts[place.name] = len(captured)
    return counts


def test_every_page_has_a_budget(everything: Everything) -> None:
    assert sorted(place.name for place in everything.places()) == sorted(BUDGETS)


def test_no_tab_is_forgotten(everything: Everything) -> None:
    for place in everything.places():
        kind = place.name.removesuffix("_page")
        if place.name.endswith("_page") and f"{kind}_tab" in TABS:
            shown = [tab.name for tab in client_for(everything, place).get(place.path).context["tabs"]]
            first = "guests" if kind == "tag" else "summary"
            assert shown == [first, *TABS[f"{kind}_tab"]]


def test_thirty_rows_more_ask_no_more(everything: Everything) -> None:
    few = queries(everything)
    assert {name: count for name, count in few.items() if count > BUDGETS[name]} == {}
    everything.add(30)
    many = queries(everything)
    assert {name: (few[name], count) for name, count in many.items() if count > few[name]} == {}
