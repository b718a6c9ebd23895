"""One real host on which nobody does anything, polled a thousand times: not one row is written for it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone

from history.models import GuestRevision, GuestStay
from hosts.models import Source, SourceState
from inventory.models import Guest
from inventory.poll import poll
from lab.api import Lab
from search.models import SearchRow
from tests.facts import make_source
from tests.stack import wait_until
from tests.unit.inventory.test_idle import EVERY, POLLS, written


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    lab = make_lab("idle", hosts=1, counting=True)
    yield lab
    lab.stop()


@pytest.fixture
def source(lab: Lab, settings: Any, db: None) -> Source:
    settings.SOURCE_NETWORKS = [lab.subnet]
    source = make_source()
    Source.objects.filter(pk=source.pk).update(kind="libvirt", transport="tcp", address=lab.hosts[0].address)
    return source


def poll_now(source: Source, *, whole: bool) -> None:
    """As a worker does at its message, without the wait until it is due."""
    now = timezone.now()
    Source.objects.filter(pk=source.pk).update(next_states_at=now, **({"next_inventory_at": now} if whole else {}))
    before = Source.objects.get(pk=source.pk)
    poll(str(source.pk))
    after = Source.objects.get(pk=source.pk)
    assert after.state == SourceState.OK, after.state_message
    assert after.lease_token == before.lease_token + 1
    assert (after.inventory_read_at != before.inventory_read_at) is whole, "a full read"
    assert whole or after.states_read_at != before.states_read_at, "a quick one"


def knows_all(lab: Lab, source: Source) -> bool:
    """Whether a full read tells nothing more to come: each guest has asked for its lease."""
    poll_now(source, whole=True)
    return Guest.objects.filter(state="running").exclude(addresses="").count() == len(lab.guests)


def test_a_thousand_polls_of_an_idle_host_write_nothing(lab: Lab, source: Source) -> None:
    wait_until(lambda: knows_all(lab, source), "each guest has got the address of its second NIC")
    with written() as writes:
        for number in range(1, POLLS + 1):
            poll_now(source, whole=number % EVERY == 0)
    assert writes == []
    assert GuestRevision.objects.count() == len(lab.guests)
    assert GuestStay.objects.exists()
    assert SearchRow.objects.exists()
    assert Source.objects.get().findings == []
