"""What keeps the console from serving."""

import errno
import os
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.db import DataError, OperationalError

from config import prepare
from search.models import SearchRow
from tests.factories import make_guest, make_host

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


@pytest.fixture
def run(monkeypatch):
    """Prepare, where one step fails; returns the exit code."""

    def run(failing: str, error: Exception) -> int:
        def act() -> None:
            raise error

        for step in ("_set_up_django", "change_schema", "fill_search", "create_first_user", "collect_static"):
            monkeypatch.setattr(prepare, step, act if step == failing else lambda: None)
        monkeypatch.setattr(prepare, "refuse_unsafe_settings", lambda **_options: None)
        monkeypatch.setattr("sys.argv", ["prepare"])
        return prepare.main()

    return run


@pytest.mark.parametrize("step", ["change_schema", "fill_search", "create_first_user"])
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OperationalError("database or disk is full"), "disk that holds the database is full"),
        (OperationalError('could not extend file "base/5/1": No space left on device'), "the database is full"),
        (OperationalError('could not extend file "base/5/1": Disk quota exceeded'), "the database is full"),
        (OperationalError("disk I/O error"), "cannot be used"),
        (DataError("value too long"), "cannot be used"),
    ],
)
def test_a_database_that_takes_nothing_is_one_sentence(run, capsys, step, error, sentence):
    assert run(step, error) == prepare.REFUSED
    last = capsys.readouterr().err.splitlines()[-1]
    assert sentence in last


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_for_static_files_is_one_sentence(run, capsys, settings, number):
    assert run("collect_static", OSError(number, os.strerror(number))) == prepare.REFUSED
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"The disk that holds {settings.STATIC_ROOT} is full; free some space and start again."


def test_what_nobody_foresaw_is_a_traceback_in_the_log(run):
    with pytest.raises(PermissionError):
        run("collect_static", PermissionError(errno.EACCES, "Permission denied"))


@pytest.mark.django_db
def test_what_is_older_than_the_search_can_be_found_after_a_start(capsys):
    make_guest("web-01", make_host())
    prepare.fill_search()
    assert "objects that can be found now, too: 4" in capsys.readouterr().out
    assert SearchRow.objects.filter(name_key="web-01").exists()
    prepare.fill_search()
    assert capsys.readouterr().out == ""
