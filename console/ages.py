"""How old what we show is, and whether it may have changed without our seeing it.

A host or source that does not answer says nothing about its guests: their state then reads as the last known one.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, CharField, F, IntegerField, Q, Value, When
from django.db.models.functions import Lower
from django.utils.translation import gettext as _

from core.lists import Key, Text
from core.models import by_name
from hosts.models import Host, HostState, Source, SourceState
from inventory.models import Guest
from networks.models import VirtualSwitch
from storage.models import Datastore
from storage.selectors import current_mounts

# A source that was never read has nothing to show yet; all others but a connected one leave us with old news.
_SILENT = (SourceState.UNREACHABLE, SourceState.AUTH_FAILED, SourceState.FAILING, SourceState.PAUSED)


@dataclass(frozen=True, slots=True)
class Silence:
    """Why what we show may be out of date, and since when."""

    reason: str
    since: datetime | None


def source_silence(source: Source) -> Silence | None:
    """What keeps us from reading this source now, if anything."""
    if source.state not in _SILENT:
        return None
    reasons = {
        SourceState.PAUSED: _("Source %(name)s is paused."),
        SourceState.UNREACHABLE: _("Source %(name)s is not reachable."),
        SourceState.AUTH_FAILED: _("Source %(name)s refuses our sign-in."),
    }
    text = reasons.get(SourceState(source.state), _("Reading source %(name)s fails."))
    return Silence(text % {"name": source.name}, source.state_since)


def host_silence(host: Host) -> Silence | None:
    """What keeps us from seeing this host now. Needs host.source loaded."""
    if host.missing_since:
        return Silence(_("Host %(name)s is missing from its source.") % {"name": host.name}, host.missing_since)
    silence = source_silence(host.source)
    if silence is None and host.state != HostState.CONNECTED:
        return Silence(_("Host %(name)s is not responding.") % {"name": host.name}, host_seen_at(host))
    return silence


def host_shown_state(host: Host) -> tuple[str, Text]:
    """The state a host is shown with: one we cannot read is not called connected."""
    if host.missing_since:
        return HostState.MISSING.value, HostState.MISSING.label
    if host.source.state == SourceState.PAUSED:
        return SourceState.PAUSED.value, SourceState.PAUSED.label
    if host_silence(host):
        return HostState.NOT_RESPONDING.value, HostState.NOT_RESPONDING.label
    return host.state, HostState(host.state).label


def host_is_seen(path: str = "") -> Q:
    """The condition of rows whose host has no `host_silence`; `path` leads to it, such as `host__`."""
    answering = [state.value for state in SourceState if state not in _SILENT]
    return Q(
        **{
            f"{path}missing_since": None,
            f"{path}state": HostState.CONNECTED,
            f"{path}source__state__in": answering,
        }
    )


def host_state_keys() -> tuple[Case, Lower]:
    """What sorts hosts by `host_shown_state`."""
    shown = Case(
        When(missing_since__isnull=False, then=Value(HostState.MISSING.value)),
        When(source__state=SourceState.PAUSED, then=Value(SourceState.PAUSED.value)),
        When(host_is_seen(), then=F("state")),
        default=Value(HostState.NOT_RESPONDING.value),
        output_field=CharField(),
    )
    return shown, by_name()


def state_keys(state: Key, is_seen: Q) -> tuple[Case, Case, Lower]:
    """What sorts rows by a shown state: missing whatever it was before; and known now before known last."""
    shown = Case(When(missing_since__isnull=False, then=Value("missing")), default=state, output_field=CharField())
    last_known = Case(When(is_seen, then=Value(0)), default=Value(1), output_field=IntegerField())
    return shown, last_known, by_name()


def active_state_keys(is_seen: Q) -> tuple[Case, Case, Lower]:
    """As state_keys, of what is active or not."""
    return state_keys(Case(When(active=True, then=Value("active")), default=Value("inactive")), is_seen)


def host_seen_at(host: Host) -> datetime:
    return _seen(host.evidence_at, host.missing_since, host.source)


def switch_seen_at(switch: VirtualSwitch) -> datetime:
    return _seen(switch.evidence_at, switch.missing_since, switch.host.source)


def datastore_seen_at(datastore: Datastore) -> datetime:
    """Needs `mounts__host__source` prefetched."""
    mounts = [] if datastore.missing_since else current_mounts(datastore)
    reads = [_seen(one.evidence_at, None, one.host.source) for one in mounts]
    return max([datastore.evidence_at, *reads])


def guest_silence(guest: Guest) -> Silence | None:
    """Needs guest.host.source loaded."""
    if guest.missing_since:
        return Silence(_("No host reports this guest any more."), guest.missing_since)
    return host_silence(guest.host)


def datastore_silence(datastore: Datastore) -> Silence | None:
    """A datastore is known as long as one host that sees it answers. Needs `mounts__host__source` prefetched."""
    if datastore.missing_since:
        return Silence(_("No host reports this datastore any more."), datastore.missing_since)
    mounts = current_mounts(datastore)
    silences = [host_silence(mount.host) for mount in mounts]
    known = [silence for silence in silences if silence is not None]
    return known[0] if mounts and len(known) == len(mounts) else None


def switch_silence(switch: VirtualSwitch) -> Silence | None:
    if switch.missing_since:
        return Silence(_("Its host does not report this switch any more."), switch.missing_since)
    return host_silence(switch.host)


def _seen(evidence: datetime, missing_since: datetime | None, source: Source) -> datetime:
    if missing_since is not None:
        return evidence
    reads = [read for read in (source.states_read_at, source.inventory_read_at) if read is not None]
    return max([evidence, *reads])
