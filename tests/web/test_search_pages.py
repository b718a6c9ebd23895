"""The search field of every page, the page of all results, and the results while one types."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from lxml import html as parser

from access.roles import Role
from inventory import find
from inventory.reindex import index_missing
from tests.factories import add_nic, make_datastore, make_guest, make_host, make_switch
from tests.web.conftest import ANONYMOUS, ClientAs

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer(client_as: ClientAs) -> Client:
    """Who may look only; there are two hosts with a guest each, a datastore and a switch."""
    first = make_host("kvm-01")
    second = make_host("kvm-02", first.source)
    switch = make_switch("web-lan", first)
    make_datastore("web-disks", (first, second))
    add_nic(make_guest("web-01", first, state="running"), switch, mac="52:54:00:ab:cd:01")
    make_guest("web-02", second, state="off", notes="Standby of web-01")
    index_missing()
    return client_as(Role.VIEWER)


def document(client: Client, path: str, status: int = 200) -> Any:
    answer = client.get(path)
    assert answer.status_code == status
    return parser.document_fromstring(answer.content.decode())


def texts(rows: Any, path: str) -> list[str]:
    """What a reader sees of each: its own texts, with a blank between."""
    return [" ".join(" ".join(one.itertext()).split()) for one in rows.xpath(path)]


class TestPage:
    def test_every_page_has_the_field_which_works_as_a_plain_form(self, viewer: Client) -> None:
        (form,) = document(viewer, "/guests/").xpath("//header//form[@role='search']")
        (field,) = form.xpath(".//input[not(@type='hidden')]")
        assert (form.get("method"), form.get("action"), field.get("name")) == ("get", "/search/", "q")

    def test_results_say_what_they_are_in_which_state_and_where(self, viewer: Client) -> None:
        page = document(viewer, "/search/?q=web-0")
        assert texts(page, "//table//tbody/tr") == ["web-01 Guest running kvm-01", "web-02 Guest off kvm-02"]
        assert all(one.startswith("/guests/") for one in page.xpath("//tbody/tr/@data-href"))

    def test_what_was_asked_stands_in_the_field(self, viewer: Client) -> None:
        page = document(viewer, "/search/?q=%22web%2001%22%3Cb%3E")
        assert page.xpath("//header//input[@name='q']/@value") == ['"web 01"<b>']

    def test_kinds_have_an_address_each(self, viewer: Client) -> None:
        page = document(viewer, "/search/?q=web")
        assert len(page.xpath("//tbody/tr")) == 4
        (address,) = page.xpath("//nav[@id='page-tabs']/a[contains(., 'Datastores')]/@href")
        assert texts(document(viewer, address), "//tbody/tr/td[1]") == ["web-disks"]
        assert viewer.get("/search/?q=web&kind=unicorn").status_code == 404

    def test_pages_follow_each_other(self, viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("console.search.PAGE_SIZE", 3)
        page = document(viewer, "/search/?q=web")
        (following,) = page.xpath("//nav[@aria-label='Pages']/a/@href")
        second = document(viewer, following)
        names = texts(page, "//tbody/tr/td[1]") + texts(second, "//tbody/tr/td[1]")
        assert names == ["web-01", "web-02", "web-disks", "web-lan"]
        assert second.xpath("//nav[@aria-label='Pages']") == []

    @pytest.mark.parametrize("query", ["q=" + "x" * 10_000, "q=web&cursor=x", "q=" + "a+" * 50])
    def test_what_cannot_be_searched_is_one_sentence(self, viewer: Client, query: str) -> None:
        (alert,) = document(viewer, f"/search/?{query}", 400).xpath("//*[@role='alert']")
        assert alert.text_content().strip().endswith((".", "again."))

    @pytest.mark.parametrize(
        ("query", "words"),
        [("nobody", "Nothing is found."), ("zz", "One or two characters find names"), ("", "Search everything")],
    )
    def test_nothing_is_said_in_words(self, viewer: Client, query: str, words: str) -> None:
        (empty,) = document(viewer, f"/search/?q={query}").xpath("//*[@class='empty']")
        assert words in empty.text_content()

    @pytest.mark.parametrize("path", ["/search/?q=web", "/search/suggestions/?q=web", "/api/v1/search/?q=web"])
    def test_nobody_searches_without_signing_in(self, client_as: ClientAs, viewer: Client, path: str) -> None:
        answer = client_as(ANONYMOUS).get(path)
        assert answer.status_code in (302, 401)
        assert b"web-01" not in answer.content

    @pytest.mark.parametrize("path", ["/search/", "/search/suggestions/"])
    def test_a_search_only_reads(self, viewer: Client, path: str) -> None:
        assert viewer.post(path).status_code == 405


class TestSuggestions:
    def test_the_best_of_each_kind_are_grouped(self, viewer: Client) -> None:
        found = document(viewer, "/search/suggestions/?q=web")
        assert texts(found, "//p[@class='suggestions-kind']") == ["Guests", "Datastores", "Virtual switches"]
        assert texts(found, "//ul[1]/li") == ["web-01 kvm-01 running", "web-02 kvm-02 off"]
        assert found.get_element_by_id("suggestions").get("data-said").startswith("4 results.")

    def test_the_kind_of_the_best_result_comes_first(self, viewer: Client) -> None:
        assert texts(document(viewer, "/search/suggestions/?q=web-lan"), "//p[@class='suggestions-kind']") == [
            "Virtual switches",
            "Guests",
        ]

    def test_more_of_a_kind_lead_to_all_of_it(self, viewer: Client) -> None:
        host = make_host("kvm-09")
        for number in range(9):
            make_guest(f"web-1{number}", host)
        index_missing()
        found = document(viewer, "/search/suggestions/?q=web")
        assert len(found.xpath("//ul[1]/li/a[contains(@href, '/guests/')]")) == 5
        (more,) = found.xpath("//ul[1]//a[@class='suggestions-more']/@href")
        assert more == "/search/?q=web&kind=guest"
        assert len(document(viewer, more).xpath("//tbody/tr")) == 11

    @pytest.mark.parametrize(("query", "said"), [("", ""), ("nobody", "Nothing is found."), ("x" * 300, "too long")])
    def test_what_is_heard_when_nothing_shows(self, viewer: Client, query: str, said: str) -> None:
        found = document(viewer, f"/search/suggestions/?q={query}").get_element_by_id("suggestions")
        assert said in found.get("data-said")
        assert not found.xpath(".//a")

    def test_it_is_a_fragment(self, viewer: Client) -> None:
        assert b"<html" not in viewer.get("/search/suggestions/?q=web").content


class TestApi:
    def test_objects_of_every_kind_are_told_alike(self, viewer: Client) -> None:
        told = viewer.get("/api/v1/search/?q=web").json()
        assert told["next"] is None
        assert [(one["kind"], one["name"], one["state"], one["where"]["name"]) for one in told["results"]] == [
            ("guest", "web-01", "running", "kvm-01"),
            ("guest", "web-02", "off", "kvm-02"),
            ("datastore", "web-disks", "active", "Berlin"),
            ("switch", "web-lan", "active", "kvm-01"),
        ]
        assert set(told["results"][0]) == {"kind", "id", "name", "state", "where"}
        guest = viewer.get(f"/api/v1/guests/{told['results'][0]['id']}/").json()
        assert guest["host"]["id"] == told["results"][0]["where"]["id"]

    @pytest.mark.parametrize("few", [1000, 0])
    def test_pages_follow_each_other(self, viewer: Client, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
        monkeypatch.setattr(find, "FEW", few)
        address, names = "/api/v1/search/?q=web&limit=1", []
        while address:
            told = viewer.get(address).json()
            names += [one["name"] for one in told["results"]]
            address = told["next"]
        assert names == ["web-01", "web-02", "web-disks", "web-lan"]

    def test_kinds_are_asked_for_by_name(self, viewer: Client) -> None:
        told = viewer.get("/api/v1/search/?q=web&kind=switch&kind=datastore").json()
        assert [one["kind"] for one in told["results"]] == ["datastore", "switch"]

    @pytest.mark.parametrize(
        "query",
        ["", "q=", "q=+", "q=web&kind=unicorn", "q=web&limit=0", "q=web&flavor=x", "q=web&cursor=x", "q=" + "x" * 300],
    )
    def test_what_does_not_fit_is_refused(self, viewer: Client, query: str) -> None:
        answer = viewer.get(f"/api/v1/search/?{query}")
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid"
