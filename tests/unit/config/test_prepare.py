"""What keeps the console from serving."""

import os

import pytest

from config import prepare

SAFE = {"public": True, "debug": False, "allowed_hosts": ["console.example"], "secret_key": "k" * 50}


def test_safe_settings_may_serve_everywhere():
    assert prepare.unsafe_reason(**SAFE) is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"debug": True}, "Debug"),
        ({"allowed_hosts": ["*"]}, "ALLOWED_HOSTS"),
        ({"allowed_hosts": ["console.example", "*"]}, "ALLOWED_HOSTS"),
        ({"secret_key": ""}, "secret key"),
        ({"secret_key": "django-insecure-abc"}, "secret key"),
    ],
)
def test_unsafe_settings_are_refused_on_a_public_address(change, word):
    reason = prepare.unsafe_reason(**{**SAFE, **change})
    assert reason
    assert word in reason
    assert "\n" not in reason


def test_debug_may_serve_on_the_loopback():
    assert prepare.unsafe_reason(**{**SAFE, "public": False, "debug": True, "allowed_hosts": ["*"]}) is None


def test_a_bad_secret_key_is_refused_on_the_loopback_too():
    assert prepare.unsafe_reason(**{**SAFE, "public": False, "secret_key": ""})


def test_a_changed_static_file_changes_the_fingerprint(tmp_path, settings):
    settings.STATICFILES_DIRS = [tmp_path]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    from django.contrib.staticfiles import finders

    def fingerprint() -> str:
        finders.get_finder.cache_clear()
        return prepare.static_fingerprint()

    (tmp_path / "a.css").write_text("a")
    first = fingerprint()
    assert fingerprint() == first
    os.utime(tmp_path / "a.css", ns=(1, 1))
    assert fingerprint() != first
    finders.get_finder.cache_clear()
