"""Signing in, one's own account, users: what the pages do beyond who may (test_access_routes.py)."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from access.middleware import ABSOLUTE_SECONDS, IDLE_SECONDS, SEEN, STARTED
from access.models import ApiToken, User
from access.roles import Role
from audit.models import AuditRow
from tests.factories import PASSWORD, make_user
from tests.web.routes import ROUTES, Route
from tests.web.test_access_routes import World

pytestmark = pytest.mark.django_db

NEW = "another long enough secret"


def sign_in(client: Client, username: str = "ann", password: str = PASSWORD, **more: str) -> Any:
    return client.post(reverse("login"), {"username": username, "password": password, **more})


def signed_in(role: str = Role.ADMIN, **values: Any) -> Client:
    client = Client()
    client.force_login(make_user(role, "boss", **values))
    return client


def shown(response: Any, element: str) -> str:
    found = re.search(rf'id="{element}">([^<]+)<', response.content.decode())
    assert found, response.content.decode()[:500]
    return found[1]


class TestSignIn:
    def test_goes_where_one_wanted_to(self):
        make_user(Role.VIEWER, "ann")
        client = Client()
        wanted: Any = client.get(reverse("host_list"))
        assert wanted.url == "/login/?next=/hosts/"
        assert sign_in(client, next="/hosts/").url == "/hosts/"
        assert client.get(reverse("login"))["Location"] == reverse("home")

    @pytest.mark.parametrize(
        "elsewhere",
        [
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example",
            "javascript:alert(1)",
            "http:evil.example",
            "hosts/",
            "\thttps://evil.example",
        ],
    )
    def test_goes_nowhere_else(self, elsewhere):
        make_user(Role.VIEWER, "ann")
        assert sign_in(Client(), next=elsewhere).url == reverse("home")

    def test_starts_a_new_session(self):
        """A session id planted before the sign-in is worth nothing after it."""
        make_user(Role.VIEWER, "ann")
        client = Client()
        session = client.session
        session["planted"] = "x"
        session.save()
        before = session.session_key
        sign_in(client)
        assert client.session.session_key != before
        assert not Client(headers={"cookie": f"guesthouse_session={before}"}).session.get("_auth_user_id")

    def test_says_one_thing_whatever_is_wrong(self):
        make_user(Role.VIEWER, "ann")
        make_user(Role.VIEWER, "gone", is_active=False)
        answers = [
            sign_in(Client(), name, password) for name, password in [("ann", "x"), ("nobody", "x"), ("gone", PASSWORD)]
        ]
        assert [answer.status_code for answer in answers] == [400, 400, 400]
        assert all(b"The user name or the password is not right." in answer.content for answer in answers)

    def test_never_shows_the_password_again(self):
        answer = sign_in(Client(), "ann", "typed-secret")
        assert b'value="ann"' in answer.content
        assert b"typed-secret" not in answer.content

    def test_a_name_with_markup_stays_text(self):
        answer = sign_in(Client(), "<script>alert(1)</script>")
        assert b"<script>alert(1)" not in answer.content

    def test_waits_after_five(self):
        make_user(Role.VIEWER, "ann")
        client = Client()
        for _number in range(5):
            sign_in(client, password="wrong")
        assert b"Too many failed sign-ins" in sign_in(client).content

    def test_the_cookie_is_for_us_alone(self):
        make_user(Role.VIEWER, "ann")
        client = Client()
        sign_in(client)
        cookie = client.cookies["guesthouse_session"]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"


class TestSignOut:
    def test_ends_the_session_for_good(self):
        client = signed_in()
        key = client.session.session_key or ""
        assert client.post(reverse("logout"))["Location"] == reverse("login")
        old = Client()
        old.cookies["guesthouse_session"] = key
        assert old.get(reverse("host_list")).status_code == 302
        assert AuditRow.objects.filter(action="user.signed_out", actor_name="boss").exists()

    def test_twice_is_as_good_as_once(self):
        client = signed_in()
        for _number in range(2):
            assert client.post(reverse("logout"))["Location"] == reverse("login")
        assert AuditRow.objects.filter(action="user.signed_out").count() == 1

    def test_a_link_does_not(self):
        client = signed_in()
        assert client.get(reverse("logout")).status_code == 405
        assert client.get(reverse("host_list")).status_code == 200


class TestSessionCookie:
    """A changed password ends the old session; another tab's question may still come with its cookie."""

    def late(self, key: str) -> Client:
        client = Client()
        client.cookies["guesthouse_session"] = key
        return client

    def test_of_a_session_that_is_gone_is_not_taken_away(self):
        client = signed_in()
        key = client.session.session_key or ""
        Session.objects.all().delete()
        answer = self.late(key).get(reverse("host_list"), headers={"X-Live": "true"})
        assert (answer.status_code, "guesthouse_session" in answer.cookies) == (302, False)

    def test_of_a_session_before_the_new_password_is_not_taken_away(self):
        client = signed_in()
        user = User.objects.get()
        user.set_password(NEW)
        user.save()
        answer = self.late(client.session.session_key or "").get(reverse("host_list"))
        assert (answer.status_code, "guesthouse_session" in answer.cookies) == (302, False)

    def test_is_taken_away_by_a_sign_out(self):
        answer = signed_in().post(reverse("logout"))
        assert answer.cookies["guesthouse_session"].value == ""


