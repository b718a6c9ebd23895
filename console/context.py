"""What every page's frame needs."""

import time
from dataclasses import dataclass
from typing import Any

from django.contrib.messages import get_messages
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from access.middleware import asks_by_itself
from access.models import may
from access.roles import Action
from core import room


@dataclass(frozen=True, slots=True)
class Item:
    """A link of the frame. `action` is what the user must be allowed to do to see it."""

    name: str  # of the URL
    label: str | Promise
    icon: str = ""
    action: Action = Action.VIEW
    hint: str | Promise = ""
    key: str = ""
    holds: tuple[str, ...] = ()  # lists that belong to it under an address of their own


SECTIONS = (
    Item("home", _("Overview"), key="home"),
    Item("host_list", _("Hosts"), key="hosts"),
    Item("guest_list", _("Guests"), key="guests"),
    Item("datastore_list", _("Storage"), key="datastores"),
    Item("switch_list", _("Networks"), key="switches"),
    Item("migration_list", _("Migrations"), key="migrations", holds=("move_list",)),
    Item("tag_list", _("Tags"), key="tags"),
    Item("task_list", _("Tasks"), key="tasks"),
    Item("source_list", _("Sources"), key="sources"),
)
USER_MENU = (
    Item("account_password", _("Change password"), "key"),
    Item("user_list", _("Users"), "users", Action.USERS),
    Item("audit_list", _("Audit log"), "history", Action.AUDIT),
)
TREES = (
    Item("tree", _("Hosts"), "server-2", hint=_("Clusters, hosts and their guests"), key="hosts"),
    Item("tree", _("Guests"), "device-desktop", hint=_("Guests by datacenter and folder"), key="guests"),
    Item("tree", _("Storage"), "database", hint=_("Datastores by datacenter"), key="storage"),
    Item("tree", _("Net"), "network", hint=_("Hosts and their virtual switches"), key="networks"),
)


def notices(request: HttpRequest) -> dict[str, Any]:
    """What an act has to say, once: on the page that follows it, not to a tab that asks for fresh parts by itself."""
    return {"messages": () if asks_by_itself(request) else get_messages(request)}


def shell(request: HttpRequest) -> dict[str, Any]:
    """The frame a page extends, what the user may do, and when this page was made."""
    user = getattr(request, "user", None)
    common: dict[str, Any] = {
        "may": {action.value: may(user, action) for action in Action},
        "rendered_ms": time.time_ns() // 1_000_000,
        "no_room": room.sentence_full() if room.is_full() else "",
    }
    if wants_fragment(request):
        return {**common, "frame": "frame/fragment.html"}
    return {
        **common,
        "frame": "frame/full.html",
        "sections": _links(SECTIONS, user),
        "user_menu": _links(USER_MENU, user),
        "trees": [{**_shown(item), "url": reverse("tree", args=[item.key])} for item in TREES],
        "logout_url": _address("logout"),
        "version": VERSION,
    }


VERSION = "0.1"


def wants_fragment(request: HttpRequest) -> bool:
    """Whether the browser already shows the frame and asks for the main area only."""
    return bool(request.headers.get("HX-Request")) and not request.headers.get("HX-History-Restore-Request")


def _links(items: tuple[Item, ...], user: Any) -> list[dict[str, Any]]:
    shown = [{**_shown(item), "url": _address(item.name)} for item in items if may(user, item.action)]
    return [item for item in shown if item["url"]]


def _shown(item: Item) -> dict[str, Any]:
    holds = " ".join(map(_address, item.holds))
    return {"name": item.key, "label": item.label, "icon": item.icon, "hint": item.hint, "holds": holds}


def _address(name: str) -> str:
    try:
        return reverse(name)
    except NoReverseMatch:
        return ""
