"""One real host on which nobody does anything, read a thousand times: not one row is written for it."""

from collections.abc import Callable, Iterator

import pytest

from drivers.isolation import SessionPool
from drivers.types import Endpoint, Transport
from hosts.models import Source
from inventory.sync import apply_snapshot, apply_states
from lab.api import Lab
from tests.facts import make_source
from tests.unit.inventory.test_idle import written

READS = 1000
LEARNING = 20  # reads in which the host may still learn its guests' addresses


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    lab = make_lab("idle", hosts=1, counting=True)
    yield lab
    lab.stop()


@pytest.mark.django_db
def test_a_thousand_reads_of_an_idle_host_write_nothing(lab: Lab) -> None:
    source, host = make_source(), lab.hosts[0]
    pool = SessionPool(processes=1)
    try:
        with pool.session(
            Endpoint("libvirt", Transport.TCP, address=host.address, key=host.name), deadline_s=60
        ) as real:
            for _number in range(LEARNING):
                apply_snapshot(source, real.snapshot(), 0)
            with written() as writes:
                for _number in range(READS):
                    apply_states(source, real.read_states(), 0)
                    apply_snapshot(source, real.snapshot(), 0)
    finally:
        pool.close()
    assert writes == []
    assert Source.objects.get().findings == []
