"""Signing in: guesses are counted in the database, before the password is checked."""

from datetime import timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import CommandError, call_command
from django.test import RequestFactory
from django.utils import timezone

from access import throttle
from access.models import SignInThrottle, User
from access.signin import sign_in
from access.throttle import SignInRefused
from audit.models import AuditRow
from tests.together import database_for_threads, together
from tests.unit.access.conftest import PASSWORD


def attempt(username="boss", password="wrong", address="192.0.2.1") -> User:
    request = RequestFactory().post("/login/", REMOTE_ADDR=address)
    request.session = SessionStore()
    return sign_in(request, username=username, password=password)


def outcome(**attempted) -> str:
    try:
        attempt(**attempted)
    except SignInRefused as refused:
        return "wait" if "Wait" in refused.message else "wrong"
    return "in"


def outcomes(count: int, **attempted) -> list[str]:
    return [outcome(**attempted) for _number in range(count)]


def test_the_right_password_signs_in_and_is_written_down(boss):
    assert attempt(password=PASSWORD) == boss
    row = AuditRow.objects.get()
    assert (row.action, row.actor_name, row.target_id) == ("user.signed_in", "boss", str(boss.pk))


def test_five_guesses_then_even_the_right_password_waits(boss):
    assert outcomes(6) == ["wrong"] * 5 + ["wait"]
    assert outcome(password=PASSWORD) == "wait"


def test_another_address_is_not_locked_out(boss):
    outcomes(6)
    assert outcome(password=PASSWORD, address="192.0.2.2") == "in"


def test_addresses_of_one_ipv6_network_count_together(boss):
    assert outcomes(5, address="2001:db8::1") == ["wrong"] * 5
    assert outcome(address="2001:db8::ffff") == "wait"
    assert outcome(address="2001:db8:0:1::1") == "wrong"


def test_the_window_ends(boss):
    outcomes(6)
    SignInThrottle.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert outcome(password=PASSWORD) == "in"


def test_success_clears_the_count(boss):
    outcomes(4)
    assert outcome(password=PASSWORD) == "in"
    assert outcomes(5) == ["wrong"] * 5


def test_waiting_does_not_prolong_the_wait(boss):
    outcomes(5)
    until = SignInThrottle.objects.values_list("until", flat=True)
    before = sorted(until.all())
    outcomes(10)
    assert sorted(until.all()) == before


def test_many_names_from_one_address(boss, monkeypatch):
    monkeypatch.setattr(throttle, "ADDRESS", throttle.Limit("address", 10, timedelta(minutes=5)))
    spread = [outcome(username=f"user-{number}") for number in range(12)]
    assert spread == ["wrong"] * 10 + ["wait"] * 2


def test_many_addresses_on_one_name(boss, monkeypatch):
    monkeypatch.setattr(throttle, "ACCOUNT", throttle.Limit("account", 10, timedelta(minutes=5)))
    spread = [outcome(address=f"192.0.2.{number}") for number in range(12)]
    assert spread == ["wrong"] * 10 + ["wait"] * 2


def test_spelling_the_name_another_way_gives_no_more_guesses(boss):
    names = ["boss", "BOSS", " boss", "boss ", "Boss", "bOss"]
    assert [outcome(username=name) for name in names] == ["wrong"] * 5 + ["wait"]


def test_a_disabled_user_is_told_no_more_than_a_stranger(boss):
    User.objects.update(is_active=False)
    with pytest.raises(SignInRefused) as disabled:
        attempt(password=PASSWORD)
    with pytest.raises(SignInRefused) as unknown:
        attempt(username="nobody")
    assert disabled.value.message == unknown.value.message


def test_failures_are_written_down_without_what_was_typed(boss):
    outcome(password="hunter2-hunter2")
    outcome(username="my-secret-in-the-wrong-field")
    rows = AuditRow.objects.order_by("at", "id")
    assert [(row.action, row.target_name) for row in rows] == [
        ("user.sign_in_failed", "boss"),
        ("user.sign_in_failed", ""),
    ]
    everything = str(list(AuditRow.objects.values())) + str(list(SignInThrottle.objects.values()))
    assert "hunter2" not in everything
    assert "my-secret" not in everything


def test_a_full_address_leaves_no_rows_for_the_names_it_tries(boss, monkeypatch):
    monkeypatch.setattr(throttle, "ADDRESS", throttle.Limit("address", 3, timedelta(minutes=5)))
    for number in range(3):
        outcome(username=f"user-{number}")
    before = SignInThrottle.objects.count()
    assert outcome(username="one-more") == "wait"
    assert SignInThrottle.objects.count() == before


def test_a_limit_reached_is_written_down_once(boss):
    outcomes(9)
    row = AuditRow.objects.get(action="user.sign_in_limit_reached")
    assert (row.target_name, row.detail) == ("boss", {"limit": "account and address", "address": "192.0.2.1"})


def test_an_account_locked_from_elsewhere_is_unlocked(boss, monkeypatch, capsys):
    monkeypatch.setattr(throttle, "ACCOUNT", throttle.Limit("account", 4, timedelta(hours=1)))
    for number in range(4):
        outcome(address=f"192.0.2.{number}")
    assert outcome(password=PASSWORD, address="192.0.2.99") == "wait"
    call_command("unlock_user", "boss")
    call_command("unlock_user", "boss")
    assert outcome(password=PASSWORD, address="192.0.2.99") == "in"
    assert AuditRow.objects.get(action="user.unlocked").actor_name == "command line"
    with pytest.raises(CommandError):
        call_command("unlock_user", "nobody")


@pytest.mark.parametrize("password", ["", "\0", "x" * 100_000, "é" * 257])
def test_odd_passwords_are_just_wrong(boss, password):
    assert outcome(password=password) == "wrong"


@pytest.mark.parametrize("username", ["", "\0", "x" * 100_000, "a' OR 1=1 --"])
def test_odd_names_are_just_wrong(boss, username):
    assert outcome(username=username) == "wrong"


@pytest.mark.django_db(transaction=True)
def test_fifty_guesses_at_once_get_five(boss, tmp_path):
    with database_for_threads(tmp_path):
        results = together(50, lambda _number: outcome())
    assert sorted(map(str, results)) == ["wait"] * 45 + ["wrong"] * 5
