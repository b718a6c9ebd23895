"""What takes longer than the rest, file by file: `./guesthouse test --full`."""

from tests.e2e.conftest import (
    lab,
    lab_folder,
    make_lab,
    product,
    pytest_collection_modifyitems,
    session_lab,
    session_product,
)

__all__ = [
    "lab",
    "lab_folder",
    "make_lab",
    "product",
    "pytest_collection_modifyitems",
    "session_lab",
    "session_product",
]
