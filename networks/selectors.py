"""Reading virtual switches and their port groups."""

from typing import Any

from django.db.models import QuerySet

from access.roles import Action
from core.models import by_name
from networks.models import PortGroup, VirtualSwitch


def switch_list(*, user: Any) -> QuerySet[VirtualSwitch]:
    return VirtualSwitch.objects.restrict(user, Action.VIEW).select_related("host__source", "host__datacenter")


def port_groups_of(switch: VirtualSwitch, *, user: Any) -> list[PortGroup]:
    return list(PortGroup.objects.restrict(user, Action.VIEW).filter(switch=switch).order_by(by_name(), "id"))