class TestSessionAge:
    @pytest.mark.parametrize(("clock", "limit"), [(SEEN, IDLE_SECONDS), (STARTED, ABSOLUTE_SECONDS)])
    def test_ends(self, clock, limit):
        client = signed_in()
        session = client.session
        session[clock] = int(time.time()) - limit - 1
        session.save()
        assert client.get(reverse("host_list")).status_code == 302

    def test_use_keeps_it(self):
        client = signed_in()
        session = client.session
        session[SEEN] = int(time.time()) - IDLE_SECONDS + 60
        session.save()
        assert client.get(reverse("host_list")).status_code == 200
        assert client.session[SEEN] >= int(time.time()) - 5

    @pytest.mark.parametrize(("page", "headers"), [("host_list", {"X-Live": "true"}), ("events", {})])
    def test_what_a_page_asks_by_itself_does_not(self, page, headers):
        client = signed_in()
        session = client.session
        session[SEEN] = before = int(time.time()) - IDLE_SECONDS + 60
        session.save()
        assert client.get(reverse(page), headers=headers).status_code == 200
        assert client.session[SEEN] == before

    def test_one_without_a_clock_is_none(self):
        client = signed_in()
        session = client.session
        del session[STARTED]
        session.save()
        assert client.get(reverse("host_list")).status_code == 302


ONLY_POSTED = [route for route in ROUTES if route.get is None and not route.is_api]


class TestPressedAfterTheSessionEnded:
    """Nothing is done; after the sign-in the page with the button is shown again, never the button's own address."""

    def _sign_in_again(self, address: str, headers: dict[str, str]) -> Any:
        client = Client()
        asked: Any = client.post(address, headers=headers, follow=True)
        return client.post(
            reverse("login"), {"username": "boss", "password": PASSWORD, "next": asked.context["next"]}, follow=True
        )

    @pytest.mark.parametrize("headers", [{}, {"Referer": "http://testserver/hosts/"}])
    @pytest.mark.parametrize("route", ONLY_POSTED, ids=[route.name for route in ONLY_POSTED])
    def test_each_button_leads_to_a_page(self, route: Route, headers: dict[str, str]):
        world = World()
        make_user(Role.ADMIN, "boss")
        assert self._sign_in_again(world.address(route, Role.ADMIN), headers).status_code == 200

    @pytest.mark.parametrize(
        ("headers", "back"),
        [
            ({"HX-Current-URL": "http://testserver/hosts/?q=kvm", "Referer": "http://testserver/"}, "/hosts/?q=kvm"),
            ({"Referer": "http://testserver/hosts/?q=kvm#row"}, "/hosts/?q=kvm"),
            ({"Referer": "http://testserver"}, "/"),
            ({"Referer": "https://evil.example/hosts/"}, "/"),
            ({"Referer": "http://testserver//evil.example/"}, "/"),
            ({"HX-Current-URL": "javascript:alert(1)", "Referer": "data:text/html,x"}, "/"),
            ({}, "/"),
        ],
    )
    def test_the_page_is_the_one_the_browser_showed(self, headers: dict[str, str], back: str):
        make_user(Role.ADMIN, "boss")
        answer = self._sign_in_again(reverse("user_enable", args=[make_user(Role.VIEWER, "ann").pk]), headers)
        assert answer.request["PATH_INFO"] + "?" + answer.request["QUERY_STRING"] in (back, back + "?")


class TestOneTimePassword:
    def test_leads_to_the_page_that_changes_it_and_nowhere_else(self):
        client = signed_in(must_change_password=True)
        assert client.get(reverse("host_list"))["Location"] == reverse("account_password")
        assert client.get("/api/v1/hosts/").status_code == 403
        assert client.get(reverse("host_list"), headers={"hx-request": "true"})["HX-Redirect"]
        assert client.post(reverse("user_add"), {"username": "x"}).status_code == 302
        assert not User.objects.filter(username="x").exists()
        done = client.post(reverse("account_password"), {"current": PASSWORD, "new": NEW, "again": NEW})
        assert done["Location"] == reverse("home")
        assert client.get(reverse("host_list")).status_code == 200

    def test_page_asks_for_nothing_else(self):
        """Its trees, tasks and stream would be refused."""
        client = signed_in(must_change_password=True)
        html = client.get(reverse("account_password")).content.decode()
        assert "Somebody else chose your password." in html
        assert not any(part in html for part in ('id="trees"', 'id="tasks"', "live.js"))
        assert client.post(reverse("logout"))["Location"] == reverse("login")

    def test_of_a_new_user_is_shown_once(self):
        client = signed_in()
        answer = client.post(reverse("user_add"), {"username": "new", "role": "operator"})
        password = shown(answer, "one-time-password")
        assert "no-store" in answer["Cache-Control"]
        assert sign_in(Client(), "new", password).status_code == 302
        page = client.get(reverse("user_page", args=[User.objects.get(username="new").pk]))
        assert password not in page.content.decode()

    def test_typed_by_the_administrator(self):
        answer = signed_in().post(reverse("user_add"), {"username": "new", "role": "operator", "password": NEW})
        assert shown(answer, "one-time-password") == NEW
        assert User.objects.get(username="new").must_change_password

    def test_by_reset(self):
        user = make_user(Role.VIEWER, "ann")
        answer = signed_in().post(reverse("user_reset_password", args=[user.pk]))
        assert sign_in(Client(), "ann", shown(answer, "one-time-password")).status_code == 302
        assert sign_in(Client(), "ann", PASSWORD).status_code == 400


