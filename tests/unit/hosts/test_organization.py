"""Datacenters and clusters: names, who belongs where, and many people at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from access.models import User
from access.roles import Role
from audit.models import AuditRow
from core.errors import Conflict, Forbidden, Invalid
from core.ids import new_id
from hosts import organization, services
from hosts.models import Cluster, Datacenter, Host, Source
from tests.factories import make_cluster, make_host, make_source, make_user
from tests.together import database_for_threads, together

pytestmark = pytest.mark.django_db
AT_ONCE = 12


@pytest.fixture
def boss() -> User:
    return make_user(Role.ADMIN)


@pytest.fixture
def berlin() -> Datacenter:
    return Datacenter.objects.create(name="Berlin")


def acts() -> list[str]:
    return list(AuditRow.objects.order_by("pk").values_list("action", flat=True))


ACTS: dict[str, Callable[[Cluster, User], Any]] = {
    "create_datacenter": lambda cluster, by: organization.create_datacenter(name="north", by=by),
    "rename_datacenter": lambda cluster, by: organization.rename_datacenter(
        datacenter=cluster.datacenter, name="north", by=by
    ),
    "delete_datacenter": lambda cluster, by: organization.delete_datacenter(datacenter=cluster.datacenter, by=by),
    "create_cluster": lambda cluster, by: organization.create_cluster(
        datacenter=cluster.datacenter, name="north", by=by
    ),
    "rename_cluster": lambda cluster, by: organization.rename_cluster(cluster=cluster, name="north", by=by),
    "delete_cluster": lambda cluster, by: organization.delete_cluster(cluster=cluster, by=by),
    "assign_hosts": lambda cluster, by: organization.assign_hosts(hosts=[new_id()], cluster=cluster, by=by),
    "release_hosts": lambda cluster, by: organization.release_hosts(hosts=[new_id()], cluster=cluster, by=by),
}


@pytest.mark.parametrize("role", [role for role in Role if role != Role.ADMIN])
@pytest.mark.parametrize("act", ACTS)
def test_only_administrators_of_sources_may(act: str, role: str) -> None:
    with pytest.raises(Forbidden):
        ACTS[act](make_cluster(), make_user(role))
    assert acts() == []


class TestDatacenters:
    def test_made_renamed_and_deleted_each_with_its_audit_row(self, boss):
        made = organization.create_datacenter(name="  north ", by=boss)
        renamed = organization.rename_datacenter(datacenter=made, name="south", by=boss)
        assert (made.name, renamed.name) == ("north", "south")
        organization.delete_datacenter(datacenter=made, by=boss)
        assert not Datacenter.objects.exists()
        assert acts() == ["datacenter.created", "datacenter.renamed", "datacenter.deleted"]
        assert AuditRow.objects.get(action="datacenter.renamed").detail["before"] == "north"

    @pytest.mark.parametrize("name", ["Berlin", "berlin", " BERLIN "])
    def test_a_name_is_taken_in_whatever_letters(self, boss, berlin, name):
        with pytest.raises(Invalid, match="already a datacenter named") as caught:
            organization.create_datacenter(name=name, by=boss)
        assert caught.value.field == "name"

    def test_its_own_name_in_other_letters_is_free(self, boss, berlin):
        assert organization.rename_datacenter(datacenter=berlin, name="BERLIN", by=boss).name == "BERLIN"

    @pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\u202eb", "a\nb", "\0"])
    def test_a_name_is_clean(self, boss, name):
        with pytest.raises(Invalid):
            organization.create_datacenter(name=name, by=boss)

    def test_one_with_a_source_or_a_cluster_stays_and_says_why(self, boss, berlin):
        make_source("rack-1", datacenter=berlin)
        with pytest.raises(Conflict, match="the source rack-1"):
            organization.delete_datacenter(datacenter=berlin, by=boss)
        Source.objects.all().delete()
        make_cluster("compute", berlin)
        with pytest.raises(Conflict, match="compute is in it"):
            organization.delete_datacenter(datacenter=berlin, by=boss)
        assert acts() == []

    def test_what_is_gone_is_said(self, boss, berlin):
        Datacenter.objects.all().delete()
        with pytest.raises(Conflict, match="Berlin is gone"):
            organization.rename_datacenter(datacenter=berlin, name="x", by=boss)
        with pytest.raises(Conflict, match="Berlin is gone"):
            organization.create_cluster(datacenter=berlin, name="x", by=boss)

    def test_a_source_joins_the_datacenter_of_its_name_in_whatever_letters(self, berlin):
        source, _new = services.add_configured_source(name="lab", uri="fake://world/alpha?file=/x", datacenter="bERLIN")
        assert source.datacenter == berlin


class TestClusters:
    def test_names_are_unique_within_a_datacenter_only(self, boss, berlin):
        organization.create_cluster(datacenter=berlin, name="compute", by=boss)
        with pytest.raises(Invalid, match="already has a cluster named Compute"):
            organization.create_cluster(datacenter=berlin, name="Compute", by=boss)
        elsewhere = Datacenter.objects.create(name="Hamburg")
        organization.create_cluster(datacenter=elsewhere, name="compute", by=boss)
        assert Cluster.objects.count() == 2

    def test_renamed(self, boss, berlin):
        cluster, other = make_cluster("a", berlin), make_cluster("b", berlin)
        assert organization.rename_cluster(cluster=cluster, name="A", by=boss).name == "A"
        with pytest.raises(Invalid, match="already has"):
            organization.rename_cluster(cluster=other, name="a", by=boss)
        assert acts() == ["cluster.renamed"]

    def test_hosts_go_in_from_one_to_another_and_out(self, boss, berlin):
        cluster, other = make_cluster("a", berlin), make_cluster("b", berlin)
        hosts = [make_host(f"kvm-{number}", make_source(f"s{number}", datacenter=berlin)) for number in range(3)]
        ids = [host.pk for host in hosts]
        assert len(organization.assign_hosts(hosts=ids, cluster=cluster, by=boss)) == 3
        assert len(organization.assign_hosts(hosts=ids, cluster=cluster, by=boss)) == 0
        assert len(organization.assign_hosts(hosts=ids[:1], cluster=other, by=boss)) == 1
        assert len(organization.release_hosts(hosts=ids, cluster=cluster, by=boss)) == 2
        assert [host.cluster_id for host in Host.objects.order_by("name")] == [other.pk, None, None]
        assert acts() == ["cluster.hosts_assigned", "cluster.hosts_assigned", "cluster.hosts_released"]
        assert sorted(AuditRow.objects.get(action="cluster.hosts_released").detail["hosts"]) == ["kvm-1", "kvm-2"]

    def test_a_host_of_another_datacenter_is_refused_by_name_and_none_moves(self, boss, berlin):
        cluster, near = make_cluster("a", berlin), make_host("near", make_source("s1", datacenter=berlin))
        far = make_host("far", make_source("s2", datacenter=Datacenter.objects.create(name="Hamburg")))
        with pytest.raises(Invalid, match="far is in another datacenter"):
            organization.assign_hosts(hosts=[near.pk, far.pk], cluster=cluster, by=boss)
        assert not Host.objects.exclude(cluster=None).exists()

    def test_none_too_many_and_unknown_hosts_are_refused(self, boss, berlin):
        cluster = make_cluster("a", berlin)
        with pytest.raises(Invalid, match="at least one"):
            organization.assign_hosts(hosts=[], cluster=cluster, by=boss)
        with pytest.raises(Invalid, match="at most"):
            organization.assign_hosts(hosts=[new_id() for _ in range(1001)], cluster=cluster, by=boss)
        with pytest.raises(Conflict, match="is gone"):
            organization.assign_hosts(hosts=[new_id()], cluster=cluster, by=boss)

    def test_deleting_one_leaves_its_hosts(self, boss, berlin):
        cluster, host = make_cluster("a", berlin), make_host("kvm-1", make_source("s", datacenter=berlin))
        organization.assign_hosts(hosts=[host.pk], cluster=cluster, by=boss)
        organization.delete_cluster(cluster=cluster, by=boss)
        organization.delete_cluster(cluster=cluster, by=boss)
        host.refresh_from_db()
        assert host.cluster is None
        assert AuditRow.objects.get(action="cluster.deleted").detail["hosts"] == ["kvm-1"]


def refused(results: list[Any]) -> list[Any]:
    """All but results; anything but our own refusals fails the test."""
    errors = [one for one in results if isinstance(one, Exception)]
    assert all(isinstance(one, Invalid | Conflict) for one in errors), Counter(map(repr, errors))
    return errors


@pytest.mark.django_db(transaction=True)
def test_the_same_name_at_once_makes_one(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        boss, berlin = make_user(Role.ADMIN), Datacenter.objects.create(name="Berlin")

        def create(_number: int) -> Any:
            return organization.create_cluster(datacenter=berlin, name="compute", by=boss)

        assert len(refused(together(AT_ONCE, create))) == AT_ONCE - 1
        assert Cluster.objects.count() == AuditRow.objects.filter(action="cluster.created").count() == 1
        made = together(AT_ONCE, lambda _number: organization.create_datacenter(name="north", by=boss))
        assert len(refused(made)) == AT_ONCE - 1
        assert Datacenter.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_assigned_while_the_cluster_is_deleted(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        boss, berlin = make_user(Role.ADMIN), Datacenter.objects.create(name="Berlin")
        cluster, host = make_cluster("a", berlin), make_host("kvm-1", make_source("s", datacenter=berlin))

        def act(number: int) -> Any:
            if number == 0:
                return organization.delete_cluster(cluster=cluster, by=boss)
            return organization.assign_hosts(hosts=[host.pk], cluster=cluster, by=boss)

        refused(together(AT_ONCE, act))
        assert not Cluster.objects.exists()
        host.refresh_from_db()
        assert host.cluster_id is None


@pytest.mark.django_db(transaction=True)
def test_a_source_added_while_its_datacenter_is_deleted(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        boss, berlin = make_user(Role.ADMIN), Datacenter.objects.create(name="Berlin")

        def act(number: int) -> Any:
            if number % 2:
                return organization.delete_datacenter(datacenter=berlin, by=boss)
            uri = f"fake://world/alpha?file={tmp_path}/world-{number}.json"
            return services.add_configured_source(name=f"s{number}", uri=uri, datacenter="Berlin")

        results = together(AT_ONCE, act)
        assert refused(results[::2]) == []
        refused(results)
        assert Source.objects.count() == AT_ONCE // 2
        assert Datacenter.objects.count() == 1
