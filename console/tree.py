"""The inventory trees: hosts, guests, storage and networks, each below its datacenter.

One request draws a tree with the branches that are open: one query for each open datacenter, one for all open hosts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Count, F, Model, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.ages import guest_silence, host_shown_state, switch_silence
from console.tables import datastores, switches
from console.tables.cells import counted, page_url
from core.lists import Sort, Term, keyset_page
from core.models import by_name, count_of
from hosts.models import Cluster, Host
from hosts.selectors import cluster_list, datacenter_list, host_list
from inventory.folders import folder_list
from inventory.models import Guest, GuestState
from inventory.selectors import guest_list
from networks.selectors import switch_list
from storage.models import Datastore

# More children than this are a wall, not a tree: the list takes over.
MOST_CHILDREN = 200
MOST_OPEN = 100
MOST_DATACENTERS = 10
MOST_FOLDERS = 500
BY_NAME = Sort("name", (by_name(),))
_NAMED = (by_name(), "id")

M = TypeVar("M", bound=Model)


@dataclass
class Node:
    """One item. `children` is none for a leaf; an unopened branch has an empty list."""

    key: str
    name: str
    url: str
    icon: str = ""
    state: tuple[str, Any] | None = None
    stale: bool = False
    count: int | None = None
    open: bool = False
    children: list[Node] | None = None
    more: int = 0
    more_url: str = ""


@dataclass
class Branches:
    """Which nodes are open: ids by the kind of node."""

    asked: list[str] = field(default_factory=list)

    def ids(self, kind: str) -> list[UUID]:
        found = []
        for one in self.asked[:MOST_OPEN]:
            name, _dash, value = one.partition(":")
            if name == kind:
                try:
                    found.append(UUID(value))
                except ValueError:
                    continue
        return list(dict.fromkeys(found))


@require_safe
def tree(request: HttpRequest, name: str) -> HttpResponse:
    """One tree with its open branches, as a fragment."""
    require(request.user, Action.VIEW)
    build = TREES.get(name)
    if build is None:
        raise Http404
    nodes, label = build(request.user, request.GET.getlist("open"))
    return render(request, "console/_tree.html", {"nodes": nodes, "label": label, "name": name})


def _datacenters(user: Any, asked: list[str], below: QuerySet[Any]) -> tuple[list[Node], Branches]:
    """The roots. `first` opens them, for a browser that has not opened or closed any yet.

    MOST_DATACENTERS are open at once, since no more are filled.
    """
    rows: QuerySet[Any] = datacenter_list(user=user).annotate(number=count_of(below, "datacenter"))
    nodes: list[Node] = []
    for row in rows.order_by("name", "id"):
        key = f"datacenter:{row.pk}"
        is_open = ("first" in asked or key in asked) and sum(node.open for node in nodes) < MOST_DATACENTERS
        url = page_url("datacenter", row.pk)
        nodes.append(Node(key, row.name, url, "building", count=row.number, open=is_open, children=[]))
    branches = Branches([node.key for node in nodes if node.open] + [one for one in asked if one != "first"])
    return nodes, branches


def _capped(queryset: Any, group: str, order: Iterable[Any]) -> Any:
    """The first rows of each group: branches with thousands of children stay small."""
    place = Window(RowNumber(), partition_by=[F(group)], order_by=list(order))
    return queryset.annotate(_place=place).filter(_place__lte=MOST_CHILDREN).order_by(*order)


def _below(rows: QuerySet[M], datacenters: list[UUID]) -> Iterator[M]:
    """The first rows of each datacenter."""
    for datacenter in datacenters[:MOST_DATACENTERS]:
        yield from keyset_page(rows.filter(datacenter=datacenter), BY_NAME, size=MOST_CHILDREN).rows


def _fill(parents: list[Node], children: dict[str, list[Node]], list_url: str, filter_field: str) -> None:
    for parent in parents:
        if not parent.open:
            continue
        parent.children = children.get(parent.key, [])
        hidden = (parent.count or 0) - len(parent.children)
        if hidden > 0 and len(parent.children) >= MOST_CHILDREN:
            parent.more, parent.more_url = hidden, f"{list_url}?{_query(**{filter_field: parent.name})}"


def _query(**values: str) -> str:
    return urlencode({"q": " ".join(Term(name, value.replace('"', "")).text for name, value in values.items())})


def _guest_node(guest: Guest) -> Node:
    silent = guest_silence(guest) is not None
    look = ("missing", _("missing")) if guest.missing_since else (guest.state, GuestState(guest.state).label)
    return Node(f"guest:{guest.pk}", guest.name, page_url("guest", guest.pk), state=look, stale=silent)


def _host_node(host: Host, *, is_open: bool, count: int) -> Node:
    children: list[Node] | None = [] if count else None
    return Node(
        f"host:{host.pk}",
        host.name,
        page_url("host", host.pk),
        state=("maintenance", _("maintenance")) if host.maintenance else host_shown_state(host),
        count=count,
        open=is_open and bool(count),
        children=children,
    )


def _hosts_below(
    rows: QuerySet[Host], branches: Branches, on_them: QuerySet[Any]
) -> tuple[dict[str, list[Node]], list[Node]]:
    wanted = branches.ids("datacenter")
    opened = set(branches.ids("host"))
    by_datacenter: dict[str, list[Node]] = defaultdict(list)
    hosts = list(_below(rows, wanted))
    numbers = _numbers(on_them, [host.pk for host in hosts])
    for host in hosts:
        node = _host_node(host, is_open=host.pk in opened, count=numbers.get(host.pk, 0))
        by_datacenter[f"datacenter:{host.datacenter_id}"].append(node)
    return by_datacenter, [node for nodes in by_datacenter.values() for node in nodes]


def _numbers(rows: QuerySet[Any], hosts: list[UUID]) -> dict[UUID, int]:
    return dict(rows.filter(host__in=hosts).order_by().values_list("host").annotate(Count("pk")))


def _host_tree(user: Any, asked: list[str]) -> tuple[list[Node], str]:
    """Datacenter, cluster, host, guest; hosts in no cluster stand directly in their datacenter, after its clusters."""
    every, guests = host_list(user=user), guest_list(user=user)
    roots, branches = _datacenters(user, asked, every)
    below, hosts = _hosts_below(every.filter(cluster=None), branches, guests)
    clusters = _clusters(user, branches)
    in_clusters = _hosts_in_clusters(every, clusters, branches, guests)
    for root in roots:
        if root.open:
            _fill_datacenter(root, clusters.get(root.key, []), below.get(root.key, []))
    by_host: dict[str, list[Node]] = defaultdict(list)
    for guest in _capped(guests.filter(host__in=branches.ids("host")), "host_id", [by_name(), "id"]):
        by_host[f"host:{guest.host_id}"].append(_guest_node(guest))
    _fill([*hosts, *in_clusters], by_host, reverse("guest_list"), "host")
    return roots, _("Hosts")


def _clusters(user: Any, branches: Branches) -> dict[str, list[Node]]:
    """The clusters of each open datacenter."""
    opened = set(branches.ids("cluster"))
    found: dict[str, list[Node]] = defaultdict(list)
    wanted = branches.ids("datacenter")[:MOST_DATACENTERS]
    rows: Iterable[Any] = _capped(cluster_list(user=user).filter(datacenter__in=wanted), "datacenter_id", _NAMED)
    for row in rows:
        found[f"datacenter:{row.datacenter_id}"].append(_cluster_node(row, is_open=row.pk in opened))
    return found


def _cluster_node(row: Cluster, *, is_open: bool) -> Node:
    url, count = page_url("cluster", row.pk), counted(row, "host_count")
    return Node(f"cluster:{row.pk}", row.name, url, "affiliate", count=count, open=is_open, children=[])


def _hosts_in_clusters(
    every: QuerySet[Host], clusters: dict[str, list[Node]], branches: Branches, guests: QuerySet[Any]
) -> list[Node]:
    """Fill the open clusters; the nodes of their hosts."""
    opened = [node for nodes in clusters.values() for node in nodes if node.open]
    ids = Branches([node.key for node in opened]).ids("cluster")
    hosts = list(_capped(every.filter(cluster__in=ids), "cluster_id", _NAMED)) if ids else []
    numbers = _numbers(guests, [host.pk for host in hosts]) if hosts else {}
    open_hosts = set(branches.ids("host"))
    below: dict[str, list[Node]] = defaultdict(list)
    for host in hosts:
        node = _host_node(host, is_open=host.pk in open_hosts, count=numbers.get(host.pk, 0))
        below[f"cluster:{host.cluster_id}"].append(node)
    _fill(opened, below, reverse("host_list"), "cluster")
    return [node for nodes in below.values() for node in nodes]


def _fill_datacenter(root: Node, clusters: list[Node], hosts: list[Node]) -> None:
    root.children = [*clusters, *hosts]
    hidden = (root.count or 0) - sum(node.count or 0 for node in clusters) - len(hosts)
    if hidden > 0 and len(hosts) >= MOST_CHILDREN:
        root.more, root.more_url = hidden, f"{reverse('host_list')}?{_query(datacenter=root.name, cluster='')}"


def _guest_tree(user: Any, asked: list[str]) -> tuple[list[Node], str]:
    """Datacenter, folders in folders, guest; guests in no folder stand directly in their datacenter."""
    guests = guest_list(user=user)
    roots, branches = _datacenters(user, asked, guests)
    folders = _folders(user, branches)
    _fill_folders(folders, guests)
    alone: dict[str, list[Node]] = defaultdict(list)
    for guest in _below(guests.filter(folder_entry=None), branches.ids("datacenter")):
        alone[f"datacenter:{guest.datacenter_id}"].append(_guest_node(guest))
    for root in roots:
        if root.open:
            shown = alone.get(root.key, [])
            root.children = [*folders.get(root.key, []), *shown]
            if len(shown) >= MOST_CHILDREN:
                _offer_more(root, guests.filter(datacenter__name=root.name, folder_entry=None).count() - len(shown))
    return roots, _("Guests")


def _offer_more(root: Node, hidden: int) -> None:
    if hidden > 0:
        root.more, root.more_url = hidden, f"{reverse('guest_list')}?{_query(datacenter=root.name, folder='')}"


def _folders(user: Any, branches: Branches) -> dict[str, list[Node]]:
    """The folders of the open datacenters whose own folder is open, by what they are in."""
    opened = branches.ids("folder")
    in_open = Q(parent=None, datacenter__in=branches.ids("datacenter")[:MOST_DATACENTERS]) | Q(parent__in=opened)
    found: dict[str, list[Node]] = defaultdict(list)
    for row in folder_list(user=user).filter(in_open).order_by(*_NAMED)[:MOST_FOLDERS]:
        above = f"folder:{row.parent_id}" if row.parent_id else f"datacenter:{row.datacenter_id}"
        url, count = page_url("folder", row.pk), counted(row, "guest_count")
        node = Node(f"folder:{row.pk}", row.name, url, "folder", count=count, open=row.pk in opened, children=[])
        found[above].append(node)
    return found


def _fill_folders(folders: dict[str, list[Node]], guests: QuerySet[Any]) -> None:
    opened = [node for nodes in folders.values() for node in nodes if node.open]
    ids = Branches([node.key for node in opened]).ids("folder")
    below: dict[str, list[Node]] = {node.key: list(folders.get(node.key, [])) for node in opened}
    rows = guests.filter(folder_entry__folder__in=ids).annotate(folder_id=F("folder_entry__folder_id"))
    for guest in _capped(rows, "folder_id", _NAMED) if ids else []:
        below[f"folder:{guest.folder_id}"].append(_guest_node(guest))
    for node in opened:
        node.children = below[node.key]
        hidden = (node.count or 0) - (len(node.children) - len(folders.get(node.key, [])))
        if hidden > 0:
            node.more, node.more_url = hidden, node.url


def _storage_tree(user: Any, asked: list[str]) -> tuple[list[Node], str]:
    rows = Datastore.objects.restrict(user, Action.VIEW)
    roots, branches = _datacenters(user, asked, rows)
    below: dict[str, list[Node]] = defaultdict(list)
    for row in _below(rows, branches.ids("datacenter")):
        look = datastores.state_of(row)
        node = Node(f"datastore:{row.pk}", row.name, page_url("datastore", row.pk), state=look)
        below[f"datacenter:{row.datacenter_id}"].append(node)
    _fill(roots, below, reverse("datastore_list"), "datacenter")
    return roots, _("Storage")


def _network_tree(user: Any, asked: list[str]) -> tuple[list[Node], str]:
    every, rows = host_list(user=user), switch_list(user=user)
    roots, branches = _datacenters(user, asked, every)
    below, hosts = _hosts_below(every, branches, rows)
    _fill(roots, below, reverse("host_list"), "datacenter")
    by_host: dict[str, list[Node]] = defaultdict(list)
    for row in _capped(rows.filter(host__in=branches.ids("host")), "host_id", [by_name(), "id"]):
        silent = switch_silence(row) is not None
        node = Node(
            f"switch:{row.pk}", row.name, page_url("switch", row.pk), state=switches.state_of(row), stale=silent
        )
        by_host[f"host:{row.host_id}"].append(node)
    _fill(hosts, by_host, reverse("switch_list"), "host")
    return roots, _("Networks")


Builder = Callable[[Any, list[str]], tuple[list[Node], str]]
TREES: dict[str, Builder] = {
    "hosts": _host_tree,
    "guests": _guest_tree,
    "storage": _storage_tree,
    "networks": _network_tree,
}
