"""Datacenters and clusters for scripts. Who may: test_access_routes.py."""

from __future__ import annotations

import pytest

from hosts.models import Cluster, Datacenter, Host
from tests.factories import make_cluster, make_guest, make_host, make_source
from tests.web.api.conftest import Boss

pytestmark = pytest.mark.django_db


def test_from_nothing_to_a_cluster_with_hosts_and_back(boss: Boss) -> None:
    datacenter = boss.post("datacenters/", 201, name="north")
    cluster = boss.post("clusters/", 201, name="compute", datacenter=datacenter["id"])
    assert cluster["datacenter"] == datacenter
    host = make_host("kvm-1", make_source("s", datacenter=Datacenter.objects.get()))
    moved = boss.post(f"clusters/{cluster['id']}/assign/", hosts=[str(host.pk)])
    assert [one["name"] for one in moved["results"]] == ["kvm-1"]
    for value in ("compute", "COMPUTE", cluster["id"]):
        (told,) = boss.get(f"hosts/?cluster={value}")["results"]
        assert told["cluster"] == {"id": cluster["id"], "name": "compute"}
    assert boss.post(f"clusters/{cluster['id']}/rename/", name="dense")["name"] == "dense"
    assert boss.post(f"clusters/{cluster['id']}/release/", hosts=[str(host.pk)])["results"]
    assert boss.get(f"hosts/{host.pk}/")["cluster"] is None
    boss.post(f"clusters/{cluster['id']}/delete/", 204)
    Host.objects.all().delete()
    host.source.delete()
    assert boss.post(f"datacenters/{datacenter['id']}/rename/", name="south")["name"] == "south"
    boss.post(f"datacenters/{datacenter['id']}/delete/", 204)
    assert boss.get("datacenters/")["results"] == boss.get("clusters/")["results"] == []


def test_refusals_are_told_as_everywhere(boss: Boss) -> None:
    cluster = make_cluster("compute")
    same = boss.post("clusters/", 400, name="compute", datacenter=str(cluster.datacenter_id))
    assert (same["error"]["code"], same["error"]["field"]) == ("invalid", "name")
    assert boss.post("clusters/", 404, name="x", datacenter=str(cluster.pk))["error"]["code"] == "not_found"
    full = boss.post(f"datacenters/{cluster.datacenter_id}/delete/", 409)
    assert "compute" in full["error"]["message"]
    boss.post(f"clusters/{cluster.pk}/assign/", 400, hosts=["x"])
    boss.post(f"clusters/{cluster.pk}/assign/", 400, hosts=[])
    boss.post(f"clusters/{cluster.pk}/assign/", 400, hosts=[], force=True)
    assert Cluster.objects.count() == 1


def test_clusters_are_listed_by_name_and_datacenter(boss: Boss) -> None:
    far = Datacenter.objects.create(name="Hamburg")
    make_cluster("b")
    make_cluster("a", far)
    assert [one["name"] for one in boss.get("clusters/")["results"]] == ["a", "b"]
    assert [one["name"] for one in boss.get("clusters/?datacenter=hamburg")["results"]] == ["a"]


def test_folders_in_folders_with_guests(boss: Boss) -> None:
    guest = make_guest("g", make_host("kvm-1", make_source("s")))
    here = str(guest.datacenter_id)
    web = boss.post("folders/", 201, name="web", datacenter=here)
    shop = boss.post("folders/", 201, name="shop", parent=web["id"])
    assert shop["parent"] == {"id": web["id"], "name": "web"}
    assert [one["name"] for one in boss.get("folders/?parent=web")["results"]] == ["shop"]
    moved = boss.post(f"folders/{shop['id']}/assign/", guests=[str(guest.pk)])
    assert [one["name"] for one in moved["results"]] == ["g"]
    assert [one["name"] for one in boss.get("guests/?folder=shop")["results"]] == ["g"]
    assert boss.get("guests/?folder=web")["results"] == []
    assert boss.post(f"folders/{web['id']}/delete/", 409)["error"]["code"] == "conflict"
    assert boss.post(f"folders/{shop['id']}/rename/", name="store")["name"] == "store"
    assert boss.post(f"folders/{shop['id']}/release/", guests=[str(guest.pk)])["results"]
    boss.post(f"folders/{shop['id']}/delete/", 204)
    for body in ({"name": "x"}, {"name": "x", "datacenter": here, "parent": web["id"]}):
        boss.post("folders/", 400, **body)
