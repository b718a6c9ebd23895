"""Every link between the documents, and every picture, is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

HOME = Path(__file__).parents[2]
DOCUMENTS = sorted([*HOME.glob("*.md"), *(HOME / "docs").rglob("*.md")])
# [text](target), ![text](target "title"), [name]: target, and HTML's href and src.
LINK = re.compile(
    r"""\]\(\s*<?(?P<inline>[^)\s>]+)>?(?:\s+"[^"]*")?\s*\)"""
    r"""|^\[[^\]]+\]:\s*<?(?P<reference>[^\s>]+)"""
    r"""|\b(?:href|src)=["'](?P<html>[^"']+)["']""",
    re.MULTILINE,
)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def links(text: str) -> Iterator[str]:
    """Every target that a text names, code aside."""
    for match in LINK.finditer(CODE.sub("", text)):
        yield match["inline"] or match["reference"] or match["html"]


def anchors(text: str) -> set[str]:
    """The places of a document that a link may name, as GitHub and others make them from headings."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {word.replace(" ", "-") for word in words}


def broken(document: Path, root: Path = HOME) -> list[str]:
    """The relative links of a document that lead nowhere."""
    return [one for one in links(document.read_text()) if not ELSEWHERE.match(one) and not leads(document, one, root)]


def leads(document: Path, target: str, root: Path) -> bool:
    """Whether there is such a file of ours and, in a document, such a heading."""
    path, _hash, anchor = unquote(target).partition("#")
    place = (document.parent / path).resolve() if path else document
    if not place.is_relative_to(root) or not place.exists():
        return False
    return not anchor or place.suffix != ".md" or anchor in anchors(place.read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(HOME)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    assert broken(document) == []


def test_links_are_found_at_all() -> None:
    assert (HOME / "README.md") in DOCUMENTS
    assert "docs/architecture.md" in set(links((HOME / "README.md").read_text()))


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(
        "# One two\n[x](gone.md) ![p](gone.png \"t\") <img src='gone.gif'>\n[r]: gone.txt\n"
        "[ok](https://example.net/) [here](#one-two) [away](#three) `[code](gone.c)`\n```\n[block](gone.h)\n```\n"
    )
    assert list(links(document.read_text())) == [
        "gone.md",
        "gone.png",
        "gone.gif",
        "gone.txt",
        "https://example.net/",
        "#one-two",
        "#three",
    ]
    assert broken(document, tmp_path) == ["gone.md", "gone.png", "gone.gif", "gone.txt", "#three"]
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "b.md").write_text("[a](../a.md)\n")
    assert broken(inside / "b.md", inside) == ["../a.md"], "what lies outside the working copy is not there for readers"
