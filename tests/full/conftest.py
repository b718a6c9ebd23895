"""What takes longer than the rest, file by file: `./guesthouse test --full`."""

from tests.faults.conftest import *  # noqa: F403 - the same lab and product: what its __all__ names
