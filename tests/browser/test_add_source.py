"""A host is added by SSH on the page, and its guests appear: the whole product, a real sshd and libvirt behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import BrowserContext, expect

from hosts.models import Source
from lab.api import Lab
from tests.browser.desk import Desk
from tests.e2e.conftest import lab, lab_folder, make_lab, session_lab  # noqa: F401 - the same lab
from tests.sshd import PORT, USER, Server, fingerprint, ssh_server
from tests.stack import Stack, running_stack

READ_MS = 60_000


@pytest.fixture
def server(session_lab: Lab, tmp_path: Path) -> Iterator[Server]:  # noqa: F811
    host = next(host for host in session_lab.hosts if host.guests())
    with ssh_server(host, tmp_path) as running:
        yield running


@pytest.fixture
def stack(session_lab: Lab, django_db_blocker: Any) -> Iterator[Stack]:  # noqa: F811
    """The product without a source."""
    with (
        django_db_blocker.unblock(),
        running_stack(web=True, environment={"GUESTHOUSE_SOURCE_NETWORKS": session_lab.subnet}) as running,
    ):
        yield running


@pytest.fixture
def desk(stack: Stack, context: BrowserContext) -> Iterator[Desk]:
    desk = Desk(context.new_page(), stack.url)
    desk.listen()
    yield desk
    assert desk.problems == []


def test_a_host_is_added_by_ssh_after_a_person_accepted_its_key(
    lab: Lab,  # noqa: F811
    server: Server,
    desk: Desk,
) -> None:
    page = desk.page
    desk.sign_in("admin")
    desk.open(reverse("source_add"))
    page.get_by_label("Name", exact=True).fill("rack-7")
    page.get_by_label("Host name or IP address").fill(server.host.address)
    page.get_by_label("Port").fill(str(PORT))
    page.get_by_label("User", exact=True).fill(USER)
    page.get_by_label("Private key", exact=True).fill((server.folder / "client-ed25519").read_text())
    page.get_by_role("button", name="Test", exact=True).click()
    shown = fingerprint(server.folder / "host-ed25519")
    expect(page.locator("#draft")).to_contain_text(shown, timeout=READ_MS)
    assert desk.findings() == []
    assert not Source.objects.exists(), "nothing is a source before its key is accepted"
    page.get_by_role("button", name="Accept the host key").click()
    page.get_by_role("button", name="Add this source").click(timeout=READ_MS)
    expect(page.locator("#source-state")).to_contain_text("connected", timeout=READ_MS)
    source = Source.objects.get()
    assert source.host_key.split()[0] == "ssh-ed25519"
    assert "PRIVATE KEY" not in source.private_key_encrypted
    desk.open(reverse("guest_list"))
    expect(page.locator("#list-table")).to_contain_text(next(iter(server.host.guests())), timeout=READ_MS)
