"""Every power action on a real guest, and what virsh does to it."""

from inventory.models import Guest
from inventory.power import submit_power
from lab.api import LabGuest
from operations.models import Job
from tests.jobs import end_of
from tests.stack import Product, wait_until


def act(row: Guest, action: str) -> Job:
    return end_of(submit_power(guest=row, action=action, by="test"), seconds=120)


def state_of(row: Guest) -> str:
    """What the page shows: read right after the job's end, no poll in between is awaited."""
    return Guest.objects.get(pk=row.pk).state


def said_by_virsh(guest: LabGuest) -> str:
    return guest.host.guests()[guest.name]


def test_suspend_and_resume(product: Product) -> None:
    guest = product.lab.guests[0]
    row, boot = product.settle(guest), guest.boot_id
    act(row, "suspend")
    assert (state_of(row), said_by_virsh(guest)) == ("paused", "paused")
    before = guest.heartbeat()
    act(row, "resume")
    assert (state_of(row), said_by_virsh(guest)) == ("running", "running")
    guest.wait_heartbeat(after=before)
    assert guest.boot_id == boot


def test_off_and_start(product: Product) -> None:
    guest = product.lab.guests[0]
    row, boot = product.settle(guest), guest.boot_id
    act(row, "off")
    assert (state_of(row), said_by_virsh(guest)) == ("off", "shutoff")
    act(row, "start")
    assert (state_of(row), said_by_virsh(guest)) == ("running", "running")
    wait_until(lambda: guest.boot_id != boot, "it boots anew")


def test_reset_boots_anew_once(product: Product) -> None:
    guest = product.lab.guests[0]
    row, boot = product.settle(guest), guest.boot_id
    act(row, "reset")
    assert state_of(row) == "running"
    wait_until(lambda: guest.boot_id != boot, "it boots anew")


def test_shutdown_waits_for_the_guest(product: Product) -> None:
    guest = product.lab.guests[1]
    row = product.settle(guest)
    guest.wait_heartbeat()
    act(row, "shutdown")
    assert (state_of(row), said_by_virsh(guest)) == ("off", "shutoff")
    act(row, "start")
    guest.wait_heartbeat()


def test_off_overrules_a_shutdown_that_the_guest_does_not_hear(product: Product) -> None:
    guest = product.lab.add_guest(kind="tiny", host=product.lab.hosts[0].name)
    row = product.settle(guest)
    deaf = submit_power(guest=row, action="shutdown", by="test")
    wait_until(Job.objects.filter(pk=deaf.pk, checkpoint__asked="shutdown").exists, "it was asked")
    act(row, "off")
    ended = Job.objects.get(pk=deaf.pk)
    assert (ended.state, "Overruled" in ended.message) == ("cancelled", True)
    guest.remove()


def test_virsh_acts_and_the_console_sees_it(product: Product) -> None:
    guest = product.lab.guests[3]
    row = product.settle(guest)
    for command, state in (("destroy", "off"), ("start", "running")):
        guest.host.virsh(command, guest.uuid)
        wait_until(Guest.objects.filter(pk=row.pk, state=state).exists, f"the row says {state}")
