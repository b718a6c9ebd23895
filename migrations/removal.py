"""A source stays while a guest is on its way to one of its hosts."""

from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from core.errors import Conflict
from hosts.models import Source
from migrations.models import GuestMigration
from operations.models import ENDED


def on_source_removing(*, source: Source, **kwargs: Any) -> None:
    """Raises: Conflict while a migration from or to one of its hosts is open."""
    ours = Q(source_host__source=source) | Q(target_host__source=source)
    busy = GuestMigration.objects.filter(ours).exclude(job__state__in=ENDED).first()
    if busy is not None:
        raise Conflict(
            _("%(guest)s is on its way to %(host)s; wait for the end or cancel the migration.")
            % {"guest": busy.guest_name, "host": busy.target_host_name}
        )
