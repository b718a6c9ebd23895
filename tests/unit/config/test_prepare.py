"""What keeps the console from serving."""

import os
from typing import Any

import pytest
from django.contrib.staticfiles import finders

from config import prepare

SAFE: dict[str, Any] = {"public": True, "debug": False, "allowed_hosts": ["console.example"], "secret_key": "k" * 50}


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


@pytest.fixture
def _fresh_finders():
    """Django keeps its finders; this test's own must not stay."""
    finders.get_finder.cache_clear()  # type: ignore[attr-defined]
    yield
    finders.get_finder.cache_clear()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_fresh_finders")
def test_a_changed_static_file_changes_the_fingerprint(tmp_path, settings):
    settings.STATICFILES_DIRS = [tmp_path]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    (tmp_path / "a.css").write_text("a")
    first = prepare.static_fingerprint()
    assert prepare.static_fingerprint() == first
    os.utime(tmp_path / "a.css", ns=(1, 1))
    assert prepare.static_fingerprint() != first
