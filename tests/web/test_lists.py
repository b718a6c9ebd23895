"""Lists as a person uses them: sort, filter, pages, and what the URL may hold."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from access.roles import Role
from core import lists
from hosts.models import HostState, SourceState
from inventory.models import GuestState
from storage.models import DatastoreMount
from tests.factories import (
    Inventory,
    make_datastore,
    make_guest,
    make_host,
    make_job,
    make_source,
    make_switch,
    set_host_load,
    set_load,
)
from tests.web.conftest import ClientAs

LISTS = ["/hosts/", "/guests/", "/datastores/", "/switches/", "/tasks/"]


def _rows(html: str) -> list[str]:
    body = html.split("<tbody>")[1].split("</tbody>", maxsplit=1)[0]
    return re.findall(r'<a class="name"[^>]*>([^<]*)</a>', body)


def _get(client_as: ClientAs, path: str, **query: str) -> str:
    answer = client_as(Role.OPERATOR).get(path, query)
    assert answer.status_code == 200
    return answer.content.decode()


def _head(html: str) -> str:
    return html.split("<thead>")[1].split("</thead>", maxsplit=1)[0]


def _sorts(html: str) -> list[str]:
    return re.findall(r"[?&;]sort=(-?\w+)", _head(html))


@pytest.mark.parametrize("path", LISTS)
def test_every_offered_order_works_both_ways(client_as: ClientAs, inventory: Inventory, path: str) -> None:
    for sort in _sorts(_get(client_as, path)):
        for text in (sort, f"-{sort.removeprefix('-')}", sort.removeprefix("-")):
            assert 'aria-sort="' in _get(client_as, path, sort=text)


@pytest.mark.parametrize("path", LISTS)
def test_every_offered_filter_works(client_as: ClientAs, inventory: Inventory, path: str) -> None:
    html = _get(client_as, path)
    for query in re.findall(r'class="dropdown-item" href="[^"]*[?;&]q=(\w+)%3A(\w+)', html):
        _get(client_as, path, q=":".join(query))


def test_sort_by_memory_shows_the_largest_first(client_as: ClientAs, inventory: Inventory) -> None:
    largest = make_guest("largest", inventory.hosts[0], memory_bytes=2**45)
    assert _rows(_get(client_as, "/guests/", sort="-memory"))[0] == largest.name


def test_sort_by_load_puts_the_unknown_last(client_as: ClientAs, inventory: Inventory) -> None:
    unknown = make_guest("0-unknown", inventory.hosts[0])
    rows = _rows(_get(client_as, "/guests/", sort="-cpu"))
    assert unknown.name in rows[-8:]


@pytest.fixture
def in_every_state(inventory: Inventory) -> Inventory:
    """Each kind of object in each state, on hosts and sources in each state; names lead through all of them."""
    hosts = [
        *inventory.hosts,
        *(make_host(f"a-{state}", make_source(f"s-{state}", state=state)) for state in SourceState),
    ]
    hosts.append(make_host("b-silent", inventory.sources[0], state=HostState.NOT_RESPONDING))
    hosts.append(make_host("c-gone", inventory.sources[0], missing_since=timezone.now()))
    for number, host in enumerate(hosts):
        for missing in (None, timezone.now()):
            letter = chr(97 + number * 7 % len(hosts))
            make_guest(f"{letter}-off-{missing}", host, state=GuestState.OFF, missing_since=missing)
            set_load(make_guest(f"{letter}-on-{missing}", host, missing_since=missing), 95.0)
            for active in (True, False):
                make_switch(f"{letter}-{active}-{missing}", host, active=active, missing_since=missing)
                make_datastore(f"{letter}-{active}-{missing}", (host,), active=active, missing_since=missing)
    make_datastore("b-both", (hosts[-1], hosts[0]))
    make_datastore("z-nobody")
    return inventory


def _column(client: Client, path: str, name: str) -> list[str]:
    """What a column shows, on all pages of the list."""
    words = []
    while path:
        listing = client.get(path).context["list"]
        words += [strip_tags(cell).strip() for row in listing.rows for column, cell in row.cells if column.name == name]
        path = listing.next_url
    return words


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("path", ["/hosts/", "/guests/", "/datastores/", "/switches/"])
def test_sort_by_state_keeps_together_what_looks_alike(
    client_as: ClientAs, in_every_state: Inventory, monkeypatch: pytest.MonkeyPatch, path: str, sign: str
) -> None:
    seven_rows = lists.keyset_page
    monkeypatch.setattr(lists, "keyset_page", lambda rows, sort, at, _size: seven_rows(rows, sort, at, 7))
    words = _column(client_as(Role.VIEWER), f"{path}?sort={sign}state", "state")
    assert len(set(words)) >= 4
    assert len(list(groupby(words))) == len(set(words))


def test_sort_by_load_puts_last_what_shows_none(client_as: ClientAs, in_every_state: Inventory) -> None:
    """A load from before says nothing: of a guest that is off or missing, or whose host we do not see."""
    words = _column(client_as(Role.VIEWER), "/guests/?sort=-cpu", "cpu")
    known = [word for word in words if word.endswith("%")]
    assert words[: len(known)] == known
    assert known.count("95 %") == 5
    assert len(words) - len(known) > 20


def test_a_load_that_nobody_told_lately_is_none(client_as: ClientAs, inventory: Inventory) -> None:
    """Wherever one is shown: however busy it was, it neither leads the list nor counts."""
    host = make_host("0-lost", inventory.sources[0])
    guest, old = make_guest("0-lost", host), timezone.now() - timedelta(minutes=6)
    set_load(guest, 99.5, read_at=old)
    set_host_load(host, 99.5, read_at=old)
    client = client_as(Role.VIEWER)
    assert "0-lost" in _column(client, "/guests/?sort=-cpu", "name")[-8:]
    for path in ("/guests/?sort=-cpu", "/hosts/"):
        shown = dict(zip(_column(client, path, "name"), _column(client, path, "cpu"), strict=True))
        assert "%" not in shown["0-lost"]
    assert "0-lost" not in client.get("/").content.decode().split("<main", 1)[1]
    for row, kind in ((guest, "guests"), (host, "hosts")):
        assert client.get(f"/api/v1/{kind}/{row.pk}/").json()["load"] is None


def test_a_guest_that_is_off_has_no_load_whatever_was_told(client_as: ClientAs, inventory: Inventory) -> None:
    guest = make_guest("0-off", inventory.hosts[0], state=GuestState.OFF)
    set_load(guest, 95.0)
    assert client_as(Role.VIEWER).get(f"/api/v1/guests/{guest.pk}/").json()["load"] is None


def test_filter_by_words_and_fields(client_as: ClientAs, inventory: Inventory) -> None:
    make_guest("needle-1", inventory.hosts[0], addresses="198.51.100.77")
    make_guest("needle-2", inventory.hosts[1], state="off", addresses="")
    assert _rows(_get(client_as, "/guests/", q="needle state:off"))[:1] == ["needle-2"]
    assert _rows(_get(client_as, "/guests/", q="198.51.100.77"))[:1] == ["needle-1"]
    assert _rows(_get(client_as, "/guests/", q=f"needle host:{inventory.hosts[0].name}"))[:1] == ["needle-1"]
    assert "Nothing matches this filter." in _get(client_as, "/guests/", q="no such guest")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"q": "flavor:big"}, "There is no field"),
        ({"q": 'host:"x'}, "not closed"),
        ({"q": "state:asleep"}, "is one of"),
        ({"sort": "password"}, "cannot be sorted"),
        ({"sort": "-pk"}, "cannot be sorted"),
        ({"sort": "name);drop table"}, "cannot be sorted"),
        ({"at": "forged"}, "damaged"),
        ({"q": "a\0b"}, "too long"),
    ],
)
def test_a_mistake_in_the_url_is_one_sentence(
    client_as: ClientAs, inventory: Inventory, query: dict[str, str], sentence: str
) -> None:
    answer = client_as(Role.VIEWER).get("/guests/", query)
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert b"Show all" in answer.content


def test_pages_follow_each_other(client_as: ClientAs, inventory: Inventory) -> None:
    for number in range(230):
        make_guest(f"page-{number:03d}", inventory.hosts[0])
    seen: list[str] = []
    path = "/guests/?q=page"
    for _page in range(3):
        html = client_as(Role.VIEWER).get(path).content.decode()
        seen += [name for name in _rows(html) if name.startswith("page-")]
        link = re.search(r'href="([^"]*)" title="Next page"', html)
        path = link[1].replace("&amp;", "&") if link else ""
    assert seen == [f"page-{number:03d}" for number in range(230)]
    assert not path
    assert "201–230 of 230" in html  # noqa: RUF001 - a dash
    back = re.search(r'href="([^"]*)" title="Previous page"', html)
    assert back
    html = client_as(Role.VIEWER).get(back[1].replace("&amp;", "&")).content.decode()
    assert "101–200 of 230" in html  # noqa: RUF001 - a dash


def test_a_missing_guest_is_missing_whatever_it_did_before(client_as: ClientAs, inventory: Inventory) -> None:
    make_guest("gone", inventory.hosts[0], state="running", missing_since=timezone.now())
    assert "gone" not in _rows(_get(client_as, "/guests/", q="state:running"))
    assert _rows(_get(client_as, "/guests/", q="state:missing"))[:1] == ["gone"]
    assert "gone" in _rows(_get(client_as, "/guests/", q="state:running state:missing"))


def test_the_overview_counts_what_the_list_it_leads_to_holds(client_as: ClientAs, inventory: Inventory) -> None:
    for state in GuestState:
        make_guest(f"gone-{state}", inventory.hosts[0], state=state, missing_since=timezone.now())
    states = client_as(Role.VIEWER).get("/").context["guest_states"]
    assert states
    for one in states:
        assert client_as(Role.VIEWER).get(one["url"]).context["list"].total == one["number"]


def test_tasks_of_every_kind_can_be_filtered_for(client_as: ClientAs, inventory: Inventory) -> None:
    from operations import kinds

    for kind in kinds._kinds:
        job = make_job(inventory.guests[0], kind=kind)
        assert f"/{job.pk}/" in _get(client_as, "/tasks/", q=f"kind:{kind}")


def test_the_filter_stays_with_the_order(client_as: ClientAs, inventory: Inventory) -> None:
    html = _get(client_as, "/guests/", q="state:running", sort="-memory")
    assert 'value="state:running"' in html
    assert '<input type="hidden" name="sort" value="-memory">' in html
    assert all("q=state%3Arunning" in link for link in re.findall(r'<a href="([^"]*)"', _head(html)))


def test_related_lists_hold_only_what_belongs_there(client_as: ClientAs, inventory: Inventory) -> None:
    host, other = inventory.hosts[0], inventory.hosts[1]
    make_guest("mine", host)
    make_guest("theirs", other)
    rows = _rows(_get(client_as, f"/hosts/{host.pk}/guests/"))
    assert "mine" in rows
    assert "theirs" not in rows
    rows = _rows(_get(client_as, f"/hosts/{host.pk}/datastores/"))
    assert rows == [inventory.local[0].name, host.name, inventory.shared.name]


def test_a_guest_with_two_disks_on_a_datastore_is_one_row(client_as: ClientAs, inventory: Inventory) -> None:
    from tests.factories import add_disk

    guest = make_guest("two-disks", inventory.hosts[0])
    add_disk(guest, inventory.shared)
    add_disk(guest, inventory.shared)
    assert _rows(_get(client_as, f"/datastores/{inventory.shared.pk}/guests/")).count("two-disks") == 1


def test_a_datastore_that_several_hosts_see_is_found_by_each_and_once(
    client_as: ClientAs, inventory: Inventory
) -> None:
    first, second, third = inventory.hosts
    mount = DatastoreMount.objects.get(datastore=inventory.shared, host=first)
    DatastoreMount.objects.create(
        datastore=inventory.shared, host=first, ref="again", name="again", active=True, evidence_at=mount.evidence_at
    )
    words = f"shared host:{first.name} host:{second.name.upper()}"
    listing = client_as(Role.OPERATOR).get("/datastores/", {"q": words}).context["list"]
    assert [row.id for row in listing.rows] == [str(inventory.shared.pk)]
    assert listing.total == 1
    exported: Any = client_as(Role.OPERATOR).get("/datastores/", {"q": words, "export": "csv"})
    assert len(b"".join(exported.streaming_content).splitlines()) == 2
    DatastoreMount.objects.filter(host=third).update(missing_since=timezone.now())
    assert client_as(Role.OPERATOR).get("/datastores/", {"q": f"host:{third.name}"}).context["list"].total == 0


def test_a_datastore_of_one_host_names_it(client_as: ClientAs, inventory: Inventory) -> None:
    """Local datastores mostly have one name on every host."""
    html = _get(client_as, "/datastores/")
    for host in inventory.hosts:
        assert f'href="/hosts/{host.pk}/"' in html.split("<tbody>")[1]
        assert f'<span class="muted name" dir="auto">{host.name}</span>' in _get(client_as, "/")
