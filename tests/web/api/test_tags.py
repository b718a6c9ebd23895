"""Tags for scripts. Who may: test_access_routes.py."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.ids import new_id
from labels.models import Tag
from labels.services import change_tags
from tests.factories import make_datastore, make_guest, make_host, make_switch
from tests.web.api.conftest import Boss

pytestmark = pytest.mark.django_db


class Tagger(Boss):
    def tag(self, kind: str, *rows: Any, add: list[str]) -> None:
        change_tags(kind=kind, ids=[row.pk for row in rows], add=add, by=self.user)


@pytest.fixture
def boss() -> Tagger:
    return Tagger()


def test_from_an_empty_tag_to_none(boss: Tagger) -> None:
    made = boss.post("tags/", 201, name=" Pro  duction ", color="red")
    assert made.pop("created_at")
    counts = {"guests": 0, "hosts": 0, "datastores": 0, "switches": 0}
    assert made == {"id": made["id"], "name": "Pro duction", "color": "red", **counts}
    guest = make_guest("g")
    told = boss.post("tags/change/", kind="guest", ids=[str(guest.pk)], add=["pro duction", "web"])
    assert told == {"changed": 1}
    assert boss.post("tags/change/", kind="guest", ids=[str(guest.pk)], add=["WEB"]) == {"changed": 0}
    tags = [{"id": str(tag.pk), "name": tag.name} for tag in Tag.objects.order_by("name_key")]
    assert boss.get(f"guests/{guest.pk}/")["tags"] == boss.get("guests/")["results"][0]["tags"] == tags
    changed = boss.post(f"tags/{made['id']}/change/", name="prod")
    assert (changed["name"], changed["color"], changed["guests"]) == ("prod", "red", 1)
    assert boss.post(f"tags/{made['id']}/change/", color="teal")["color"] == "teal"
    assert boss.get(f"tags/{made['id']}/")["name"] == "prod"
    assert boss.names("tags/?sort=-name") == ["web", "prod"]
    assert boss.names("tags/?q=ro") == boss.names("tags/?color=teal") == boss.names("tags/?name=PROD") == ["prod"]
    assert boss.post("tags/change/", kind="guest", ids=[str(guest.pk)], remove=["web"]) == {"changed": 1}
    boss.post(f"tags/{made['id']}/delete/", 204)
    assert boss.get(f"guests/{guest.pk}/")["tags"] == []
    assert boss.names("tags/") == ["web"]


def test_every_kind_tells_its_tags_and_is_found_by_them(boss: Tagger) -> None:
    host = make_host("h")
    rows: dict[str, Any] = {"guest": make_guest("g", host), "host": host}
    rows |= {"datastore": make_datastore("d", (host,)), "switch": make_switch("s", host)}
    for kind, row in rows.items():
        boss.tag(kind, row, add=["web"])
        plural = "switches" if kind == "switch" else f"{kind}s"
        (tag,) = boss.get(f"{plural}/{row.pk}/")["tags"]
        for value in ("web", "WEB", tag["id"]):
            assert boss.names(f"{plural}/?tag={value}") == [row.name]
            assert boss.names(f"{plural}/?-tag={value}") == []
        assert boss.names(f"{plural}/?tag=other") == boss.names(f"{plural}/?tag={new_id()}") == []
        assert boss.names(f"{plural}/?tag=") == []
        assert boss.names(f"{plural}/?-tag=") == [row.name]
    (told,) = boss.get("tags/")["results"]
    assert [told[f"{kind}s"] for kind in ("guest", "host", "datastore")] + [told["switches"]] == [1, 1, 1, 1]


def test_a_name_that_looks_like_an_id_is_found(boss: Tagger) -> None:
    host = make_host("h")
    one, two = make_guest("one", host), make_guest("two", host)
    boss.tag("guest", one, add=["web"])
    name = str(Tag.objects.get().pk)
    assert boss.names(f"guests/?tag={name}") == ["one"]
    boss.tag("guest", two, add=[name])
    assert boss.names(f"guests/?tag={name.upper()}") == ["one", "two"]
    other = str(new_id())
    boss.tag("guest", two, add=[other])
    assert boss.names(f"guests/?tag={other}") == ["two"]
    assert boss.names(f"guests/?-tag={other}") == ["one"]


def test_whatever_a_list_is_asked_for_it_may_be_asked_for_the_others(boss: Tagger) -> None:
    host = make_host("h")
    for name, state in (("a", "running"), ("b", "off"), ("c", "paused")):
        make_guest(name, host, state=state)
    boss.tag("guest", *host.guests.filter(name__in="ab"), add=["web"])
    assert boss.names("guests/?-state=running") == ["b", "c"]
    assert boss.names("guests/?-state=running&-state=off") == ["c"]
    assert boss.names("guests/?tag=web&-state=off") == ["a"]
    assert boss.names("guests/?-tag=web") == boss.names("guests/?tag=") == ["c"]
    assert boss.names("hosts/?-cluster=compute") == ["h"]  # in no cluster at all
    assert "“state” is one of" in boss.get("guests/?-state=asleep", 400)["error"]["message"]
    assert "-flavor" in boss.get("guests/?-flavor=big", 400)["error"]["message"]


def test_refusals_are_told_as_everywhere(boss: Tagger) -> None:
    guest = make_guest("g")
    boss.post("tags/", 201, name="web")
    same = boss.post("tags/", 400, name="WEB")["error"]
    assert (same["code"], same["field"]) == ("invalid", "name")
    assert boss.post("tags/", 400, name="x", color="beige")["error"]["field"] == "color"
    for body, field in (
        ({"kind": "guest", "ids": [], "add": ["x"]}, "ids"),
        ({"kind": "guest", "ids": [str(guest.pk)]}, "add"),
        ({"kind": "folder", "ids": [str(guest.pk)], "add": ["x"]}, "kind"),
        ({"kind": "guest", "ids": [str(guest.pk)], "add": ["a,b"]}, "add"),
        ({"kind": "guest", "ids": [str(guest.pk)], "remove": ["a,b"]}, "remove"),
        ({"kind": "guest", "ids": [str(guest.pk)], "add": ["a"], "remove": ["A"]}, "remove"),
    ):
        assert boss.post("tags/change/", 400, **body)["error"]["field"] == field
    boss.post("tags/change/", 400, kind="guest", ids=["x"], add=["x"])
    boss.post("tags/change/", 400, kind="guest", ids=[str(guest.pk)], add=["x"], force=True)
    gone = boss.post("tags/change/", 409, kind="guest", ids=[str(guest.pk), str(new_id())], add=["x"])
    assert "is gone" in gone["error"]["message"]
    assert boss.post(f"tags/{guest.pk}/delete/", 404)["error"]["code"] == "not_found"
    assert boss.names("tags/") == ["web"]


@pytest.mark.parametrize("kind", ["guests", "tags"])
def test_a_longer_list_asks_no_more_often(boss: Tagger, kind: str) -> None:
    host = make_host("h")
    queries = []
    for number in range(3):
        guest = make_guest(f"g{number}", host)
        boss.tag("guest", guest, add=["web", f"tag {number}"])
        with CaptureQueriesContext(connection) as captured:
            boss.get(f"{kind}/")
        queries.append(len(captured))
    assert queries[1] == queries[2]
