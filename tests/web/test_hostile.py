"""Names that come from a hypervisor are data, wherever a page shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from lxml import html as parser

from access.roles import Role
from tests.factories import Inventory
from tests.web.conftest import ClientAs
from tests.web.everything import Everything, Place
from tests.web.routes import EVERYBODY

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
def hostile(db: None, request: pytest.FixtureRequest) -> Everything:
    """Hosts, guests, sources, tasks, users and all they are made of, every text of theirs the name."""
    return Everything(NAMES[request.param], rows=1)


# Pages that show nothing that somebody else named.
NAMELESS = {"account_password", "user_add", "guest_actions", "guest_now", "datacenter_add", "tag_add"}


def _documents(everything: Everything) -> Iterator[tuple[Place, Any]]:
    """Every page, read as a browser would."""
    client = Client()
    client.force_login(everything.me)
    for place in everything.places():
        if place.need == EVERYBODY:
            continue  # the sign-in page: nothing is shown there
        answer = client.get(place.path)
        assert answer.status_code == 200, place
        yield place, parser.document_fromstring(answer.content.decode())


def _shown(document: Any) -> str:
    """All texts of a page, and what its elements offer: choices, titles, values."""
    return "\n".join(
        [document.text_content(), *(str(value) for one in document.iter() for value in one.attrib.values())]
    )


@pytest.mark.parametrize("hostile", NAMES, indirect=True)
def test_a_name_is_never_markup(hostile: Everything) -> None:
    for place, document in _documents(hostile):
        for element in document.iter():
            assert not [name for name in element.attrib if str(name).startswith("on")], (place, element.attrib)
            for attribute in ("href", "src", "action"):
                assert not element.get(attribute, "").strip().startswith("javascript:"), place
            assert element.tag != "script" or element.get("src"), place
            assert element.get("style") is None, (place, "inline style")
        assert len(document.xpath("//h1")) <= 1, (place, "a heading of the name's own")


@pytest.mark.parametrize("hostile", ["script"], indirect=True)
def test_a_name_is_shown_as_it_is(hostile: Everything) -> None:
    """The pages above do show the name: each holds it as text."""
    missing = {place.name for place, document in _documents(hostile) if SCRIPT not in _shown(document)}
    assert missing == NAMELESS


@pytest.mark.parametrize("hostile", ["template"], indirect=True)
def test_a_name_is_no_template(hostile: Everything) -> None:
    for place, document in _documents(hostile):
        assert place.name in NAMELESS or NAMES["template"] in _shown(document), place


@pytest.mark.parametrize("hostile", ["right to left"], indirect=True)
def test_a_name_keeps_its_direction_to_itself(client_as: ClientAs, hostile: Everything) -> None:
    body = client_as(Role.ADMIN).get("/guests/").content.decode()
    link = re.search(rf'<a class="name" dir="auto"[^>]*>{hostile.guest.name}</a>', body)
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
