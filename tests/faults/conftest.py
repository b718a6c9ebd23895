"""Faults strike real workers with a real broker; each test proves that its fault fired."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import (  # the same lab and product as the end-to-end tests
    lab,
    lab_folder,
    make_lab,
    product,
    pytest_collection_modifyitems,
    session_lab,
    session_product,
)
from tests.stack import Stack, running_stack
from tests.world import Fleet, make_fleet

__all__ = [
    "lab",
    "lab_folder",
    "make_lab",
    "product",
    "pytest_collection_modifyitems",
    "session_lab",
    "session_product",
]


@pytest.fixture(scope="session")
def session_stack(django_db_blocker: Any) -> Iterator[Stack]:
    with django_db_blocker.unblock(), running_stack() as running:
        yield running


@pytest.fixture
def stack(session_stack: Stack, django_db_blocker: Any) -> Iterator[Stack]:
    """Two workers, beat and a broker around a database, which this process uses, too."""
    with django_db_blocker.unblock(), session_stack.attached():
        session_stack.mend()
        yield session_stack
        try:
            session_stack.mend()
        finally:
            session_stack.forget_everything()


@pytest.fixture
def fleet(stack: Stack, tmp_path: Path) -> Fleet:
    """Two simulated hosts in a file that the workers share; a move takes four seconds."""
    return make_fleet(tmp_path / "world.json", "alpha", "beta", seconds=4.0)
