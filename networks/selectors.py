"""Reading virtual switches."""

from typing import Any

from django.db.models import QuerySet

from access.roles import Action
from networks.models import VirtualSwitch


def switch_list(*, user: Any) -> QuerySet[VirtualSwitch]:
    return VirtualSwitch.objects.restrict(user, Action.VIEW).select_related("host__source", "host__datacenter")
