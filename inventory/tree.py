"""The tree beside the pages: each branch is asked for when it opens, in a constant number of queries."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from core.models import by_name
from hosts.models import Datacenter, Host
from hosts.selectors import datacenter_list
from inventory.models import Guest
from inventory.selectors import guest_list, host_list
from networks.models import VirtualSwitch
from networks.selectors import switch_list
from storage.models import Datastore
from storage.selectors import datastore_list


def datacenters(*, user: Any) -> QuerySet[Datacenter]:
    return datacenter_list(user=user).order_by("name", "pk")


def hosts_of(datacenter_id: UUID, *, user: Any) -> QuerySet[Host]:
    """With state, `guest_count` and `running_count`."""
    return host_list(user=user).filter(datacenter=datacenter_id, missing_since=None).order_by(by_name(), "pk")


def guests_of(host_id: UUID, *, user: Any) -> QuerySet[Guest]:
    return guest_list(user=user).filter(host=host_id).order_by(by_name(), "pk")


def datastores_of(datacenter_id: UUID, *, user: Any) -> QuerySet[Datastore]:
    return datastore_list(user=user).filter(datacenter=datacenter_id, missing_since=None).order_by(by_name(), "pk")


def switches_of(host_id: UUID, *, user: Any) -> QuerySet[VirtualSwitch]:
    return switch_list(user=user).filter(host=host_id, missing_since=None).order_by(by_name(), "pk")
