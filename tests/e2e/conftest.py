"""Tests on real hypervisors: a lab of three hosts, one per test worker, ended with the session."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.api import Lab
from lab.processes import NotPossible, require_machine
from lab.state import ROOT
from tests.stack import Product, running_product

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses a lab is marked so; with `--dist loadgroup` one worker has them all and starts one lab."""
    for item in items:
        if {"lab", "make_lab", "product"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.xdist_group("lab"))


@pytest.fixture(scope="session")
def lab_folder() -> Iterator[Path]:
    """A data folder for labs; the guests' kernel is shared with the other labs of this working copy."""
    try:
        require_machine()
    except NotPossible as error:
        pytest.skip(str(error))
    os.environ.setdefault("GUESTHOUSE_LAB_CACHE", str(ROOT / "var" / "cache" / "lab"))
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-lab-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def make_lab(lab_folder: Path) -> Iterator[Callable[..., Lab]]:
    """Start more labs beside each other: make_lab("name", hosts=1, counting=True)."""
    made: list[Lab] = []
    own = hashlib.sha256(str(lab_folder).encode()).hexdigest()[:6]

    def make(name: str, hosts: int = 1, *, counting: bool = False, extras: Sequence[str] = ()) -> Lab:
        whole = f"t-{name}-{WORKER}-{own}"
        lab = Lab.start(hosts, name=whole, data=lab_folder, counting=counting, extras=extras)
        made.append(lab)
        return lab

    yield make
    for lab in made:
        lab.stop()


@pytest.fixture(scope="session")
def session_lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab("e2e", hosts=3, counting=True)


@pytest.fixture
def lab(session_lab: Lab) -> Iterator[Lab]:
    """Three hosts with two guests each. Both are mended after each test; guests stay where it put them."""
    yield session_lab
    session_lab.mend()


@pytest.fixture(scope="session")
def session_product(session_lab: Lab, django_db_blocker: Any) -> Iterator[Product]:
    with django_db_blocker.unblock(), running_product(session_lab) as running:
        yield running


@pytest.fixture
def product(session_product: Product, lab: Lab, django_db_blocker: Any) -> Iterator[Product]:
    """Workers, beat and broker that read and act on the lab's hosts; this process uses the same database."""
    # A lab's product may live beside another stack: each test uses the database of its own.
    with django_db_blocker.unblock(), session_product.stack.attached():
        session_product.stack.mend()
        yield session_product
        session_product.stack.mend()
