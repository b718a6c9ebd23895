"""Writing the audit log."""

from typing import Any

from django.utils import timezone

from audit.middleware import current_request_id
from audit.models import AuditRow

SYSTEM = "system"
UNKNOWN = "unknown"  # somebody who has not signed in
COMMAND_LINE = "command line"
# Who acted where nobody was signed in. No user may bear such a name.
NOBODY = frozenset({SYSTEM, UNKNOWN, COMMAND_LINE})


def record(
    *,
    action: str,
    by: Any,
    target_kind: str = "",
    target_id: object = "",
    target_name: str = "",
    **detail: Any,
) -> AuditRow:
    """Add one row. `by` is a user, or a name such as `system` for what nobody clicked. Never pass secrets.

    Transaction: call it inside the one that makes the change.
    """
    return AuditRow.objects.create(
        at=timezone.now(),
        actor_id=str(getattr(by, "pk", "") or ""),
        actor_name=str(getattr(by, "username", "") or by),
        action=action,
        target_kind=target_kind,
        target_id=str(target_id),
        target_name=target_name[:255],
        request_id=current_request_id.get(),
        detail=detail,
    )
