"""The frame around every page, the pages of errors, and what the browser is told."""

from __future__ import annotations

import hashlib
import re

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path

from access.models import ApiToken
from access.roles import Role
from config.urls import handler400, handler403, handler404, handler500  # noqa: F401 - Django finds them in a URLconf
from config.urls import urlpatterns as all_patterns
from console.errors import server_error
from core.errors import Forbidden
from tests.web.conftest import ANONYMOUS, ClientAs

TEMPLATES = settings.BASE_DIR / "templates"
STATIC = settings.BASE_DIR / "static"


def _refuse(_request: HttpRequest) -> HttpResponse:
    raise Forbidden("Only on Sundays.")


def _deny(_request: HttpRequest) -> HttpResponse:
    raise PermissionDenied("internal detail")


def _fail(_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("secret detail")


urlpatterns = [*all_patterns, path("refuse/", _refuse), path("deny/", _deny), path("fail/", _fail)]


class TestFrame:
    def test_a_whole_page_has_trees_tasks_and_one_main(self, client_as: ClientAs, db: None) -> None:
        html = client_as(Role.VIEWER).get("/guests/").content.decode()
        assert html.startswith("<!doctype html>")
        for part in ('id="trees"', 'id="tasks"', 'id="live"', 'id="help"', 'id="splitter"'):
            assert html.count(part) == 1, part
        assert html.count("<main ") == html.count("<h1") == 1

    def test_a_move_within_the_frame_gets_the_main_area_only(self, client_as: ClientAs, db: None) -> None:
        answer = client_as(Role.VIEWER).get("/guests/", headers={"HX-Request": "true"})
        html = answer.content.decode()
        assert "<title>Guests · Guesthouse</title>" in html
        assert '<main id="main"' in html
        assert 'id="trees"' not in html
        assert "HX-Request" in answer["Vary"]

    def test_going_back_gets_the_whole_page(self, client_as: ClientAs, db: None) -> None:
        headers = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
        assert b'id="trees"' in client_as(Role.VIEWER).get("/guests/", headers=headers).content

    @pytest.mark.parametrize(
        ("role", "links"),
        [(Role.VIEWER, set()), (Role.AUDITOR, {"Audit log"}), (Role.ADMIN, {"Audit log", "Users"})],
    )
    def test_the_user_menu_offers_what_the_role_may(
        self, client_as: ClientAs, db: None, role: str, links: set[str]
    ) -> None:
        menu = client_as(role).get("/").content.decode().split("tool-user")[1].split("</header>")[0]
        assert {label for label in ("Audit log", "Users") if f">{label}<" in menu.replace("</svg>", ">")} == links

    def test_scripts_and_styles_come_from_files_only(self, client_as: ClientAs, db: None) -> None:
        answer = client_as(Role.ADMIN).get("/")
        html = answer.content.decode()
        assert not re.search(r"<script(?![^>]*\ssrc=)", html)
        assert "<style" not in html
        assert not re.search(r'\sstyle="', html)
        policy = answer["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy


@pytest.mark.urls("tests.web.test_frame")
class TestErrors:
    def test_refused_in_the_words_of_who_refused(self, client_as: ClientAs, db: None) -> None:
        answer = client_as(Role.VIEWER).get("/refuse/")
        assert answer.status_code == 403
        assert b"Only on Sundays." in answer.content
        assert b'id="trees"' in answer.content

    def test_denied_without_internal_detail(self, client_as: ClientAs, db: None) -> None:
        answer = client_as(Role.VIEWER).get("/deny/")
        assert answer.status_code == 403
        assert b"internal detail" not in answer.content

    def test_a_failure_of_ours_tells_nothing_of_itself(self, client_as: ClientAs, db: None) -> None:
        client = client_as(Role.ADMIN)
        client.raise_request_exception = False
        answer = client.get("/fail/")
        assert answer.status_code == 500
        assert b"secret detail" not in answer.content
        assert b"Something failed on the server" in answer.content

    def test_a_failure_needs_no_database(self) -> None:
        assert server_error(RequestFactory().get("/")).status_code == 500

    def test_not_found_inside_the_frame(self, client_as: ClientAs, db: None) -> None:
        answer = client_as(Role.VIEWER).get("/nothing/")
        assert answer.status_code == 404
        assert b'id="trees"' in answer.content

    @pytest.mark.parametrize("method", ["get", "put"])
    def test_a_button_opened_as_a_page(self, client_as: ClientAs, db: None, method: str) -> None:
        answer = getattr(client_as(Role.VIEWER), method)("/logout/")
        assert (answer.status_code, answer["Allow"]) == (405, "POST")
        assert b'id="trees"' in answer.content
        assert b"This address is not a page." in answer.content

    def test_a_button_opened_as_a_page_by_nobody(self, client_as: ClientAs, db: None) -> None:
        answer = client_as(ANONYMOUS).get("/logout/")
        assert answer.status_code == 405
        assert b"This address is not a page." in answer.content
        assert b'id="trees"' not in answer.content

    def test_who_is_not_signed_in_sees_no_frame(self, client_as: ClientAs, db: None) -> None:
        answer = client_as(ANONYMOUS).get("/nothing/")
        assert answer.status_code == 404
        assert b'id="trees"' not in answer.content

    def test_a_form_without_its_token(self, client_as: ClientAs, db: None) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = client_as(Role.ADMIN).cookies
        answer = strict.post("/logout/")
        assert answer.status_code == 403
        assert b"This form is out of date" in answer.content


class TestVendored:
    def _listed(self) -> dict[str, str]:
        text = (STATIC / "vendor" / "README.md").read_text()
        return dict(re.findall(r"^\| (\S+) \|.*`([0-9a-f]{64})` \|$", text, re.MULTILINE))

    def test_files_are_those_listed(self) -> None:
        found = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in (STATIC / "vendor").iterdir()
            if file.name != "README.md"
        }
        assert found == self._listed()

    def test_every_icon_used_is_in_the_sprite(self) -> None:
        sprite = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "vendor" / "icons.svg").read_text()))
        used = set()
        for file in TEMPLATES.rglob("*.html"):
            text = file.read_text()
            used |= set(re.findall(r'\{% icon "([^"]+)"', text))
            used |= set(re.findall(r'(?:icon_name|empty_icon)="([^"]+)"', text))
        from console.context import TREES, USER_MENU
        from console.templatetags.guesthouse import STATE_LOOKS

        used |= {item.icon for item in (*TREES, *USER_MENU)} | {name for _look, name in STATE_LOOKS.values()}
        assert used - sprite == set()

    def test_nothing_is_fetched_from_elsewhere(self) -> None:
        for file in [*TEMPLATES.rglob("*.html"), *STATIC.rglob("*.css"), *STATIC.glob("js/*.js")]:
            text = file.read_text()
            assert not re.search(r'(?:src|href|action)="(?:https?:)?//', text), file
            assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", text), file
            assert "@import" not in text, file


@pytest.mark.parametrize("headers", [{"X-Live": "true"}, {"X-Live": "true", "HX-Request": "true"}])
def test_what_an_act_says_waits_for_the_page_that_follows_it(client_as: ClientAs, headers: dict[str, str]) -> None:
    """Another tab may ask for fresh parts in between."""
    client = client_as(Role.ADMIN)
    client.post("/account/tokens/", {"name": "script"})
    token = ApiToken.objects.get()
    client.post(f"/account/tokens/{token.pk}/revoke/")
    assert "is revoked" not in client.get("/hosts/", headers=headers).content.decode()
    assert "is revoked" in client.get("/account/tokens/").content.decode()
    assert "is revoked" not in client.get("/account/tokens/").content.decode()
