"""axe-core finds nothing on any page in both themes on a wide screen, nor on some pages on a phone.

A test loads each of its pages once: themes, and widths at which buttons are looked at, are changed in the page.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from access.models import ApiToken, User
from access.roles import Role
from hosts import services
from hosts.models import Source, SourceState
from operations.models import Job, JobState
from tests.browser.conftest import (
    Complaints,
    PageAs,
    accessibility_findings,
    findings_in_each_theme,
    framed_places,
    hidden_buttons,
)
from tests.factories import Inventory, make_job
from tests.web.everything import Everything

PAGES: dict[str, Callable[[Inventory], str]] = {
    "overview": lambda i: "/",
    "hosts": lambda i: "/hosts/",
    "guests": lambda i: "/guests/?q=state:running",
    "no guests": lambda i: "/guests/?q=nobody",
    "a wrong filter": lambda i: "/guests/?q=flavor:x",
    "datastores": lambda i: "/datastores/",
    "switches": lambda i: "/switches/",
    "tasks": lambda i: "/tasks/",
    "host": lambda i: f"/hosts/{i.hosts[0].pk}/",
    "host's hardware": lambda i: f"/hosts/{i.hosts[0].pk}/hardware/",
    "silent host": lambda i: f"/hosts/{i.hosts[1].pk}/",
    "host's guests": lambda i: f"/hosts/{i.hosts[0].pk}/guests/",
    "guest": lambda i: f"/guests/{i.guests[0].pk}/",
    "datastore": lambda i: f"/datastores/{i.shared.pk}/",
    "datastore's volumes": lambda i: f"/datastores/{i.shared.pk}/volumes/",
    "switch": lambda i: f"/switches/{i.switches[0].pk}/",
    "not found": lambda i: "/nowhere/",
}


@pytest.fixture
def seeded(inventory: Inventory, complaints: Complaints) -> Inventory:
    complaints.expected += ["404", "400"]  # the browser notes the status of such pages
    make_job(inventory.guests[0], progress={"percent": 40, "bytes_remaining": 2**30, "rate_bytes_per_s": 2**28})
    make_job(inventory.guests[1], state="failed", message="It did not stop.")
    Source.objects.filter(pk=inventory.hosts[1].source_id).update(state=SourceState.UNREACHABLE)
    return inventory


STEPS = ["done", "failed", "question", "running"]  # of a source's test
Found = dict[str, list[str]]


def _load(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("#recent-tasks table")).to_be_attached()


def _open(page: Page, path: str) -> None:
    """Until changes come by themselves, too."""
    _load(page, path)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def _findings(page: Page, path: str) -> Found:
    _load(page, path)
    return findings_in_each_theme(page)


def _looked_at(page: Page, path: str) -> Found:
    """What axe finds, and what is cut off, on a wide screen and on a phone's."""
    page.set_viewport_size({"width": 1280, "height": 800})
    found = _findings(page, path)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        if hidden := hidden_buttons(page):
            found[f"buttons at {width}"] = hidden
    return found


def _send_empty(page: Page) -> None:
    """The page's form with nothing in it, past what the browser itself would ask for."""
    form = page.locator("main form[method=post]")
    form.evaluate(
        "form => { form.noValidate = true; form.querySelectorAll('input.form-control').forEach(one => one.value = '');"
        " form.requestSubmit() }"
    )


def test_nothing_is_found_and_no_button_cut_off_on_any_page(page_as: PageAs, everything: Everything) -> None:
    page = page_as()
    me = User.objects.get(username=f"the-{Role.ADMIN}")
    ApiToken.objects.create(user=me, name="A script", digest="x", prefix="gst_x")
    found = {place.name: _looked_at(page, place.path) for place in framed_places(everything)}
    assert len(found) > 30
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_nothing_is_found_while_signing_in(page_as: PageAs, complaints: Complaints) -> None:
    complaints.expected += ["400"]
    page = page_as("")
    page.goto("/guests/")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert findings_in_each_theme(page) == {}
    page.get_by_label("User name").fill("nobody")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert findings_in_each_theme(page) == {}


def test_nothing_is_found_where_a_source_stands_in_each_state(page_as: PageAs, everything: Everything) -> None:
    page = page_as()
    found: dict[str, Found] = {}
    for state in SourceState:
        Source.objects.filter(pk=everything.source.pk).update(state=state)
        found[state] = _findings(page, f"/sources/{everything.source.pk}/")
    job = services.last_test(everything.draft)
    assert job is not None
    steps = [{"name": "a", "label": "Address", "state": one, "message": "Said."} for one in STEPS]
    for ended in (JobState.RUNNING, JobState.FAILED, JobState.SUCCEEDED):
        progress = {"ready": ended == JobState.SUCCEEDED, "steps": steps}
        Job.objects.filter(pk=job.pk).update(progress=progress, state=ended)
        found[f"test {ended}"] = _findings(page, f"/sources/add/{everything.draft.pk}/")
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_nothing_is_found_in_forms_that_were_refused_and_in_what_is_shown_once(
    page_as: PageAs, everything: Everything
) -> None:
    page = page_as()
    source = f"/sources/{everything.source.pk}"
    refused = "[aria-invalid=true]"
    found: dict[str, Found] = {}
    for path, answer in {
        "/sources/add/": refused,
        f"{source}/remove/": refused,
        f"{source}/credentials/": refused,
        "/users/add/": refused,
        "/account/password/": refused,
        "/account/tokens/": refused,
        f"/users/{everything.user.pk}/password/": "#one-time-password",
    }.items():
        page.goto(path)
        _send_empty(page)
        expect(page.locator(answer).first).to_be_visible()
        found[path] = findings_in_each_theme(page)
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_nothing_is_found(page_as: PageAs, seeded: Inventory) -> None:
    page = page_as()
    found = {}
    for name, path in PAGES.items():
        _open(page, path(seeded))
        expect(page.get_by_role("treeitem").first).to_be_visible()
        found[name] = findings_in_each_theme(page)
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_nothing_is_found_on_a_phone(page_as: PageAs, seeded: Inventory) -> None:
    page = page_as(width=390, height=760)
    for name in ("overview", "guests", "guest"):
        _open(page, PAGES[name](seeded))
        page.get_by_role("button", name="Inventory trees").click()
        expect(page.get_by_role("treeitem").first).to_be_visible()
        assert accessibility_findings(page) == []


def test_nothing_is_found_in_menus_and_help(page_as: PageAs, seeded: Inventory) -> None:
    page = page_as(Role.ADMIN)
    _open(page, "/guests/")
    page.get_by_role("button", name="State").click()
    assert accessibility_findings(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert accessibility_findings(page) == []
