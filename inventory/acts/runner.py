"""What the runners of acts on a guest share. Imported only by workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from drivers.requests import Effect
from hosts.acts import At, Call, HostAct, Impossible
from hosts.models import Host
from inventory.models import Guest
from storage.models import Volume


def require_still(volume_id: str, reason_of: Callable[[Volume], str]) -> None:
    """Somebody may have taken it since it was asked for. Raises: Impossible."""
    volume = Volume.objects.select_related("datastore").filter(pk=UUID(volume_id)).first()
    if volume is None:  # what has its name now is another one
        raise Impossible(_("The volume is not in its datastore any more."))
    if reason := reason_of(volume):
        raise Impossible(reason)


class GuestAct(HostAct):
    """One act on one guest. `act` does it, with `at`, `guest` and `sight` there."""

    def act(self, at: At) -> str:
        """Do it, and say in one sentence how it ended. Raises: as `perform`."""
        raise NotImplementedError

    def perform(self) -> str:
        return self.act(self.find())

    def find(self) -> At:
        """The guest on its host: for whoever takes over the host that was asked, wherever the guest may be by now.

        Raises: Impossible; DriverError.
        """
        guest = Guest.objects.select_related("host__source").filter(pk=UUID(self.handle.job.target_id)).first()
        if guest is None:
            raise Impossible(_("The guest is not in the inventory any more."))
        self.guest = guest
        host = self._host(guest)
        sight = self.look(host, lambda session: session.sight_guest(guest.uuid))
        if sight is None:
            raise Impossible(_("%(host)s does not know the guest any more.") % {"host": host.name})
        self.sight = sight
        if "host" not in self.handle.checkpoint:
            self.handle.note(host=str(host.pk))
        return At(host, sight.ref)

    def _host(self, guest: Guest) -> Host:
        noted = self.handle.checkpoint.get("host")
        if noted is None or UUID(noted) == guest.host_id:
            return guest.host
        host = Host.objects.select_related("source").filter(pk=UUID(noted)).first()
        if host is None:
            raise Impossible(_("The host is not in the inventory any more."))
        return host

    def change(self, step: str, at: At, call: Call[Effect], later: dict[str, Any]) -> Effect:
        """Have something of the guest changed, and note `later` when that waits for its next start.

        The note is for the guest's page; see `inventory.acts.pending`. Raises: as `ask`.
        """
        effect = self.ask(step, at, call, Effect)
        if effect is Effect.AFTER_NEXT_START:
            self.handle.note(later={**(self.handle.checkpoint.get("later") or {}), **later})
        return effect

    @property
    def parameters(self) -> dict[str, Any]:
        return self.handle.parameters


def when(effect: Effect) -> str:
    """From when on, in words that end a sentence."""
    return _("now") if effect is Effect.NOW else _("after the next start")


def said(sentence: str, effect: Effect) -> str:
    """What was done, and when it counts if that is not now."""
    return sentence if effect is Effect.NOW else f"{sentence} {_('That counts after the next start.')}"
