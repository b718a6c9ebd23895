"""What somebody else does with virsh on real hosts is shown because the hosts tell of it: no poll is due for a day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.utils import timezone
from redis import Redis

from core.events import STREAM
from history.models import GuestMove, How
from hosts.models import Host, Source
from inventory.models import Guest, Watch
from migrations.services import submit_migration
from tests.jobs import end_of
from tests.stack import START_SECONDS, Product, wait_until


@pytest.fixture
def watched(product: Product) -> Product:
    """Every host's events come, and nothing else does."""
    for guest in product.lab.guests:
        product.settle(guest)
    product.stack.start_watcher()
    wait_until(
        lambda: not Source.objects.exclude(watch__since__isnull=False).exists() and Watch.objects.exists(),
        "every host's events come",
    )
    wait_until(lambda: not is_read(), "what the start of listening asked for is read")
    later = timezone.now() + timedelta(days=1)
    Source.objects.update(next_states_at=later, next_inventory_at=later)
    return product


def is_read() -> bool:
    now = timezone.now()
    sources = Source.objects.all()
    return sources.exclude(lease_until=None).exists() or sources.filter(next_states_at__lte=now).exists()


class Browser:
    """What the event stream brings from now on."""

    def __init__(self, product: Product) -> None:
        self.client = Redis.from_url(product.stack.redis_url)
        self.position = "$"
        info: Any = self.client.xinfo_stream(STREAM)
        self.position = info["last-generated-id"]

    def hears_of(self, guest: Guest) -> bool:
        answer: Any = self.client.xread({STREAM: self.position}, block=100)
        for entry, fields in answer[0][1] if answer else ():
            self.position = entry
            if ["guest", str(guest.pk)] in [change[:2] for change in msgspec.json.decode(fields[b"c"])]:
                return True
        return False


def test_what_virsh_does_is_told_to_browsers(watched: Product) -> None:
    guest = watched.lab.guests[0]
    row = watched.guest(guest)
    for command, state in (("suspend", "paused"), ("resume", "running")):
        browser = Browser(watched)
        guest.host.virsh(command, guest.uuid)
        wait_until(lambda heard=browser: heard.hears_of(row), "browsers are told")  # type: ignore[misc]
        wait_until(Guest.objects.filter(pk=row.pk, state=state).exists, f"the row says {state}")


def test_a_migration_that_virsh_began_is_noticed(watched: Product) -> None:
    guest = watched.lab.guests[1]
    row = watched.guest(guest)
    here = guest.host
    there = next(host for host in watched.lab.hosts if host.name != here.name)
    browser = Browser(watched)
    here.virsh("migrate", "--live", "--p2p", "--undefinesource", "--persistent", guest.uuid, there.uri)
    wait_until(Guest.objects.filter(pk=row.pk, host__source__name=there.name).exists, "the row moved")
    wait_until(lambda: browser.hears_of(row), "browsers are told")
    moved = watched.settle(guest)  # where it arrives it is paused for a moment
    assert (Guest.objects.get(uuid=guest.uuid).pk, moved.conflict) == (row.pk, "")  # still one
    (move,) = GuestMove.objects.filter(guest_id=row.pk).order_by("-at")[:1]
    assert (move.from_host_id, move.to_host_id) == (row.host_id, moved.host_id)
    assert move.how in (How.EVENT, How.POLL)
    assert move.migration_id is None
    assert guest.lost_beats() == [] == guest.doubled_beats()


def test_a_migration_of_ours_is_told_once_though_both_hosts_tell_of_it(watched: Product) -> None:
    guest = watched.lab.guests[1]
    pk = watched.settle(guest).pk
    before = GuestMove.objects.filter(guest_id=pk).count()
    for _there_and_back in range(2):
        here = watched.settle(guest).host
        there = Host.objects.exclude(pk=here.pk).order_by("name")[0]
        job = submit_migration(guest=Guest.objects.get(pk=pk), target_host=there, by="test").job
        end_of(job, seconds=START_SECONDS)
        moved = watched.settle(guest)
        assert (Guest.objects.get(uuid=guest.uuid).pk, moved.host_id, moved.conflict) == (pk, there.pk, "")
    moves = GuestMove.objects.filter(guest_id=pk).order_by("at")[before:]
    assert [move.how for move in moves] == [How.MIGRATION, How.MIGRATION]
