"""Each page of the inventory: for each role, small, in every state of its object. Queries: test_budgets.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from access.roles import Role
from console import home
from core.units import format_bytes
from hosts.models import Host, HostState, Source, SourceState
from inventory.models import Guest
from metrics.models import HostLoad
from tests.factories import (
    Inventory,
    add_disk,
    add_nic,
    make_guest,
    make_host,
    make_job,
    make_source,
    make_user,
    set_host_load,
    set_load,
)
from tests.web.conftest import ANONYMOUS, ROLES, ClientAs

PAGES: dict[str, Callable[[Inventory], str]] = {
    "overview": lambda i: "/",
    "hosts": lambda i: "/hosts/",
    "guests": lambda i: "/guests/",
    "datastores": lambda i: "/datastores/",
    "switches": lambda i: "/switches/",
    "recent tasks": lambda i: "/tasks/recent/",
    "host": lambda i: f"/hosts/{i.hosts[0].pk}/",
    "host's hardware": lambda i: f"/hosts/{i.hosts[0].pk}/hardware/",
    "host's guests": lambda i: f"/hosts/{i.hosts[0].pk}/guests/",
    "host's datastores": lambda i: f"/hosts/{i.hosts[0].pk}/datastores/",
    "host's switches": lambda i: f"/hosts/{i.hosts[0].pk}/switches/",
    "host's tasks": lambda i: f"/hosts/{i.hosts[0].pk}/tasks/",
    "guest": lambda i: f"/guests/{i.guests[0].pk}/",
    "guest's hardware": lambda i: f"/guests/{i.guests[0].pk}/hardware/",
    "guest's snapshots": lambda i: f"/guests/{i.guests[0].pk}/snapshots/",
    "guest's tasks": lambda i: f"/guests/{i.guests[0].pk}/tasks/",
    "datastore": lambda i: f"/datastores/{i.shared.pk}/",
    "datastore's volumes": lambda i: f"/datastores/{i.shared.pk}/volumes/",
    "datastore's guests": lambda i: f"/datastores/{i.shared.pk}/guests/",
    "datastore's hosts": lambda i: f"/datastores/{i.shared.pk}/hosts/",
    "switch": lambda i: f"/switches/{i.switches[0].pk}/",
    "switch's guests": lambda i: f"/switches/{i.switches[0].pk}/guests/",
    "tree of hosts": lambda i: f"/tree/hosts/?open=first&open=host:{i.hosts[0].pk}",
    "tree of guests": lambda i: "/tree/guests/?open=first",
    "tree of storage": lambda i: "/tree/storage/?open=first",
    "tree of networks": lambda i: f"/tree/networks/?open=first&open=host:{i.hosts[0].pk}",
}
LARGEST_PAGE_BYTES = 300 * 1024
each_page = pytest.mark.parametrize("page", PAGES)


@each_page
@pytest.mark.parametrize("role", ROLES)
def test_every_role_sees_it(client_as: ClientAs, inventory: Inventory, page: str, role: str) -> None:
    answer = client_as(role).get(PAGES[page](inventory))
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"


@each_page
def test_who_is_not_signed_in_is_asked_to(client_as: ClientAs, inventory: Inventory, page: str) -> None:
    answer = client_as(ANONYMOUS).get(PAGES[page](inventory))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/?next=/")


@each_page
def test_only_reading_is_allowed(client_as: ClientAs, inventory: Inventory, page: str) -> None:
    assert client_as(Role.ADMIN).post(PAGES[page](inventory)).status_code == 405


@each_page
def test_a_page_stays_small_in_a_large_inventory(client_as: ClientAs, inventory: Inventory, page: str) -> None:
    path = PAGES[page](inventory)
    host = inventory.hosts[0]
    for number in range(150):
        guest = make_guest(f"more-{number:03d}", host)
        add_disk(guest, inventory.shared)
        add_nic(guest, inventory.switches[0])
        set_load(guest)
        make_job(guest)
    assert len(client_as(Role.ADMIN).get(path).content) <= LARGEST_PAGE_BYTES


@pytest.mark.parametrize("path", ["/", "/hosts/", "/guests/", "/datastores/", "/switches/", "/tasks/"])
@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
def test_an_empty_installation_says_so(client_as: ClientAs, db: None, path: str, role: str) -> None:
    html = client_as(role).get(path).content.decode()
    assert 'class="empty"' in html


@pytest.mark.parametrize("name", ["hosts", "guests", "storage", "networks"])
def test_an_empty_tree_says_so(client_as: ClientAs, db: None, name: str) -> None:
    assert "Nothing here yet" in client_as(Role.VIEWER).get(f"/tree/{name}/?open=first").content.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/hosts/{0}/",
        "/guests/{0}/",
        "/datastores/{0}/",
        "/switches/{0}/",
        "/tree/other/",
        "/hosts/not-an-id/",
        "/nowhere/",
    ],
)
def test_what_is_not_there_is_not_found(client_as: ClientAs, inventory: Inventory, path: str) -> None:
    missing = "00000000-0000-7000-8000-000000000000"
    assert client_as(Role.ADMIN).get(path.format(missing)).status_code == 404


@pytest.mark.parametrize("kind", ["hosts", "guests", "datastores", "switches"])
def test_an_unknown_tab_is_not_found(client_as: ClientAs, inventory: Inventory, kind: str) -> None:
    rows: dict[str, Any] = {"hosts": inventory.hosts, "guests": inventory.guests, "datastores": [inventory.shared]}
    row = rows.get(kind, inventory.switches)[0]
    assert client_as(Role.ADMIN).get(f"/{kind}/{row.pk}/secrets/").status_code == 404


class TestAges:
    """What we cannot see now reads as the last known state, never as off."""

    def _page(self, client_as: ClientAs, guest: Guest) -> str:
        return client_as(Role.VIEWER).get(f"/guests/{guest.pk}/").content.decode()

    def test_a_guest_we_see(self, client_as: ClientAs, inventory: Inventory) -> None:
        guest = make_guest("seen", inventory.hosts[0])
        set_load(guest, 42.0)
        html = self._page(client_as, guest)
        assert "running" in html
        assert "last known" not in html
        assert "42 %" in html

    @pytest.mark.parametrize(
        ("state", "sentence"),
        [
            (SourceState.UNREACHABLE, "is not reachable"),
            (SourceState.AUTH_FAILED, "refuses our sign-in"),
            (SourceState.FAILING, "fails"),
            (SourceState.PAUSED, "is paused"),
        ],
    )
    def test_a_silent_source(
        self, client_as: ClientAs, inventory: Inventory, state: SourceState, sentence: str
    ) -> None:
        guest = make_guest("silent", inventory.hosts[0])
        set_load(guest, 42.0)
        since = timezone.now() - timedelta(minutes=47)
        Source.objects.filter(pk=inventory.hosts[0].source_id).update(state=state, state_since=since)
        html = self._page(client_as, guest)
        assert "last known: running" in html
        assert sentence in html
        assert "47 min ago" in html
        assert "42 %" not in html, "a load from before is not shown as one from now"

    def test_a_silent_host(self, client_as: ClientAs, inventory: Inventory) -> None:
        host = inventory.hosts[0]
        host.state = HostState.NOT_RESPONDING
        host.save()
        assert "last known: running" in self._page(client_as, make_guest("silent", host))
        assert "not responding" in client_as(Role.VIEWER).get(f"/hosts/{host.pk}/").content.decode()

    def test_a_missing_guest(self, client_as: ClientAs, inventory: Inventory) -> None:
        guest = make_guest("gone", inventory.hosts[0], missing_since=timezone.now() - timedelta(hours=3))
        html = self._page(client_as, guest)
        assert "missing" in html
        assert "No host reports this guest any more." in html

    def test_a_host_of_a_paused_source_is_paused(self, client_as: ClientAs, inventory: Inventory) -> None:
        host = inventory.hosts[0]
        Source.objects.filter(pk=host.source_id).update(state=SourceState.PAUSED)
        html = client_as(Role.VIEWER).get("/hosts/?q=state:paused").content.decode()
        assert host.name in html
        assert "not responding" not in html.split("<tbody>")[1].split("</tbody>")[0]

    def test_a_datastore_is_known_while_one_host_that_sees_it_answers(
        self, client_as: ClientAs, inventory: Inventory
    ) -> None:
        path = f"/datastores/{inventory.shared.pk}/"
        Source.objects.filter(pk=inventory.hosts[0].source_id).update(state=SourceState.UNREACHABLE)
        assert "last known: active" not in client_as(Role.VIEWER).get(path).content.decode()
        Source.objects.update(state=SourceState.UNREACHABLE)
        assert "last known: active" in client_as(Role.VIEWER).get(path).content.decode()


def test_the_overview_names_what_needs_a_person(client_as: ClientAs, inventory: Inventory) -> None:
    Source.objects.filter(pk=inventory.sources[0].pk).update(
        state=SourceState.UNREACHABLE, state_message="Nobody answers at that address."
    )
    make_guest("twin", inventory.hosts[1], conflict="Another guest has the same UUID.")
    html = client_as(Role.VIEWER).get("/").content.decode()
    assert "Nobody answers at that address." in html
    assert "Another guest has the same UUID." in html


@pytest.fixture
def silent_hosts(inventory: Inventory) -> list[Host]:
    """More than the overview shows, as busy as can be when we saw them last, each silent for another reason."""
    paused, unreachable = (make_source(f"s-{state}", state=state) for state in (SourceState.PAUSED, "unreachable"))
    hosts = [make_host(f"silent-{number}", paused if number % 2 else unreachable) for number in range(home.BUSIEST)]
    hosts.append(make_host("not-responding", inventory.sources[0], state=HostState.NOT_RESPONDING))
    hosts.append(make_host("gone", inventory.sources[0], missing_since=timezone.now()))
    for host in hosts:
        set_host_load(host, 99.0)
    return hosts


def test_the_busiest_hosts_are_among_those_we_see(
    client_as: ClientAs, inventory: Inventory, silent_hosts: list[Host]
) -> None:
    busiest = client_as(Role.VIEWER).get("/").context["busiest"]
    assert {row["host"].pk for row in busiest} == {host.pk for host in inventory.hosts}


def test_memory_in_use_is_compared_with_that_of_the_same_hosts(
    client_as: ClientAs, inventory: Inventory, silent_hosts: list[Host]
) -> None:
    make_host("not-measured-yet", inventory.sources[0])
    used = HostLoad.objects.filter(pk__in=[host.pk for host in inventory.hosts])
    whole = sum(host.memory_bytes for host in inventory.hosts)
    gauge = client_as(Role.VIEWER).get("/").context["gauges"][0]
    assert gauge["percent"] == pytest.approx(100 * sum(load.memory_used_bytes for load in used) / whole)
    assert format_bytes(whole) in gauge["words"]


def test_no_memory_in_use_is_known_while_no_host_is_seen(client_as: ClientAs, inventory: Inventory) -> None:
    Source.objects.update(state=SourceState.UNREACHABLE)
    gauge = client_as(Role.VIEWER).get("/").context["gauges"][0]
    assert gauge["percent"] is None


def test_a_deactivated_user_sees_nothing_more(client_as: ClientAs, inventory: Inventory) -> None:
    user = make_user(Role.ADMIN, "leaver")
    client = Client()
    client.force_login(user)
    assert client.get("/guests/").status_code == 200
    user.is_active = False
    user.save()
    assert client.get("/guests/").status_code == 302
