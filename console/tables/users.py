"""The list of users."""

from __future__ import annotations

from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from access.models import User
from access.roles import Role
from console.tables import cells
from console.templatetags.guesthouse import age, state
from core.lists import Column, ListSpec, choice_filter, export_column, mapped_filter, text_filter
from core.models import by_name


def load_users(users: list[User]) -> None:
    """Give each its page."""
    for user in users:
        user.page_url = reverse("user_page", args=[user.pk])  # type: ignore[attr-defined]


def name_cell(user: User) -> SafeString:
    url = reverse("user_page", args=[user.pk])
    return format_html('<a class="name" dir="auto" href="{}">{}</a>', url, user.username)


def state_cell(user: User) -> SafeString:
    return state("active", _("active")) if user.is_active else state("off", _("disabled"))


USERS: ListSpec[User] = ListSpec(
    name="user",
    columns=(
        Column("name", _("Name"), name_cell, lambda user: user.username, (by_name("username"),)),
        Column(
            "role", _("Role"), lambda user: str(Role(user.role).label), lambda user: user.role, ("role", "username")
        ),
        Column("state", _("State"), state_cell, lambda user: "active" if user.is_active else "disabled"),
        Column("signed_in", _("Last sign-in"), lambda user: age(user.last_login), lambda user: user.last_login),
        Column(
            "added", _("Added"), lambda user: age(user.date_joined), lambda user: user.date_joined, ("date_joined",)
        ),
        Column(
            "one_time",
            _("One-time password"),
            lambda user: cells.yes_no(user.must_change_password),
            lambda user: user.must_change_password,
        ),
        export_column("id", _("Id"), lambda user: str(user.pk)),
    ),
    filters=(
        choice_filter("role", _("Role"), "role", Role.choices),
        mapped_filter(
            "state",
            _("State"),
            {"active": (_("active"), Q(is_active=True)), "disabled": (_("disabled"), Q(is_active=False))},
        ),
        text_filter("name", _("Name"), "username"),
    ),
    free_text=("username",),
    prepare=load_users,
)
