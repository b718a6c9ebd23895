"""What each role may do, as data."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Action(models.TextChoices):
    VIEW = "view", _("see the inventory")
    EXPORT = "export", _("export lists")
    CONSOLE = "console", _("open consoles")
    POWER = "power", _("change power")
    CONFIGURE = "configure", _("change guests")
    PROVISION = "provision", _("create and delete guests, volumes and networks")
    MIGRATE = "migrate", _("migrate guests")
    CANCEL = "cancel", _("cancel tasks")
    MAINTENANCE = "maintenance", _("set maintenance")
    AUDIT = "audit", _("read the audit log")
    SOURCES = "sources", _("manage sources")
    USERS = "users", _("manage users")


class Role(models.TextChoices):
    VIEWER = "viewer", _("Viewer")
    OPERATOR = "operator", _("Operator")
    MIGRATION_ADMIN = "migration_admin", _("Migration administrator")
    AUDITOR = "auditor", _("Auditor")
    ADMIN = "admin", _("Administrator")


_OPERATOR = frozenset({Action.VIEW, Action.EXPORT, Action.CONSOLE, Action.POWER})

ROLE_ACTIONS: dict[str, frozenset[Action]] = {
    Role.VIEWER: frozenset({Action.VIEW}),
    Role.OPERATOR: _OPERATOR,
    Role.MIGRATION_ADMIN: _OPERATOR | {Action.CONFIGURE, Action.MIGRATE, Action.CANCEL, Action.MAINTENANCE},
    Role.AUDITOR: frozenset({Action.VIEW, Action.EXPORT, Action.AUDIT}),
    Role.ADMIN: frozenset(Action),
}
