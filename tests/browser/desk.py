"""A person in front of the whole product: pages, workers and broker as the supervisor runs them, on real hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from django.contrib.auth.hashers import ScryptPasswordHasher
from playwright.sync_api import ConsoleMessage, Page, Response

from access.models import User
from tests.browser.conftest import PATIENCE_MS, accessibility_findings
from tests.factories import PASSWORD, make_user


@cache
def product_hash() -> str:
    """Tests hash otherwise, and quicker, than the product's own processes."""
    hasher = ScryptPasswordHasher()
    return str(hasher.encode(PASSWORD, hasher.salt()))


@dataclass
class Desk:
    """One window. `problems` collects what the browser complained of."""

    page: Page
    url: str
    problems: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.type}: {message.text}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.problems.append(f"{response.status} {response.url}")

    def sign_in(self, role: str) -> None:
        """As a user of this role, by the sign-in page."""
        user = User.objects.filter(username=f"the-{role}").first() or make_user(role)
        user.password = product_hash()
        user.save(update_fields=["password"])
        self.page.goto(f"{self.url}/login/")
        self.page.get_by_label("User name").fill(user.username)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.locator("body.console").wait_for()

    def open(self, path: str) -> None:
        """Returns when the page follows what happens."""
        self.page.goto(f"{self.url}{path}")
        self.page.locator('#live[data-state="live"]').wait_for()

    def mark(self) -> None:
        """Remember this document: `is_same` tells whether it was loaded anew since."""
        self.page.evaluate("() => { window.theSameDocument = true; }")

    @property
    def is_same(self) -> bool:
        return bool(self.page.evaluate("() => window.theSameDocument === true"))

    def findings(self) -> list[str]:
        """What axe-core finds on what is shown now, in both themes."""
        found = []
        for theme in ("light", "dark"):
            self.page.evaluate("(theme) => document.documentElement.setAttribute('data-bs-theme', theme)", theme)
            found += [f"{theme}: {one}" for one in accessibility_findings(self.page)]
        return found
