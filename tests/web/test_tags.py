"""Tags on the pages: seen, found by, put on, taken off, renamed, deleted."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from lxml import html as parser

from access.roles import Role
from audit.models import AuditRow
from console import tagging
from inventory.reindex import index_everything
from labels.models import Color, GuestTag, Tag
from labels.services import change_tag, change_tags, delete_tag
from tests.factories import Inventory, make_guest, make_tag
from tests.web.conftest import ClientAs


@pytest.fixture
def boss(client_as: ClientAs) -> Client:
    return client_as(Role.ADMIN)


@pytest.fixture
def changer(client_as: ClientAs) -> Client:
    """Who puts tags on, but has no part in what tags there are."""
    return client_as(Role.MIGRATION_ADMIN)


def text(answer: Any, status: int = 200) -> str:
    assert answer.status_code == status, answer.content
    return str(answer.content.decode())


def page(answer: Any, status: int = 200) -> Any:
    return parser.document_fromstring(text(answer, status))


def tags_on(row: Any) -> set[str]:
    return set(Tag.objects.filter(guest_entries__guest=row).values_list("name", flat=True))


def boxes(document: Any, name: str = "tag") -> dict[str, bool]:
    """What a dialog offers, and whether it is ticked."""
    return {
        box.getparent().text_content().strip(): box.get("checked") is not None
        for box in document.xpath(f"//input[@type='checkbox'][@name='{name}']")
    }


def sent(document: Any) -> dict[str, list[str]]:
    """What the browser sends with the dialog as it stands."""
    values: dict[str, list[str]] = {}
    for field in document.xpath("//section[@id='act']//form[@method='post']//input"):
        if field.get("type") != "checkbox" or field.get("checked") is not None:
            values.setdefault(field.get("name"), []).append(field.get("value", ""))
    values.pop("csrfmiddlewaretoken")
    return values


class TestLists:
    KINDS = ("guests", "hosts", "datastores", "switches")

    def objects(self, inventory: Inventory) -> dict[str, Any]:
        rows = (inventory.guests[0], inventory.hosts[0], inventory.shared, inventory.switches[0])
        return dict(zip(self.KINDS, rows, strict=True))

    @pytest.mark.parametrize("kind", KINDS)
    def test_each_list_shows_and_exports_them(self, boss, inventory, kind):
        row = self.objects(inventory)[kind]
        for name in ("web", "prod", "db", "Backup", "a <b>"):
            make_tag(name, row)
        document = page(boss.get(f"/{kind}/"))
        (line,) = document.xpath(f"//tr[@id='row-{row.pk}']")
        chips = [(chip.get("class"), chip.get("title")) for chip in line.xpath(".//a[starts-with(@class, 'tag')]")]
        assert chips == [("tag", "a <b>"), ("tag", "Backup"), ("tag rare", "db")]
        more = line.xpath(".//span[starts-with(@class, 'tag-more')]")
        assert [(one.get("class"), one.get("title"), one.text) for one in more] == [
            ("tag-more rare", "prod, web", "+2"),
            ("tag-more crowded", "db, prod, web", "+3"),
        ]
        rows = list(csv.DictReader(io.StringIO(text_of_export(boss, f"/{kind}/?export=csv"))))
        assert {line["Id"]: line["Tags"] for line in rows if line["Tags"]} == {
            str(row.pk): "a <b>, Backup, db, prod, web"
        }

    @pytest.mark.parametrize("kind", KINDS)
    def test_each_list_is_filtered_by_them(self, boss, inventory, kind):
        row = self.objects(inventory)[kind]
        make_tag("Two words", row)
        make_tag("prod", row)
        everything = shown(boss, kind, "")
        assert shown(boss, kind, 'tag:"two  WORDS"') == {str(row.pk)}
        assert shown(boss, kind, "tag:prod tag:nothing") == {str(row.pk)}
        assert shown(boss, kind, "tag:pro") == set()
        assert shown(boss, kind, "-tag:prod") == shown(boss, kind, 'tag:""') == everything - {str(row.pk)}
        assert shown(boss, kind, '-tag:""') == {str(row.pk)}

    def test_a_chip_leads_to_all_of_its_kind(self, boss, inventory):
        tag = make_tag("prod", inventory.hosts[0], inventory.guests[1])
        ((address,),) = [document_links(boss.get("/hosts/"), "tag")]
        assert address == reverse("tag_tab", args=[tag.pk, "hosts"])
        assert text(boss.get(address)).count('id="row-') == 1

    def test_a_menu_knows_what_is_left_out(self, boss, inventory):
        document = page(boss.get("/guests/?q=-state:running"))
        (button,) = document.xpath("//button[contains(@class, 'btn-chosen')]")
        assert button.text_content().split() == ["State", "1"]
        assert not document.xpath("//a[contains(@class, 'dropdown-item')][@aria-current]")
        address = document.xpath("//a[contains(@class, 'dropdown-item')][contains(., 'running')]/@href")[0]
        assert address == "/guests/?q=state%3Arunning"


def shown(client: Client, kind: str, q: str) -> set[str]:
    return set(re.findall(r'<tr id="row-([^"]+)"', text(client.get(f"/{kind}/", {"q": q}))))


def text_of_export(client: Client, path: str) -> str:
    answer: Any = client.get(path)
    return b"".join(answer.streaming_content).decode("utf-8-sig")


def document_links(answer: Any, css: str) -> list[str]:
    return [str(link) for link in page(answer).xpath(f"//a[@class='{css}']/@href")]


class TestDialog:
    """Of one object."""

    def test_what_it_has_is_ticked(self, changer, inventory):
        guest = inventory.guests[0]
        make_tag("prod", guest)
        make_tag("test")
        assert boxes(page(changer.get(f"/guests/{guest.pk}/tags/"))) == {"prod": True, "test": False}

    def test_only_what_was_changed_is_changed(self, changer, inventory):
        guest = inventory.guests[0]
        kept, taken = make_tag("kept", guest), make_tag("taken", guest)
        values = sent(page(changer.get(f"/guests/{guest.pk}/tags/")))
        make_tag("of another person", guest)
        GuestTag.objects.filter(tag=kept, guest=guest).delete()
        values["tag"] = [str(kept.pk)]
        answer = changer.post(f"/guests/{guest.pk}/tags/", {**values, "q": "new, other"})
        assert answer.url == f"/guests/{guest.pk}/"
        assert tags_on(guest) == {"of another person", "new", "other"}
        assert taken.pk in Tag.objects.values_list("pk", flat=True)

    def test_saving_it_as_it_was_leaves_no_trace(self, changer, inventory):
        guest = inventory.guests[0]
        make_tag("prod", guest)
        values = sent(page(changer.get(f"/guests/{guest.pk}/tags/")))
        followed = changer.post(f"/guests/{guest.pk}/tags/", values, follow=True)
        assert "are as they were" in text(followed)
        assert not AuditRow.objects.exists()

    @pytest.mark.parametrize(
        ("typed", "ticked", "after"),
        [
            ("pro", ["production"], {"production"}),  # typed only to find it
            ("pro", [], {"pro"}),
            ("PRODUCTION", [], {"production"}),
            ("web, pro", ["production"], {"web", "production"}),
            (" , ", [], set()),
        ],
    )
    def test_what_was_typed_and_not_added(self, changer, inventory, typed, ticked, after):
        guest = inventory.guests[0]
        tag = make_tag("production")
        values = {"q": typed, "tag": [str(tag.pk)] if ticked else []}
        changer.post(f"/guests/{guest.pk}/tags/", values)
        assert tags_on(guest) == after

    def test_a_part_of_what_it_has_is_a_tag_of_its_own(self, changer, inventory):
        guest = inventory.guests[0]
        make_tag("production", guest)
        values = sent(page(changer.get(f"/guests/{guest.pk}/tags/")))
        changer.post(f"/guests/{guest.pk}/tags/", {**values, "q": "prod"})
        assert tags_on(guest) == {"production", "prod"}

    def test_adding_works_without_scripts(self, changer, inventory):
        """The first button of the form ticks what was typed; nothing is written before it is saved."""
        guest = inventory.guests[0]
        make_tag("prod", guest)
        make_tag("Web")
        values = sent(page(changer.get(f"/guests/{guest.pk}/tags/")))
        added = page(changer.post(f"/guests/{guest.pk}/tags/", {**values, "q": "web, new one", "step": "put"}))
        assert boxes(added) == {"prod": True, "Web": True}
        assert boxes(added, "new") == {"new onenew": True}
        assert tags_on(guest) == {"prod"}
        changer.post(f"/guests/{guest.pk}/tags/", sent(added))
        assert tags_on(guest) == {"prod", "Web", "new one"}

    def test_tags_are_offered_while_one_types(self, changer, inventory):
        make_tag("Straße"), make_tag("other")
        tag = make_tag("ticked")
        document = page(changer.get("/tags/pick/", {"q": "STRASSE", "tag": str(tag.pk)}))
        assert boxes(document) == {"ticked": True, "Straße": False}
        assert boxes(page(changer.get("/tags/pick/", {"q": "web, strass"}))) == {"Straße": False}

    def test_more_tags_than_are_offered(self, changer, inventory, monkeypatch):
        monkeypatch.setattr(tagging, "TAGS_OFFERED", 2)
        for name in "abc":
            make_tag(name)
        document = page(changer.get("/tags/pick/"))
        assert boxes(document) == {"a": False, "b": False}
        assert "There are more" in document.text_content()

    @pytest.mark.parametrize("name", ['a"b', "x" * 65, "a\x07b"])
    def test_a_name_that_cannot_be_is_said(self, changer, inventory, name):
        guest = inventory.guests[0]
        refused = page(changer.post(f"/guests/{guest.pk}/tags/", {"new": name}), 400)
        assert "A tag's name" in refused.xpath("//*[@role='alert']")[0].text_content()
        assert not Tag.objects.exists()

    def test_a_tag_that_was_deleted_meanwhile_is_said(self, changer, boss, inventory):
        guest, tag = inventory.guests[0], make_tag("gone")
        values = {"tag": [str(tag.pk)]}
        delete_tag(tag=tag, by=boss.get("/").wsgi_request.user)
        refused = page(changer.post(f"/guests/{guest.pk}/tags/", values), 400)
        assert "somebody deleted it" in refused.xpath("//*[@role='alert']")[0].text_content()
        assert boxes(refused) == {}

    def test_a_tag_that_was_renamed_meanwhile_stays_one(self, changer, boss, inventory, monkeypatch):
        """It has its new name when the turn to write comes, after the page was read."""
        guest = inventory.guests[0]
        ticked, unticked = make_tag("ticked"), make_tag("unticked", guest)
        user = boss.get("/").wsgi_request.user

        def late(**kwargs: Any) -> int:
            for tag in (ticked, unticked):
                change_tag(tag=tag, name=f"{tag.name} now", by=user)
            return change_tags(**kwargs)

        monkeypatch.setattr(tagging, "change_tags", late)
        changer.post(f"/guests/{guest.pk}/tags/", {"had": str(unticked.pk), "tag": str(ticked.pk)})
        assert tags_on(guest) == {"ticked now"}
        assert Tag.objects.count() == 2

    def test_a_tag_that_is_deleted_at_the_last_moment_does_not_come_back(self, changer, boss, inventory, monkeypatch):
        guest, tag = inventory.guests[0], make_tag("gone")
        user = boss.get("/").wsgi_request.user

        def late(**kwargs: Any) -> int:
            delete_tag(tag=tag, by=user)
            return change_tags(**kwargs)

        monkeypatch.setattr(tagging, "change_tags", late)
        refused = page(changer.post(f"/guests/{guest.pk}/tags/", {"tag": str(tag.pk)}), 400)
        assert "somebody deleted it" in refused.xpath("//*[@role='alert']")[0].text_content()
        assert not Tag.objects.exists()

    def test_more_new_names_than_may_be_are_refused(self, changer, inventory):
        guest = inventory.guests[0]
        names = [f"tag {number}" for number in range(51)]
        refused = page(changer.post(f"/guests/{guest.pk}/tags/", {"new": names}), 400)
        assert "at most 50 tags" in refused.xpath("//*[@role='alert']")[0].text_content()
        assert not Tag.objects.exists()

    @pytest.mark.parametrize("step", ["", "put"])
    def test_a_text_that_is_too_long_is_refused(self, changer, inventory, step):
        guest = inventory.guests[0]
        typed = ", ".join(f"name-{number:02d}" for number in range(70))
        refused = page(changer.post(f"/guests/{guest.pk}/tags/", {"q": typed, "step": step}), 400)
        assert "at most 528 characters" in refused.xpath("//*[@role='alert']")[0].text_content()
        assert boxes(page(changer.get("/tags/pick/", {"q": typed, "step": step})), "new") == {}
        assert not Tag.objects.exists()

    @pytest.mark.parametrize("kind", TestLists.KINDS)
    def test_every_kind_has_it_on_its_page(self, boss, inventory, kind):
        row = TestLists().objects(inventory)[kind]
        tag = make_tag("prod")
        (address,) = document_links(boss.get(f"/{kind}/{row.pk}/"), "tag-edit")
        assert boss.post(address, {"tag": str(tag.pk)}).url == f"/{kind}/{row.pk}/"
        chips = page(boss.get(f"/{kind}/{row.pk}/")).xpath("//dd[@class='tag-fact']//a[@class='tag']")
        assert [chip.text_content() for chip in chips] == ["prod"]

    def test_who_may_not_sees_them_only(self, client_as, inventory):
        guest = inventory.guests[0]
        make_tag("prod", guest)
        body = text(client_as(Role.OPERATOR).get(f"/guests/{guest.pk}/"))
        assert "prod</span></a>" in body
        assert "Edit tags" not in body
        assert "Tag these" not in text(client_as(Role.OPERATOR).get("/guests/"))
        assert client_as(Role.OPERATOR).get("/guests/?act=tag").status_code == 403


class TestMany:
    def ask(self, client: Client, q: str = "", path: str = "/guests/") -> Any:
        return page(client.get(path, {"q": q, "act": "tag"}))

    def test_exactly_what_was_found_is_tagged(self, changer, inventory):
        document = self.ask(changer, "host:kvm-01")
        values = sent(document)
        found = set(values["ids"])
        assert found == shown(changer, "guests", "host:kvm-01") != set()
        make_guest("came later", inventory.hosts[0])
        answer = changer.post(reverse("guest_tag_many"), {**values, "q": "test, old", "how": "on"})
        assert answer.url == "/guests/?q=host%3Akvm-01"
        assert f"Tags were put on {len(found)} guests." in text(changer.get(answer.url))
        assert shown(changer, "guests", "tag:test") == shown(changer, "guests", "tag:old") == found
        row = AuditRow.objects.get(action="tag.assigned")
        assert row.detail["number"] == len(found)

    def test_some_are_left_out(self, changer, inventory):
        values = sent(self.ask(changer))
        values["ids"] = values["ids"][:3]
        tag = make_tag("prod")
        changer.post(reverse("guest_tag_many"), {**values, "tag": str(tag.pk)})
        assert GuestTag.objects.count() == 3

    def test_taking_off(self, changer, inventory):
        tag = make_tag("prod", *inventory.guests)
        values = sent(self.ask(changer, "host:kvm-01"))
        changer.post(reverse("guest_tag_many"), {**values, "tag": str(tag.pk), "how": "off"})
        assert shown(changer, "guests", "-tag:prod") == set(values["ids"])
        again = changer.post(reverse("guest_tag_many"), {**values, "tag": str(tag.pk), "how": "off"}, follow=True)
        assert "none of them had these tags" in text(again)

    def test_a_list_within_a_page_tags_its_own(self, changer, inventory):
        host = inventory.hosts[0]
        values = sent(self.ask(changer, path=f"/hosts/{host.pk}/guests/"))
        assert set(values["ids"]) == {str(guest.pk) for guest in inventory.guests if guest.host_id == host.pk}
        assert values["next"] == [f"/hosts/{host.pk}/guests/"]

    def test_too_many_to_tick_are_sent_at_once(self, changer, inventory, monkeypatch):
        monkeypatch.setattr(tagging, "OFFERED", 5)
        document = self.ask(changer)
        assert boxes(document, "ids") == {}
        values = sent(document)
        assert len(values["ids"]) == 1
        changer.post(reverse("guest_tag_many"), {**values, "q": "prod"})
        assert GuestTag.objects.count() == len(inventory.guests)

    def test_more_than_may_be_are_refused_before_anything_is_chosen(self, changer, inventory, monkeypatch):
        monkeypatch.setattr(tagging, "MOST_OBJECTS", 5)
        document = self.ask(changer)
        assert "finds 12 guests; at most 5" in document.xpath("//*[@role='alert']")[0].text_content()
        assert len(document.xpath("//section[@id='act']//button[@disabled]")) == 2

    def test_a_list_that_finds_nothing(self, changer, inventory):
        for q in ("nobody", "flavor:x"):
            assert self.ask(changer, q).xpath("//*[@role='alert']")

    def test_without_a_tag_it_is_asked_again(self, changer, inventory):
        values = sent(self.ask(changer, "host:kvm-01"))
        refused = page(changer.post(reverse("guest_tag_many"), values), 400)
        assert "Name at least one tag" in refused.xpath("//*[@role='alert']")[0].text_content()
        assert sent(refused)["ids"] == values["ids"]

    @pytest.mark.parametrize("step", ["", "put"])
    def test_with_nothing_left_one_may_go_back_to_all(self, changer, inventory, step):
        values = sent(self.ask(changer, "host:kvm-01"))
        found = values.pop("ids")
        refused = page(changer.post(reverse("guest_tag_many"), {**values, "q": "new", "step": step}), 400)
        assert "Choose at least one" in refused.xpath("//*[@role='alert']")[0].text_content()
        assert "All that the list finds" not in refused.text_content()
        offered = refused.xpath("//details[@open]//input[@name='ids']")
        assert [(box.get("value"), box.get("checked")) for box in offered] == [(pk, None) for pk in found]
        assert "ids" not in sent(refused)
        assert not Tag.objects.exists()

    def test_what_was_left_out_may_be_ticked_again(self, changer, inventory):
        values = sent(self.ask(changer))
        all_of_them = values["ids"]
        values["ids"] = all_of_them[:3]
        added = page(changer.post(reverse("guest_tag_many"), {**values, "q": "new", "step": "put"}))
        assert sent(added)["ids"] == all_of_them[:3]
        assert [box.get("value") for box in added.xpath("//input[@name='ids']")] == all_of_them

    def test_a_form_without_any_object_says_so(self, changer, inventory):
        refused = page(changer.post(reverse("guest_tag_many"), {"q": "new"}), 400)
        assert "All that the list finds" not in refused.text_content()
        assert len(refused.xpath("//section[@id='act']//button[@disabled]")) == 2

    def test_taking_off_a_tag_that_is_gone_is_no_error(self, changer, inventory):
        values = sent(self.ask(changer, "host:kvm-01"))
        tag = make_tag("gone")
        Tag.objects.all().delete()
        again = changer.post(reverse("guest_tag_many"), {**values, "tag": str(tag.pk), "how": "off"}, follow=True)
        assert "none of them had these tags" in text(again)

    def test_adding_works_without_scripts(self, changer, inventory):
        values = sent(self.ask(changer, "host:kvm-01"))
        added = page(changer.post(reverse("guest_tag_many"), {**values, "q": "new", "step": "put"}))
        assert sent(added) == {**values, "new": ["new"]}
        assert not Tag.objects.exists()

    def test_one_goes_back_to_a_page_of_ours_only(self, changer, inventory):
        values = {"ids": str(inventory.guests[0].pk), "q": "x", "next": "https://elsewhere.example/"}
        assert changer.post(reverse("guest_tag_many"), values).url == "/guests/"

    @pytest.mark.parametrize("kind", TestLists.KINDS)
    def test_every_kind(self, boss, inventory, kind):
        document = self.ask(boss, path=f"/{kind}/")
        address = document.xpath("//section[@id='act']//form/@action")[0]
        assert boss.post(address, {**sent(document), "q": "prod"}).url == f"/{kind}/"
        assert shown(boss, kind, "tag:prod") == shown(boss, kind, "") != set()


class TestTags:
    """The list, and the page of one."""

    def test_from_a_new_tag_to_its_end(self, boss, inventory):
        guest, host = inventory.guests[0], inventory.hosts[0]
        made = boss.post("/tags/add/", {"name": "prod", "color": ""})
        tag = Tag.objects.get()
        assert (made.url, tag.color) == (f"/tags/{tag.pk}/", "blue")
        boss.post(f"/tags/{tag.pk}/put-on/guest/", {"ids": str(guest.pk)})
        boss.post(f"/tags/{tag.pk}/put-on/host/", {"ids": str(host.pk)})
        assert shown(boss, f"tags/{tag.pk}", "") == {str(guest.pk)}
        assert shown(boss, f"tags/{tag.pk}/hosts", "") == {str(host.pk)}
        assert shown(boss, f"tags/{tag.pk}/switches", "") == set()
        assert str(guest.pk) not in text(boss.get(f"/tags/{tag.pk}/put-on/guest/"))
        counts = page(boss.get("/tags/")).xpath(f"//tr[@id='row-{tag.pk}']/td[contains(@class, 'num')]")
        assert [cell.text_content() for cell in counts] == ["1", "1", "0", "0"]
        boss.post(f"/tags/{tag.pk}/edit/", {"name": "Production", "color": "red"})
        assert 'class="tag-dot tag-red"' in text(boss.get("/guests/?q=tag:production"))
        asked = text(boss.get(f"/tags/{tag.pk}/delete/"))
        assert "It is taken off 1 guest, 1 host." in asked
        boss.post(f"/tags/{tag.pk}/take-off/guest/", {"ids": str(guest.pk)})
        assert tags_on(guest) == set()
        assert boss.post(f"/tags/{tag.pk}/delete/").url == "/tags/"
        assert boss.get(f"/tags/{tag.pk}/").status_code == 404

    def test_a_name_that_is_taken_is_said_at_the_field(self, boss, inventory):
        make_tag("prod")
        for path in ("/tags/add/", f"/tags/{make_tag('other').pk}/edit/"):
            refused = page(boss.post(path, {"name": "PROD", "color": "red"}), 400)
            assert refused.xpath("//input[@name='name']/@aria-describedby") == ["e-name"]
            assert refused.xpath("//input[@name='name']/@value") == ["PROD"]
            assert refused.xpath("//input[@name='color'][@checked]/@value") == ["red"]

    def test_choosing_nothing_is_said(self, boss, inventory):
        tag = make_tag("prod")
        refused = page(boss.post(f"/tags/{tag.pk}/put-on/guest/"), 400)
        assert "Choose at least one" in refused.xpath("//*[@role='alert']")[0].text_content()

    def test_a_full_object_is_said(self, boss, inventory, monkeypatch):
        guest = inventory.guests[0]
        tag, _other = make_tag("prod"), make_tag("full", guest)
        monkeypatch.setattr("labels.services.MOST_ON_ONE", 1)
        refused = page(boss.post(f"/tags/{tag.pk}/put-on/guest/", {"ids": str(guest.pk)}), 400)
        told = refused.xpath("//*[@role='alert']")[0].text_content()
        assert f"{guest.name} would have more" in told

    @pytest.mark.parametrize("way", ["put-on", "take-off"])
    def test_a_tag_renamed_while_one_chooses_stays_one(self, boss, inventory, monkeypatch, way):
        one, two = inventory.guests[:2]
        tag, user = make_tag("prod", one), boss.get("/").wsgi_request.user

        def late(**kwargs: Any) -> int:
            change_tag(tag=tag, name="live", by=user)
            return change_tags(**kwargs)

        monkeypatch.setattr("labels.services.change_tags", late)
        boss.post(f"/tags/{tag.pk}/{way}/guest/", {"ids": str(two.pk if way == "put-on" else one.pk)})
        assert tags_on(two) == ({"live"} if way == "put-on" else set())
        assert tags_on(one) == ({"live"} if way == "put-on" else set())
        assert Tag.objects.count() == 1

    @pytest.mark.parametrize("tab", ["nothing", "guest", "summary"])
    def test_a_page_that_is_not_there(self, boss, inventory, tab):
        tag = make_tag("prod")
        assert boss.get(f"/tags/{tag.pk}/{tab}/").status_code == 404
        assert boss.get(f"/tags/{tag.pk}/put-on/cluster/").status_code == 404

    def test_who_may_not_sees_no_buttons(self, client_as, changer, inventory):
        tag = make_tag("prod", inventory.guests[0])
        for path in ("/tags/", f"/tags/{tag.pk}/"):
            body = text(client_as(Role.VIEWER).get(path))
            assert not re.search(r"Edit…|Delete…|New tag|Put on guests|Take off|row-acts", body)
        body = text(changer.get(f"/tags/{tag.pk}/"))
        assert "Put on guests…" in body
        assert "Delete…" not in body

    def test_tags_are_a_file_too(self, boss, inventory):
        make_tag("prod", *inventory.guests[:2], color="teal")
        (row,) = csv.DictReader(io.StringIO(text_of_export(boss, "/tags/?export=csv&q=color:teal")))
        assert (row["Name"], row["Guests"], row["Color"]) == ("prod", "2", "teal")

    def test_the_audit_log_says_it_in_words(self, boss, inventory):
        user = boss.get("/").wsgi_request.user
        boss.post("/tags/add/", {"name": "prod"})
        boss.post(f"/guests/{inventory.guests[0].pk}/tags/", {"q": "web"})
        change_tag(tag=Tag.objects.get(name="prod"), name="x", by=user)
        delete_tag(tag=Tag.objects.get(name="x"), by=user)
        document = page(boss.get("/audit/?q=area:tag"))
        acts = document.xpath("//tbody/tr/td[3]/span[@title]")
        assert {act.get("title") for act in acts} == {"tag.created", "tag.assigned", "tag.changed", "tag.deleted"}
        assert not any(act.text == act.get("title") for act in acts)


class TestSearch:
    def test_results_show_their_tags(self, boss, inventory):
        tag = make_tag("findme", inventory.guests[0], inventory.hosts[0])
        make_tag("alpha", inventory.guests[0])
        index_everything()
        document = page(boss.get("/search/?q=findme"))
        chips = document.xpath("//a[@class='tag']")
        assert sorted(chip.get("href") for chip in chips if chip.get("title") == "findme") == sorted(
            [f"/tags/{tag.pk}/", f"/tags/{tag.pk}/hosts/"]
        )
        suggested = page(boss.get("/search/suggestions/?q=findme"))
        assert [chip.get("title") for chip in suggested.xpath("//li//span[@class='tag']")] == [
            "findme",
            "alpha",
            "findme",
        ]
        assert not suggested.xpath("//a//a")


THEMES = ('data-bs-theme="light"', 'data-bs-theme="dark"')
SMALLEST_CONTRAST = 3.0  # WCAG 2.2, 1.4.11


@pytest.mark.parametrize("theme", THEMES)
def test_every_color_is_seen_on_its_chip(theme: str) -> None:
    css = (settings.BASE_DIR / "static" / "css" / "tags.css").read_text()
    tokens = dict(re.findall(r"--gh-tag-?(\w*): (#[0-9a-f]{6});", css.split(f"[{theme}]")[1].split("}")[0]))
    ground = luminance(tokens.pop(""))
    tokens.pop("line")
    assert sorted(tokens) == sorted(Color.values)
    weak = {name: contrast(luminance(color), ground) for name, color in tokens.items()}
    assert {name: ratio for name, ratio in weak.items() if ratio < SMALLEST_CONTRAST} == {}
    assert all(f".tag-{name} {{" in css for name in tokens)


def luminance(color: str) -> float:
    """Source: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
