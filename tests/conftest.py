"""What every kind of test may use."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# A busy machine makes no test fail: nothing is timed.
hypothesis_settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("patient")


WHOLE = os.environ.get("GUESTHOUSE_TESTS") == "whole"
# What knows no database need not run on a second one.
ONLY_OF_DATABASES = os.environ.get("GUESTHOUSE_TESTS") == "databases"
DATABASE_FIXTURES = {"db", "transactional_db", "django_db_setup"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for another run: see the phases in tests/run.py."""
    left_out = {item: None for item in items if _is_left_out(item)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _is_left_out(item: pytest.Item) -> bool:
    if ONLY_OF_DATABASES and not _uses_database(item):
        return True
    return not WHOLE and item.get_closest_marker("whole") is not None


def _uses_database(item: pytest.Item) -> bool:
    """pytest-django lets no other test near a database."""
    fixtures = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("django_db") is not None or bool(fixtures & DATABASE_FIXTURES)


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    """Scrypt is slow on purpose; what tests prove does not depend on it."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
