"""The lock files: complete, hashed, alike, and without addresses."""

import re

import pytest

from config.data import HOME

LOCKS = sorted((HOME / "requirements").glob("*.txt"))
PIN = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((HOME / "requirements" / name).read_text()))


def test_there_is_a_lock_for_every_input():
    assert [path.stem for path in LOCKS] == sorted(path.stem for path in (HOME / "requirements").glob("*.in"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed(lock):
    blocks = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", lock.read_text(), flags=re.MULTILINE))
    assert blocks
    for block in blocks:
        assert PIN.match(block), block[:60]
        assert "--hash=sha256:" in block, block[:60]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_no_lock_carries_a_download_address(lock):
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", lock.read_text())


def test_development_has_the_same_versions_as_production():
    development = pins("dev.txt")
    assert {name: development.get(name) for name in pins("app.txt")} == pins("app.txt")
