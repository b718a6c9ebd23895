"""The real pages in a real Chromium: the web process in this one, on a database and a Valkey of its own.

Every test fails when the page wrote an error to the console or broke its content security policy.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# Playwright's synchronous interface keeps an event loop in this thread; the rows are made outside of it.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"

import pytest
import uvicorn
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import Browser, BrowserContext, Page, expect

from access.middleware import SEEN, STARTED
from access.models import User
from access.roles import Role
from console import stream
from core import events
from core.events import Change
from tests.factories import Inventory, make_user
from tests.servers import private_valkey
from tests.web.everything import Everything, Place
from tests.web.routes import EVERYBODY

CHROMIUM = "/usr/bin/chromium"
# The last list of features wins over Playwright's own, so this holds that one, too. The two of the address bar would
# load pages of their own for each window, more work than the page under test.
UNUSED_FEATURES = (
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync"),
    *("DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades", "LensOverlay"),
    *("MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints", "PaintHolding", "PreconnectToSearch"),
    *("TcpPortRandomizationWin", "ThirdPartyStoragePartitioning"),
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(UNUSED_FEATURES)}",
]
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Two cores shared with other tests: what is awaited may take its time, and nothing is measured here.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": FLAGS}


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file: the web process's threads cannot share SQLite's test database in memory without tripping on its locks."""
    database = settings.DATABASES["default"]
    if "sqlite" in database["ENGINE"]:
        database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    with private_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def web_process(valkey: str, django_db_setup: None) -> Iterator[str]:
    """Uvicorn in a thread; yields the console's address."""
    settings.REDIS_URL = valkey
    events._client.cache_clear()
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        from config.asgi import application

        config = uvicorn.Config(application, lifespan="off", log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield address
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def site(web_process: str, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """The console's address, on an empty database."""
    monkeypatch.setattr(events._Rest, "until", 0.0)
    monkeypatch.setattr(events, "BLOCK_MS", 500)
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.5)
    return web_process


@pytest.fixture
def inventory(site: str) -> Inventory:
    return Inventory(hosts=4, guests=40)


# Parts of pages, which other pages hold.
PARTS = {"recent_tasks", "guest_actions", "guest_now", "search_suggestions", "tag_pick", "task_live", "migration_live"}
ONE_QUESTION = "guest_power off"


@pytest.fixture
def everything(site: str, complaints: Complaints) -> Everything:
    complaints.expected += ["400"]
    return Everything("A name ", rows=2)


def framed_places(everything: Everything) -> list[Place]:
    """Every page in the frame, with all its tabs; of the questions about power one."""
    return [
        place
        for place in everything.places()
        if place.need != EVERYBODY
        and place.name not in PARTS
        and not place.name.startswith("tree ")
        and (place.name == ONE_QUESTION or not place.name.startswith("guest_power"))
    ]


@dataclass
class Complaints:
    """What the browser wrote to its console."""

    lines: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self._add(message.type, message.text))
        page.on("pageerror", lambda error: self.lines.append(f"exception: {error}"))

    def _add(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.lines.append(f"{kind}: {text}")

    def unexpected(self) -> list[str]:
        return [line for line in self.lines if not any(part in line for part in self.expected)]


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    found = Complaints()
    yield found
    assert found.unexpected() == []


Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
PageAs = Callable[..., Page]


@pytest.fixture
def page_as(browser: Browser, site: str, complaints: Complaints) -> Iterator[PageAs]:
    """A page in a browser that is signed in as a user of this role."""
    contexts: list[BrowserContext] = []

    def page(role: str = Role.ADMIN, *, theme: Theme = "light", width: int = 1280, height: int = 800) -> Page:
        context = browser.new_context(
            base_url=site, color_scheme=theme, viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        if role:
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": sign_in(role), "url": site}])
        made = context.new_page()
        complaints.watch(made)
        return made

    yield page
    for context in contexts:
        context.close()


def sign_in(role: str) -> str:
    """A session of a user of this role; returns its key."""
    import time

    user = User.objects.filter(username=f"the-{role}").first() or make_user(role)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session[STARTED] = session[SEEN] = int(time.time())
    session.create()
    return str(session.session_key)


def tell(*changes: Change) -> None:
    """What a worker does when it wrote a change."""
    events.publish(*changes)


# Only what is found leaves the page: the rest, each rule with each element that passed, is megabytes.
AXE_RUN = """async (rules) => {
  const found = await axe.run({ runOnly: rules, reporter: "no-passes", selectors: false });
  const start = ({ html }) => html.slice(0, 160);
  return found.violations.map(({ id, help, nodes }) => [id, help, nodes.slice(0, 3).map(start)]);
}"""


def accessibility_findings(page: Page) -> list[str]:
    """What axe-core finds on the page as it is."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())
    return [f"{name}: {words}: {elements}" for name, words, elements in page.evaluate(AXE_RUN, AXE_RULES)]


def show_in(page: Page, theme: Theme) -> None:
    """As if it had been loaded so: the theme is the page's script's alone, which test_themes.py proves."""
    page.emulate_media(color_scheme=theme)
    expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
    page.evaluate("() => document.getAnimations().forEach((one) => one.finish())")


def findings_in_each_theme(page: Page) -> dict[str, list[str]]:
    """What axe-core finds on the page as it is, where it finds something; by theme."""
    found = {}
    for theme in THEMES:
        show_in(page, theme)
        found[theme] = accessibility_findings(page)
    return {theme: findings for theme, findings in found.items() if findings}


# Of each cell that holds something to press: what is wider than the cell, and what cannot be seen without scrolling.
HIDDEN = """() => [...document.querySelectorAll('table.grid td')].flatMap((cell) => {
  const acts = [...cell.querySelectorAll('.btn, button')];
  if (!acts.length || !cell.checkVisibility()) return [];
  const box = cell.getBoundingClientRect();
  const edge = cell.closest('.panel-scroll, .list-scroll').getBoundingClientRect();
  const cut = cell.scrollWidth > cell.clientWidth ? [`${cell.scrollWidth} in ${cell.clientWidth}`] : [];
  return cut.concat(acts.flatMap((act) => {
    const one = act.getBoundingClientRect();
    const inside = one.left >= box.left - 1 && one.right <= box.right + 1;
    const seen = one.left >= edge.left - 1 && one.right <= Math.min(edge.right, innerWidth) + 1;
    return inside && seen ? [] : [`${act.textContent.trim() || act.ariaLabel}: ${one.left}-${one.right}`];
  }));
})"""


def hidden_buttons(page: Page) -> list[str]:
    """Of each cell of a table that holds something to press: what is cut off or out of sight."""
    return list(page.evaluate(HIDDEN))
