"""Names that come from a hypervisor are data, wherever a page shows them."""

from __future__ import annotations

import re

import pytest

from access.roles import Role
from inventory.models import Guest
from tests.factories import Inventory, add_disk, add_nic, make_datastore, make_guest, make_host, make_job, make_switch
from tests.web.conftest import ClientAs

SCRIPT = "<script>alert(1)</script>"
NAMES = {
    "script": SCRIPT,
    "attribute": '" onmouseover="alert(1)" x="',
    "single quotes": "' onfocus='alert(1)' autofocus '",
    "template": "{{ 7|add:35 }}{% now 'Y' %}",
    "right to left": "db\u202egnp.exe",
    "long": "x" * 255,
    "emoji": "🦊" * 60,
    "link": "javascript:alert(1)",
    "markup": "</td></tr></table><h1>x",
}


@pytest.fixture
def guest(inventory: Inventory, request: pytest.FixtureRequest) -> Guest:
    """A guest whose every text, and whose host, datastore and switch, carry the name."""
    name = NAMES[request.param]
    host = make_host(name, inventory.sources[0], vendor=name, model=name, cpu_model=name[:255])
    store = make_datastore(name, (host,), path=name, source=name)
    switch = make_switch(name, host, bridge=name[:64], uplinks=[name])
    guest = make_guest(name, host, notes=name, title=name, addresses=name, machine=name[:64], conflict=name)
    add_disk(guest, store, source=name)
    add_nic(guest, switch, network=name, addresses=[name])
    make_job(guest, message=name, submitted_by_name=name[:150])
    return guest


def _paths(guest: Guest) -> list[str]:
    disk, nic = guest.disks.get(), guest.nics.get()
    host = guest.host_id
    return [
        "/",
        "/guests/",
        "/hosts/",
        "/datastores/",
        "/switches/",
        "/tasks/recent/",
        f"/guests/{guest.pk}/",
        f"/guests/{guest.pk}/tasks/",
        f"/hosts/{host}/",
        f"/hosts/{host}/guests/",
        f"/datastores/{disk.datastore_id}/",
        f"/switches/{nic.switch_id}/",
        f"/tree/hosts/?open=first&open=host:{host}",
        "/tree/guests/?open=first",
        "/tree/storage/?open=first",
        f"/tree/networks/?open=first&open=host:{host}",
    ]


@pytest.mark.parametrize("guest", NAMES, indirect=True)
def test_a_name_is_never_markup(client_as: ClientAs, guest: Guest) -> None:
    from lxml import html as parser

    for path in _paths(guest):
        answer = client_as(Role.ADMIN).get(path)
        assert answer.status_code == 200, path
        document = parser.fromstring(answer.content)
        for element in document.iter():
            assert not [name for name in element.attrib if str(name).startswith("on")], (path, element.attrib)
            assert not element.get("href", "").startswith("javascript:"), path
            assert element.tag != "script" or element.get("src"), path
            assert element.get("style") is None, (path, "inline style")
        assert b"alert(1)</script>" not in answer.content, path


@pytest.mark.parametrize("guest", ["right to left"], indirect=True)
def test_a_name_keeps_its_direction_to_itself(client_as: ClientAs, guest: Guest) -> None:
    body = client_as(Role.ADMIN).get("/guests/").content.decode()
    link = re.search(rf'<a class="name" dir="auto"[^>]*>{guest.name}</a>', body)
    assert link, "names stand in an element of their own with dir=auto, isolated by the style sheet"


@pytest.mark.parametrize("q", [SCRIPT, '"><img src=x onerror=alert(1)>', "{{ 7 }}", "%27%22", "' or 1=1 --"])
def test_a_filter_is_never_markup(client_as: ClientAs, inventory: Inventory, q: str) -> None:
    body = client_as(Role.ADMIN).get("/guests/", {"q": q}).content.decode()
    assert "<script>alert" not in body
    assert "<img src=x" not in body


@pytest.mark.parametrize("path", [f"/{SCRIPT}/", f"/guests/{SCRIPT}/", f"/tree/{SCRIPT}/"])
def test_an_address_is_never_markup(client_as: ClientAs, db: None, path: str) -> None:
    for role in (Role.ADMIN, "anonymous"):
        assert b"<script>alert" not in client_as(role).get(path).content
