from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext as _


def title(parameters: Mapping[str, Any]) -> str:
    """What a list of tasks shows."""
    return _("Migrate to %(host)s") % {"host": parameters.get("target_host_name", "?")}


class MigrationsConfig(AppConfig):
    name = "migrations"
    label = "guest_migrations"

    def ready(self) -> None:
        from hosts.signals import source_removing
        from migrations.machine import MIGRATION
        from migrations.removal import on_source_removing
        from operations.kinds import JobKind, register

        register(
            JobKind(
                name="migration",
                title=title,
                runner="migrations.runner:run",
                machine=MIGRATION,
                on_unclear="migrations.runner:leave_unclear",
            )
        )
        source_removing.connect(on_source_removing)
