"""What goes with a source and no foreign key takes: what its virtual switches are found by."""

from typing import Any

from hosts.models import Source
from networks.models import VirtualSwitch
from search.models import Kind
from search.services import forget


def on_source_removing(*, source: Source, **kwargs: Any) -> None:
    """Transaction: the one that removes the source."""
    forget(Kind.SWITCH, VirtualSwitch.objects.filter(host__source=source).values("pk"))
