"""A page that is switched to a theme is the page that was loaded in it, so that looking at both needs one load."""

from __future__ import annotations

from itertools import zip_longest

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PageAs, Theme, framed_places, show_in
from tests.web.everything import Everything

# Of each element what it is, and what a theme may change of it: whether it is seen, and its colors and letters. Its
# place and size are left out: a column is as wide as the time it tells, which goes on.
LOOK = """() => {
  const named = /^(display|visibility|opacity|font-.*|text-.*|fill.*|stroke.*|filter|box-shadow|.*color|.*image)$/;
  const names = [...getComputedStyle(document.documentElement)].filter((name) => named.test(name));
  return [document.documentElement, ...document.documentElement.querySelectorAll("*")].map((element) => {
    const style = getComputedStyle(element);
    const values = names.map((name) => style.getPropertyValue(name)).join();
    let digest = 0;
    for (let at = 0; at < values.length; at++) digest = (digest * 31 + values.charCodeAt(at)) | 0;
    return `${element.tagName}#${element.id}.${element.getAttribute("class")} ${digest}`;
  });
}"""
# One with charts, one with tables and menus, one of a move that goes on.
FEW = {"host_tab monitor", "guest_tab hardware", "migration_page"}


def _load(page: Page, path: str, theme: Theme) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto(path)
    expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
    expect(page.locator("#recent-tasks table")).to_be_attached()
    expect(page.get_by_role("treeitem").first).to_be_visible()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.evaluate("() => document.fonts.ready.then(() => null)")


def _look(page: Page) -> list[str]:
    """Once all is drawn: two looks, one after the other, are the same."""
    before: list[str] = []
    while (now := _glance(page)) != before:
        before = now
    return now


def _glance(page: Page) -> list[str]:
    page.evaluate("() => document.getAnimations().forEach((one) => one.finish())")
    return list(page.evaluate(LOOK))


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.whole)])
def test_a_switched_page_is_one_loaded_so(page_as: PageAs, everything: Everything, every: bool) -> None:
    page = page_as()
    places = [place for place in framed_places(everything) if every or place.name in FEW]
    assert len(places) >= len(FEW)
    for place in places:
        _load(page, place.path, "light")
        loaded_light = _look(page)
        show_in(page, "dark")
        switched_dark = _look(page)
        _load(page, place.path, "dark")
        loaded_dark = _look(page)
        show_in(page, "light")
        assert (place.name, _unlike(switched_dark, loaded_dark)) == (place.name, [])
        assert (place.name, _unlike(_look(page), loaded_light)) == (place.name, [])
        assert loaded_dark != loaded_light


def _unlike(some: list[str], others: list[str]) -> list[tuple[str, str]]:
    return [(one, other) for one, other in zip_longest(some, others, fillvalue="nothing") if one != other]
