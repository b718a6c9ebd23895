"""Datacenters and clusters on the pages: trees, lists, dialogs, and who may."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from access.roles import Role
from console import choosing, tree
from hosts.models import Cluster, Datacenter, Host
from tests.factories import Inventory, make_cluster, make_guest, make_host, make_source
from tests.web.conftest import ClientAs


@pytest.fixture
def boss(client_as: ClientAs) -> Client:
    return client_as(Role.ADMIN)


@pytest.fixture
def cluster(inventory: Inventory) -> Cluster:
    """With the first of three hosts."""
    made = make_cluster("compute", inventory.hosts[0].datacenter)
    Host.objects.filter(pk=inventory.hosts[0].pk).update(cluster=made)
    return made


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return str(answer.content.decode())


def told(answer: Any) -> list[str]:
    return [str(one) for one in get_messages(answer.wsgi_request)]


class TestTree:
    def test_clusters_stand_between_datacenter_and_hosts(self, boss, inventory, cluster):
        first, second = inventory.hosts[:2]
        guest = make_guest("mine", first)
        closed = text(boss.get("/tree/hosts/?open=first"))
        assert 'data-node="cluster:' in closed
        assert f">{first.name}</a>" not in closed
        assert f">{second.name}</a>" in closed
        opened = text(boss.get(f"/tree/hosts/?open=first&open=cluster:{cluster.pk}&open=host:{first.pk}"))
        assert opened.count(f">{first.name}</a>") == 1
        assert opened.count(f">{guest.name}</a>") == 1
        assert 'aria-level="4"' in opened

    def test_what_does_not_fit_is_a_link_to_the_list(self, boss, inventory, cluster, monkeypatch):
        source = make_source("rack-9", datacenter=cluster.datacenter)
        for number in range(3):
            make_host(f"in-{number}", source, cluster=cluster)
            make_host(f"alone-{number}", source)
        monkeypatch.setattr(tree, "MOST_CHILDREN", 2)
        html = text(boss.get(f"/tree/hosts/?open=first&open=cluster:{cluster.pk}"))
        assert "2 more…" in html  # of four in the cluster
        assert "3 more…" in html  # of five in none
        assert "/hosts/?q=cluster%3Acompute" in html
        assert "/hosts/?q=datacenter%3ABerlin+cluster%3A%22%22" in html

    def test_a_cluster_of_a_closed_datacenter_is_not_loaded(self, boss, inventory, cluster):
        assert "compute" not in text(boss.get(f"/tree/hosts/?open=cluster:{cluster.pk}"))


class TestLists:
    def test_hosts_are_found_by_their_cluster(self, boss, inventory, cluster):
        assert "kvm-01" in text(boss.get("/hosts/?q=cluster:compute"))
        assert "kvm-02" not in text(boss.get("/hosts/?q=cluster:COMPUTE"))
        alone = text(boss.get('/hosts/?q=cluster:""'))
        assert "kvm-02" in alone
        assert 'title="kvm-01"' not in alone
        for order in ("cluster", "-cluster"):
            assert text(boss.get(f"/hosts/?sort={order}")).count('id="row-') == 3

    @pytest.mark.parametrize("sort", ["name", "-hosts", "-guests", "threads", "memory", "datacenter"])
    def test_clusters_are_sorted(self, boss, inventory, cluster, sort):
        make_cluster("empty", cluster.datacenter)
        assert text(boss.get(f"/clusters/?sort={sort}")).count('id="row-') == 2

    def test_datacenters_say_how_much_is_in_them(self, boss, inventory, cluster):
        rows = b"".join(boss.get("/datacenters/?export=csv")).decode().splitlines()
        assert rows[1].startswith("Berlin,2,1,3,12,")


def test_pages_of_a_cluster_show_what_is_on_its_hosts_alone(boss, inventory, cluster):
    mine = inventory.hosts[0].guests.first()
    other = inventory.hosts[1].guests.first()
    guests = text(boss.get(reverse("cluster_tab", args=[cluster.pk, "guests"])))
    assert f">{mine.name}</a>" in guests
    assert f">{other.name}</a>" not in guests
    stores = text(boss.get(reverse("cluster_tab", args=[cluster.pk, "datastores"])))
    assert "local-kvm-01" in stores
    assert "local-kvm-02" not in stores
    assert "kvm-01" in text(boss.get(reverse("cluster_page", args=[cluster.pk])))
    assert boss.get(reverse("cluster_tab", args=[cluster.pk, "clusters"])).status_code == 404


def test_a_datacenter_without_anything_has_a_page(boss):
    row = Datacenter.objects.create(name="empty")
    assert "No clusters." in text(boss.get(reverse("datacenter_page", args=[row.pk])))


class TestActs:
    def test_from_datacenter_to_cluster_with_hosts(self, boss, inventory):
        datacenter = inventory.hosts[0].datacenter
        made = boss.post(reverse("cluster_add", args=[datacenter.pk]), {"name": "compute"})
        cluster = Cluster.objects.get()
        assert made.url == reverse("cluster_page", args=[cluster.pk])
        ids = [str(host.pk) for host in inventory.hosts[:2]]
        answer = boss.post(reverse("cluster_assign", args=[cluster.pk]), {"hosts": ids})
        assert told(answer)[-1] == "2 hosts were added to compute."
        assert Host.objects.filter(cluster=cluster).count() == 2
        answer = boss.post(reverse("cluster_release", args=[cluster.pk]), {"hosts": ids[:1]})
        assert told(answer)[-1] == "1 host was taken out of compute."
        boss.post(reverse("cluster_rename", args=[cluster.pk]), {"name": "dense"})
        assert boss.post(reverse("cluster_delete", args=[cluster.pk])).url == reverse(
            "datacenter_page", args=[datacenter.pk]
        )
        assert not Cluster.objects.exists()

    def test_a_mistake_is_told_in_the_dialog(self, boss, cluster):
        taken = boss.post(reverse("cluster_add", args=[cluster.datacenter_id]), {"name": "COMPUTE"})
        assert taken.status_code == 400
        assert "already has a cluster named" in taken.content.decode()
        nothing = boss.post(reverse("cluster_assign", args=[cluster.pk]), {"hosts": ["x", "\0"]})
        assert nothing.status_code == 400
        assert "Choose at least one host." in nothing.content.decode()
        full = boss.post(reverse("datacenter_delete", args=[cluster.datacenter_id]))
        assert full.status_code == 400
        assert "2 sources belong to it" in full.content.decode()

    def test_the_dialog_keeps_what_was_chosen_while_one_types(self, boss, inventory, cluster, monkeypatch):
        second, third = inventory.hosts[1:]
        url = reverse("cluster_assign", args=[cluster.pk])
        shown = text(boss.get(url, {"hosts": str(second.pk), "q": third.name}))
        assert f'value="{second.pk}" checked' in shown
        assert f'value="{third.pk}"' in shown
        assert str(inventory.hosts[0].pk) not in shown
        monkeypatch.setattr(choosing, "OFFERED", 1)
        assert "1 more: type a part of its name." in text(boss.get(url))
        assert "Nothing has this in its name." in text(boss.get(url, {"q": "%"}))

    def test_one_host_is_put_into_a_cluster_and_out(self, boss, inventory, cluster):
        host = inventory.hosts[1]
        url = reverse("host_cluster", args=[host.pk])
        assert boss.post(url, {"cluster": str(cluster.pk)}).url == reverse("host_page", args=[host.pk])
        assert Host.objects.get(pk=host.pk).cluster == cluster
        assert "compute" in text(boss.get(reverse("host_page", args=[host.pk])))
        boss.post(url, {"cluster": ""})
        assert Host.objects.get(pk=host.pk).cluster is None
        elsewhere = make_cluster("far", Datacenter.objects.create(name="Hamburg"))
        for wrong in (str(elsewhere.pk), "x"):
            assert boss.post(url, {"cluster": wrong}).status_code == 400

    def test_who_may_not_gets_no_buttons(self, client_as, cluster):
        page = text(client_as(Role.MIGRATION_ADMIN).get(reverse("cluster_page", args=[cluster.pk])))
        for act in ("cluster_assign", "cluster_rename", "cluster_delete"):
            assert reverse(act, args=[cluster.pk]) not in page
