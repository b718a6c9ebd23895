"""What has to be true before pages are served: safe settings, schema, search, first user, collected static files.

Run by the supervisor as a process of its own. Its last line is one sentence when it refuses.
"""

import hashlib
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from config.data import DISK_FULL, DataError, full_disk_sentence

ADMIN = "admin"
ADMIN_CREATED = "first user created"
# Exit code; any other failure is a traceback in the log.
REFUSED = 3
FINGERPRINT = ".fingerprint"


class RefusedError(Exception):
    """The console must not start; the text is one sentence for a person."""


def main() -> int:
    parser = ArgumentParser()
    parser.add_argument("--public", action="store_true", help="the address can be reached from other machines")
    options = parser.parse_args()
    try:
        _set_up_django()
        refuse_unsafe_settings(public=options.public)
        _fill()
    except (RefusedError, DataError) as refusal:
        print(f"\n{refusal}", file=sys.stderr)  # on a line of its own, whatever was under way
        return REFUSED
    return 0


def _set_up_django() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()


def refuse_unsafe_settings(*, public: bool) -> None:
    """Raises: RefusedError."""
    from django.conf import settings

    sentence = unsafe_reason(
        public=public, debug=settings.DEBUG, allowed_hosts=settings.ALLOWED_HOSTS, secret_key=settings.SECRET_KEY
    )
    if sentence:
        raise RefusedError(sentence)


def unsafe_reason(*, public: bool, debug: bool, allowed_hosts: list[str], secret_key: str) -> str | None:
    """Why these settings may not serve, or none."""
    if not secret_key or secret_key.startswith("django-insecure-"):
        return "The secret key is empty or a default one; put back instance.json in the data directory."
    if public and debug:
        return "Debug mode may not serve on a public address; unset GUESTHOUSE_DEBUG or bind to 127.0.0.1."
    if public and "*" in allowed_hosts:
        return "GUESTHOUSE_ALLOWED_HOSTS=* may not serve on a public address; list the names people use."
    return None


def _fill() -> None:
    """Write what serving needs: schema, search, first user, static files.

    Raises: RefusedError.
    """
    from django.conf import settings
    from django.db.utils import DatabaseError

    try:
        change_schema()
        fill_search()
        create_first_user()
        collect_static()
    except DatabaseError as error:
        raise RefusedError(_database_sentence(error)) from error
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise RefusedError(full_disk_sentence(settings.STATIC_ROOT)) from error


def change_schema() -> None:
    """Bring the database up to date."""
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=1)


def fill_search() -> None:
    """Let objects be found that are older than the search, as after an upgrade or a restore."""
    from inventory.reindex import index_missing

    added = index_missing()
    if added:
        print(f"objects that can be found now, too: {added}")


def _database_sentence(error: Exception) -> str:
    from django.db import connection

    text = str(error)
    if any(words in text for words in ("is full", "No space left", "quota exceeded")):
        return full_disk_sentence("the database")
    if connection.vendor == "sqlite":
        return f"The database {connection.settings_dict['NAME']} cannot be used ({text}); see prepare.log."
    return (
        "The database server named by DATABASE_URL cannot be used; check that it runs and the address; see prepare.log."
    )


def create_first_user() -> None:
    """Raises: RefusedError when the given password is not accepted."""
    from django.contrib.auth import get_user_model
    from django.core.management import CommandError, call_command

    users = get_user_model().objects.filter(username=ADMIN)
    if users.exists():
        return
    try:
        call_command("ensure_admin")
    except CommandError as error:
        raise RefusedError(str(error)) from error
    if users.exists():
        print(ADMIN_CREATED)


def collect_static() -> None:
    """Collect the static files when one of them changed since the last start."""
    from django.conf import settings
    from django.core.management import call_command

    if settings.DEBUG:
        return
    note = Path(settings.STATIC_ROOT) / FINGERPRINT
    wanted = static_fingerprint()
    if note.exists() and note.read_text() == wanted:
        return
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    note.write_text(wanted)


def static_fingerprint() -> str:
    """Names, sizes and times of all static files, in one number."""
    digest = hashlib.sha256()
    for name, path in sorted(_static_files()):
        status = Path(path).stat()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _static_files() -> Iterator[tuple[str, str]]:
    from django.contrib.staticfiles import finders

    for finder in finders.get_finders():
        for name, storage in finder.list([]):
            yield name, storage.path(name)


if __name__ == "__main__":
    sys.exit(main())
