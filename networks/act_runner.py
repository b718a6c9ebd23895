"""Making, starting, stopping and deleting virtual networks: only in workers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from drivers.isolation import RemoteSession
from drivers.requests import NetworkMode, NetworkRequest, PortGroupRequest
from hosts.acts import At, HostAct, Impossible, Turn
from hosts.models import Host
from networks.acts import NetworkAct
from operations.handle import JobHandle


def run_create(handle: JobHandle) -> None:
    """The runner of `network_create`."""
    CreateNetwork(handle).run()


def run_switch(handle: JobHandle) -> None:
    """The runner of `network_switch`."""
    SwitchNetwork(handle).run()


DONE: dict[NetworkAct, Any] = {
    NetworkAct.START: gettext_lazy("The network is started."),
    NetworkAct.STOP: gettext_lazy("The network is stopped."),
    NetworkAct.AUTOSTART_ON: gettext_lazy("The host starts it by itself from now on."),
    NetworkAct.AUTOSTART_OFF: gettext_lazy("The host does not start it by itself any more."),
    NetworkAct.DELETE: gettext_lazy("The network is deleted."),
}


def host_of(host_id: str) -> Host:
    """Raises: Impossible."""
    host = Host.objects.select_related("source").filter(pk=UUID(host_id)).first()
    if host is None:
        raise Impossible(_("The host is not in the inventory any more."))
    return host


def request_of(asked: dict[str, Any]) -> NetworkRequest:
    groups = [PortGroupRequest(one["name"], tuple(one["vlans"]), one["default"]) for one in asked["port_groups"]]
    dhcp = asked["dhcp"]
    return NetworkRequest(
        uuid=asked["uuid"],
        name=asked["name"],
        mode=NetworkMode(asked["mode"]),
        bridge=asked["bridge"],
        address=asked["address"],
        dhcp=(dhcp[0], dhcp[1]) if dhcp else None,
        domain=asked["domain"],
        port_groups=tuple(groups),
        autostart=asked["autostart"],
    )


class CreateNetwork(HostAct):
    def perform(self) -> str:
        host, request = host_of(self.handle.job.target_id), request_of(self.handle.parameters)

        def call(session: RemoteSession, turn: Turn) -> None:
            session.create_network(request, turn.not_after)

        self.tell("create", At(host, request.uuid), call)
        return _("%(name)s is created and started.") % {"name": request.name}


class SwitchNetwork(HostAct):
    def perform(self) -> str:
        action, uuid = NetworkAct(self.handle.parameters["action"]), self.handle.parameters["uuid"]

        def call(session: RemoteSession, turn: Turn) -> None:
            if action is NetworkAct.START:
                session.start_network(uuid, turn.not_after)
            elif action is NetworkAct.STOP:
                session.stop_network(uuid, turn.not_after)
            elif action is NetworkAct.DELETE:
                session.delete_network(uuid, turn.not_after)
            else:
                session.autostart_network(uuid, action is NetworkAct.AUTOSTART_ON, turn.not_after)

        self.tell(action.value, At(host_of(self.handle.parameters["host"]), uuid), call)
        return str(DONE[action])
