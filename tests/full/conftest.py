"""What takes longer than the rest, file by file: `./guesthouse test --full`."""

from tests.e2e.conftest import lab_folder, make_lab, pytest_collection_modifyitems

__all__ = ["lab_folder", "make_lab", "pytest_collection_modifyitems"]
