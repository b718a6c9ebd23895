"""A virtual switch's page: addresses, VLANs, port groups and who is in them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from lxml import html as parser

from access.roles import Role
from console.tables.switches import vlan_ranges
from networks.models import VirtualSwitch
from tests.factories import add_nic, add_port_group, make_guest, make_host, make_switch
from tests.web.conftest import ClientAs


@pytest.fixture
def viewer(client_as: ClientAs, db: None) -> Client:
    return client_as(Role.VIEWER)


def words(node: Any) -> str:
    return " ".join(" ".join(node.itertext()).split())


def document(client: Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200
    return parser.document_fromstring(answer.content.decode())


def facts(page: Any) -> dict[str, str]:
    names, values = page.xpath("//dl[@class='facts']/dt"), page.xpath("//dl[@class='facts']/dd")
    return dict(zip(map(words, names), map(words, values), strict=True))


def table(page: Any, panel: str) -> list[dict[str, str]]:
    (found,) = page.xpath(f"//section[header/h2[normalize-space()='{panel}']]")
    heads = [words(head) for head in found.xpath(".//thead//th")]
    return [dict(zip(heads, map(words, row.xpath("td")), strict=True)) for row in found.xpath(".//tbody/tr")]


def show(client: Client, switch: VirtualSwitch) -> Any:
    return document(client, f"/switches/{switch.pk}/")


def test_what_a_switch_is_made_of(viewer: Client) -> None:
    details = {
        "vlans": [20, 21, 22, 40],
        "native_vlan": 20,
        "trunk": True,
        "addresses": ["192.0.2.1/24", "2001:db8::1/64"],
        "dhcp": ["192.0.2.2-192.0.2.254"],
        "dhcp_hosts": 3,
        "domain": "example.net",
        "mtu": 9000,
    }
    shown = facts(
        show(viewer, make_switch("lan", kind="macvtap", mode="vepa", virtual_port="802.1Qbg", details=details))
    )
    assert shown["Kind"] == "macvtap vepa 802.1Qbg"
    assert shown["Managed"] == "yes"
    assert shown["MTU"] == "9,000"
    assert shown["Addresses"] == "192.0.2.1/24, 2001:db8::1/64"
    assert shown["DHCP ranges"] == "192.0.2.2-192.0.2.254"
    assert shown["Fixed addresses"] == "3"
    assert shown["Domain"] == "example.net"
    assert shown["VLANs"] == "20-22, 40 trunk native 20"


def test_a_bare_bridge_says_that_it_is_one(viewer: Client) -> None:
    shown = facts(show(viewer, make_switch("br0", managed=False)))
    assert shown["Managed"] == "no a bridge of the host, which the hypervisor only uses"
    assert {"MTU", "Domain", "Fixed addresses"} & set(shown) == set()


def test_port_groups_say_who_is_in_them(viewer: Client) -> None:
    switch = make_switch("lan", make_host())
    add_port_group(switch, "office", default=True)
    add_port_group(switch, "routers", vlans=[20, 30], trunk=True, native_vlan=30, virtual_port="openvswitch")
    guest = make_guest("db-07", switch.host)
    add_nic(guest, switch)  # names none: the default one
    add_nic(guest, switch, port_group="routers")
    add_nic(guest, switch, port_group="routers", vlans=[7])
    add_nic(guest, switch, port_group="gone")
    page = show(viewer, switch)
    none = "–"  # noqa: RUF001
    assert [list(row.values()) for row in table(page, "Port groups")] == [
        ["office default", "20", "no", none, none, "1"],
        ["routers", "20, 30", "yes", "30", "openvswitch", "2"],
    ]
    plugged = [(row["Port group"], row["VLANs"]) for row in table(page, "Plugged in")]
    assert plugged == [("office", "20"), ("routers", "20, 30"), ("routers", "7"), ("gone", none)]


def test_a_switch_without_port_groups_has_no_table_of_them(viewer: Client) -> None:
    assert "Port groups" not in words(show(viewer, make_switch()))


def test_the_list_says_vlans_of_switches_and_their_port_groups(viewer: Client) -> None:
    switch = make_switch("lan", details={"vlans": [5]})
    add_port_group(switch, "office", vlans=[6, 7])
    make_switch("bare", switch.host, managed=False)
    page = document(viewer, "/switches/")
    heads = [words(head) for head in page.xpath("//table[@id='list-table']/thead//th")]
    lines = [
        dict(zip(heads, map(words, row.xpath("td")), strict=True))
        for row in page.xpath("//table[@id='list-table']/tbody/tr")
    ]
    assert [(line["Name"], line["VLANs"], line["Managed"]) for line in lines] == [
        ("bare", "–", "no"),  # noqa: RUF001
        ("lan", "5-7", "yes"),
    ]
    assert "lan" not in words(document(viewer, "/switches/?q=managed:no").xpath("//table[@id='list-table']/tbody")[0])


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([5], "5"), ([7, 5, 6], "5-7"), ([1, 2, 4, 4, 9, 10], "1-2, 4, 9-10"), (range(4096), "0-4095")],
)
def test_vlans_in_few_words(numbers: Any, text: str) -> None:
    assert vlan_ranges(numbers) == text
