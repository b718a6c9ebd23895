from pathlib import Path

import pytest

from tests.lives import Fate, strike_with
from tests.site import Site, make_site


@pytest.fixture
def site(db: None, tmp_path: Path) -> Site:
    return make_site(tmp_path / "world.json")


@pytest.fixture
def fate(monkeypatch: pytest.MonkeyPatch) -> Fate:
    """Workers in this process; it counts their calls, and strikes where a test says so."""
    return strike_with(monkeypatch)
