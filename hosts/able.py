"""Whether anything can be asked of a host now, and why not."""

from __future__ import annotations

from django.utils.translation import gettext
from django.utils.translation import gettext as _

from core.errors import Conflict
from drivers import registry
from drivers.types import Capability
from hosts.models import Host, Source, SourceState


def unsupported_reason(source: Source, capability: Capability) -> str:
    """Why sources like this one cannot do it; empty when they can."""
    reason = registry.unsupported_reason(source.kind, source.transport, source.hypervisor, capability)
    return gettext(reason) if reason else ""


def fixed_reason(source: Source, setting: str) -> str:
    """Why this setting of its guests cannot be changed, such as `name` or `vcpus`; empty when it can."""
    reason = registry.fixed_reason(source.kind, source.hypervisor, setting)
    return gettext(reason) if reason else ""


def reason_unable(host: Host, capability: Capability) -> str:
    """Why this cannot be asked of the host, as far as the database knows; empty when it can. Needs its source."""
    if reason := unsupported_reason(host.source, capability):
        return reason
    if host.missing_since is not None:
        return _("%(host)s was not found at the last read of its source.") % {"host": host.name}
    if host.source.state == SourceState.PAUSED:
        return _("The source of %(host)s is paused. Resume it first.") % {"host": host.name}
    return ""


def require_able(host: Host, capability: Capability) -> None:
    """Raises: Conflict."""
    reason = reason_unable(host, capability)
    if reason:
        raise Conflict(reason)
