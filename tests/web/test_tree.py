"""The trees: lazy branches, capped, with honest states."""

from __future__ import annotations

import pytest

from access.roles import Role
from console import tree
from hosts.models import Datacenter, Source, SourceState
from tests.factories import Inventory, make_guest, make_host, make_source
from tests.web.conftest import ClientAs


def _tree(client_as: ClientAs, name: str, *open_nodes: str) -> str:
    answer = client_as(Role.VIEWER).get(f"/tree/{name}/", {"open": list(open_nodes)})
    assert answer.status_code == 200
    return answer.content.decode()


def test_closed_branches_are_not_loaded(client_as: ClientAs, inventory: Inventory) -> None:
    html = _tree(client_as, "hosts")
    assert "Berlin" in html
    assert 'aria-expanded="false"' in html
    assert "kvm-01" not in html


def test_opening_a_host_shows_its_guests_and_no_others(client_as: ClientAs, inventory: Inventory) -> None:
    first, second = inventory.hosts[0], inventory.hosts[1]
    make_guest("mine", first)
    make_guest("theirs", second)
    html = _tree(client_as, "hosts", f"datacenter:{first.datacenter_id}", f"host:{first.pk}")
    assert "mine" in html
    assert "theirs" not in html
    assert 'aria-level="3"' in html


def test_every_row_is_there_once(client_as: ClientAs, inventory: Inventory) -> None:
    """However a branch was asked for: by name, as one of all, or twice."""
    host = inventory.hosts[0]
    make_guest("mine", host)
    opened = ["first", *[f"datacenter:{host.datacenter_id}", f"host:{host.pk}"] * 2]
    for name, row in (
        ("hosts", host),
        ("networks", host),
        ("storage", inventory.shared),
        ("guests", host.guests.last()),
    ):
        html = _tree(client_as, name, *opened)
        assert html.count(f">{row}</a>") == 1, name


def test_a_wall_of_children_is_capped(
    client_as: ClientAs, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "MOST_CHILDREN", 5)
    html = _tree(client_as, "guests", "first")
    assert "7 more…" in html
    assert "/guests/?q=datacenter%3ABerlin" in html


def test_guests_of_a_silent_source_are_marked(client_as: ClientAs, inventory: Inventory) -> None:
    make_guest("mine", inventory.hosts[0])
    Source.objects.update(state=SourceState.UNREACHABLE)
    assert "stale" in _tree(client_as, "hosts", "first", f"host:{inventory.hosts[0].pk}")


@pytest.mark.parametrize("node", ["host:x", "host:", ":", "datacenter:1' or 1", "host:" + "0" * 400, "\0"])
def test_an_unknown_node_opens_nothing(client_as: ClientAs, inventory: Inventory, node: str) -> None:
    assert "kvm-01" not in _tree(client_as, "hosts", node)


def test_switches_below_their_hosts(client_as: ClientAs, inventory: Inventory) -> None:
    host = inventory.hosts[0]
    html = _tree(client_as, "networks", "first", f"host:{host.pk}")
    assert all(name in html for name in ("default", "isolated", "prod"))
    assert html.count(">prod<") == 1


def test_datastores_below_their_datacenter(client_as: ClientAs, inventory: Inventory) -> None:
    assert inventory.shared.name in _tree(client_as, "storage", "first")


def test_no_more_datacenters_are_open_than_are_filled(client_as: ClientAs, inventory: Inventory) -> None:
    for number in range(tree.MOST_DATACENTERS + 2):
        datacenter = Datacenter.objects.create(name=f"dc-{number:02d}")
        make_host(f"far-{number}", make_source(f"far-{number}", datacenter=datacenter))
    html = _tree(client_as, "hosts", "first")
    assert html.count('data-node="datacenter:') == tree.MOST_DATACENTERS + 3
    open_ones = [
        node for node in html.split("data-node=")[1:] if 'aria-expanded="true"' in node and "datacenter:" in node
    ]
    assert len(open_ones) == tree.MOST_DATACENTERS
