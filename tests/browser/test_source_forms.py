"""The form of a source shows what the chosen connection needs; what belongs to another one is hidden, and not sent."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from access.roles import Role
from core.crypto import decrypt
from hosts.certificates import describe, presented_key
from hosts.models import SourceDraft
from hosts.validation import fingerprint
from operations.models import Job, JobState
from tests.browser.conftest import PageAs, accessibility_findings
from tests.certificates import CLIENT, make
from tests.factories import make_source


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_source_by_tls(page_as: PageAs, theme: str) -> None:
    ours, host = make("console", usage=(CLIENT,)), make("kvm-9")
    page = page_as(Role.ADMIN, theme=theme)
    page.goto("/sources/add/")
    key, certificate = page.get_by_label("Private key", exact=True), page.get_by_label("Client certificate", exact=True)
    expect(key).to_be_visible()
    expect(certificate).to_be_hidden()
    key.fill("left over")
    page.get_by_label("TLS").check()
    expect(key).to_be_hidden()
    assert accessibility_findings(page) == []
    page.get_by_label("Name", exact=True).fill("rack-9")
    page.get_by_label("Host name or IP address").fill("10.0.0.9")
    page.get_by_label("Hypervisor").select_option("lxc")
    certificate.fill(ours.pem)
    page.get_by_label("Key of the client certificate", exact=True).fill(ours.key)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.locator("#draft")).to_contain_text("Test")
    draft = SourceDraft.objects.get()
    assert (draft.hypervisor, decrypt(draft.client_certificate_encrypted)) == ("lxc", ours.pem)

    shown = {"key": presented_key(host.pem), "certificate": describe(host.certificate), "accepted_fingerprint": ""}
    shown["fingerprint"] = fingerprint(str(shown["key"]))
    progress = {"ready": False, "steps": [], "host_key": shown}
    Job.objects.update(state=JobState.SUCCEEDED, message="Compare.", progress=progress)
    page.reload()
    expect(page.locator("#draft")).to_contain_text("CN=kvm-9")
    assert accessibility_findings(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_of_a_source_by_tls(page_as: PageAs, theme: str) -> None:
    soon = make("console", usage=(CLIENT,), days=5)
    source = make_source("rack-1", transport="tls", certificates={"client": describe(soon.certificate), "ca": []})
    page = page_as(Role.ADMIN, theme=theme)
    page.goto(f"/sources/{source.pk}/")
    expect(page.locator("#source-body")).to_contain_text("expires on")
    assert accessibility_findings(page) == []
    page.goto(f"/sources/{source.pk}/credentials/")
    expect(page.get_by_label("Client certificate", exact=True)).to_be_visible()
    assert accessibility_findings(page) == []