class TestOwnPassword:
    def test_this_session_stays_the_others_end(self):
        here = signed_in()
        there = Client()
        there.force_login(User.objects.get(username="boss"))
        done = here.post(reverse("account_password"), {"current": PASSWORD, "new": NEW, "again": NEW})
        assert done["Location"] == reverse("account_password")
        assert here.get(reverse("host_list")).status_code == 200
        assert there.get(reverse("host_list")).status_code == 302

    @pytest.mark.parametrize(
        ("current", "new", "again"), [("wrong", NEW, NEW), (PASSWORD, NEW, "other"), (PASSWORD, "short", "short")]
    )
    def test_mistakes_change_nothing_and_show_nothing(self, current, new, again):
        client = signed_in()
        answer = client.post(reverse("account_password"), {"current": current, "new": new, "again": again})
        assert answer.status_code == 400
        assert b'value="' + new.encode() not in answer.content
        assert User.objects.get().check_password(PASSWORD)


class TestTokens:
    def test_shown_once_and_works_until_revoked(self):
        client = signed_in(Role.VIEWER)
        text = shown(client.post(reverse("account_tokens"), {"name": "script"}), "new-token")
        assert text not in client.get(reverse("account_tokens")).content.decode()
        script = Client(headers={"authorization": f"Bearer {text}"})
        assert script.get("/api/v1/hosts/").status_code == 200
        client.post(reverse("token_revoke", args=[ApiToken.objects.get().pk]))
        assert script.get("/api/v1/hosts/").status_code == 401

    def test_opens_no_page(self):
        client = signed_in(Role.ADMIN)
        text = shown(client.post(reverse("account_tokens"), {"name": "script"}), "new-token")
        script = Client(headers={"authorization": f"Bearer {text}"})
        assert script.get(reverse("user_list")).status_code == 302

    def test_needs_a_name(self):
        assert signed_in().post(reverse("account_tokens"), {"name": " "}).status_code == 400
        assert not ApiToken.objects.exists()


class TestUsers:
    def test_disabling_ends_session_and_token_at_once(self):
        ann = make_user(Role.ADMIN, "ann")
        tab = Client()
        tab.force_login(ann)
        text = shown(tab.post(reverse("account_tokens"), {"name": "script"}), "new-token")
        signed_in().post(reverse("user_disable", args=[ann.pk]))
        assert tab.get(reverse("host_list")).status_code == 302
        assert Client(headers={"authorization": f"Bearer {text}"}).get("/api/v1/hosts/").status_code == 401

    def test_what_a_role_allows_changes_at_once(self):
        ann = make_user(Role.ADMIN, "ann")
        tab = Client()
        tab.force_login(ann)
        signed_in().post(reverse("user_role", args=[ann.pk]), {"role": Role.VIEWER})
        assert tab.get(reverse("user_list")).status_code == 403

    def test_refusals_are_sentences_on_the_page(self):
        client = signed_in()
        me = User.objects.get(username="boss")
        for name, data in (("user_role", {"role": "viewer"}), ("user_disable", {})):
            answer = client.post(reverse(name, args=[me.pk]), data, follow=True)
            assert b"ask another administrator" in answer.content
        me.refresh_from_db()
        assert (me.role, me.is_active) == (Role.ADMIN, True)

    @pytest.mark.parametrize(
        "extra", ["is_superuser", "is_staff", "is_active", "must_change_password", "id", "session_version"]
    )
    def test_nothing_else_of_a_form_counts(self, extra):
        """Mass assignment."""
        client = signed_in()
        client.post(reverse("user_add"), {"username": "new", "role": "viewer", extra: "1"})
        new = User.objects.get(username="new")
        assert (new.role, new.is_superuser, new.is_staff, new.must_change_password) == ("viewer", False, False, True)
        assert new.session_version == 0

    def test_the_list_filters_and_exports(self):
        make_user(Role.AUDITOR, "ann")
        client = signed_in()
        assert b"ann" not in client.get(reverse("user_list"), {"q": "role:admin"}).content.split(b"<tbody>")[1]
        answer: Any = client.get(reverse("user_list"), {"export": "csv"})
        assert "ann" in b"".join(answer.streaming_content).decode()
        assert AuditRow.objects.filter(action="list.exported").exists()

    def test_a_user_name_from_outside_stays_text(self):
        make_user(Role.VIEWER, "<b>x</b>")
        assert b"<b>x</b>" not in signed_in().get(reverse("user_list")).content
