"""Fixtures that hold several descriptions in one file."""

from pathlib import Path

from lxml import etree

FIXTURES = Path(__file__).parent / "fixtures"


def pieces(name: str) -> tuple[str, ...]:
    """What is inside the outermost element, each as libvirt would send it."""
    return tuple(etree.tostring(child, encoding="unicode") for child in etree.parse(FIXTURES / name).getroot())
