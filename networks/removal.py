"""What goes with a source and no foreign key takes: what its virtual switches are found by."""

from typing import Any

from django.utils import timezone

from hosts.models import Source
from networks.models import VirtualSwitch
from networks.recording import record_switches
from search.models import Kind
from search.services import forget


def on_source_removing(*, source: Source, **kwargs: Any) -> None:
    """Transaction: the one that removes the source."""
    switches = VirtualSwitch.objects.filter(host__source=source)
    record_switches({}, at=timezone.now(), gone=list(switches.order_by().values_list("pk", flat=True)))
    forget(Kind.SWITCH, switches.values("pk"))
