"""One part of `bench migrate`, in a process of its own: `lab` or `jobs`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import django

django.setup()

from django.db import connection, transaction  # noqa: E402 - Django's settings come first

from config.supervisor import WORKERS  # noqa: E402
from drivers.types import Endpoint, Transport  # noqa: E402
from hosts.models import Datacenter, Source  # noqa: E402
from hosts.polling import hurry  # noqa: E402
from inventory.models import Guest  # noqa: E402
from inventory.power import submit_power  # noqa: E402
from lab.api import Lab, LabGuest, LabHost  # noqa: E402
from lab.state import ROOT  # noqa: E402
from migrations.services import submit_migration  # noqa: E402
from operations.models import ENDED, Job  # noqa: E402
from tests.bench.results import Result, as_json, at_most  # noqa: E402
from tests.stack import Product, Stack, running_product, running_stack, wait_until  # noqa: E402
from tests.world import make_fleet, make_rows  # noqa: E402

PAIRS = 6
RATIO, SECONDS_MORE = 1.05, 1.0  # what the console may add: checks, verification, the rows
LOOK_SECONDS = 0.02
OPEN_JOBS = 640  # vCenter 8's published maximum of concurrent operations
SUBMISSIONS_A_SECOND = 60
SUBMITTERS = 4
ORPHANS = 3
MOVE_SECONDS = 60.0  # a simulated move copies from its sixth second on
NEW_OWNER_SECONDS = 10.0


def main(part: str) -> None:
    for result in {"lab": measure_moves, "jobs": measure_jobs}[part]():
        sys.stdout.write(as_json(result) + "\n")
        sys.stdout.flush()


# -- a real guest, moved by virsh and by the console in turn


def measure_moves() -> Iterator[Result]:
    os.environ.setdefault("GUESTHOUSE_LAB_CACHE", str(ROOT / "var" / "cache" / "lab"))
    with tempfile.TemporaryDirectory(prefix="gh-bench-lab-") as folder:
        lab = Lab.start(2, name=f"b-migrate-{os.getpid()}", data=Path(folder))
        try:
            with running_product(lab) as product:
                yield compare(product, lab.guests[0], "a guest that idles")
                busy = lab.add_guest(host=lab.hosts[0].name, dirty=16)
                yield compare(product, busy, "a guest that rewrites 16 MiB")
        finally:
            lab.stop()


def compare(product: Product, guest: LabGuest, what: str) -> Result:
    """A, B, B, A: each way of moving goes there and back as often as the other."""
    by_virsh: list[float] = []
    by_console: list[float] = []
    for _ in range(PAIRS // 2):
        by_virsh.append(move_by_virsh(product, guest))
        by_console.append(move_by_console(product, guest))
        by_console.append(move_by_console(product, guest))
        by_virsh.append(move_by_virsh(product, guest))
    ours, reference = median(by_console), median(by_virsh)
    return Result(
        name=f"migrate: {what}",
        unit="s",
        ours=round(ours, 3),
        reference=round(reference, 3),
        ratio=round(reference / ours, 2),
        goal=f"ours <= {RATIO:g} x reference + {SECONDS_MORE:g} s",
        ok=ours <= RATIO * reference + SECONDS_MORE,
        note=f"virsh migrate --live --p2p, medians of {PAIRS}; ours until the task says succeeded",
    )


def sides(product: Product, guest: LabGuest) -> tuple[LabHost, LabHost]:
    here = guest.host
    return here, next(host for host in product.lab.hosts if host.name != here.name)


def move_by_virsh(product: Product, guest: LabGuest) -> float:
    here, there = sides(product, guest)
    started = time.perf_counter()
    here.virsh("migrate", "--live", "--p2p", "--undefinesource", "--persistent", guest.uuid, there.uri)
    return time.perf_counter() - started


def move_by_console(product: Product, guest: LabGuest) -> float:
    _here, there = sides(product, guest)
    hurry(Source.objects.values_list("pk", flat=True))
    row = product.settle(guest)
    started = time.perf_counter()
    job = submit_migration(guest=row, target_host=product.host(there.name), by="bench").job
    while Job.objects.filter(pk=job.pk).exclude(state__in=ENDED).exists():
        time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - started
    ended = Job.objects.get(pk=job.pk)
    if ended.state != "succeeded":
        raise SystemExit(f"The move did not succeed: {ended.message}")
    return seconds


# -- the job engine


def measure_jobs() -> Iterator[Result]:
    database = connection.vendor
    with running_stack(workers=(), beat=False) as stack:
        guests = make_guests()
        yield submissions(database, guests)
        yield work_off(database, stack)
        stack.forget_everything()
        yield orphans(database, stack)


def make_guests() -> list[Guest]:
    """As many running guests as jobs are to be open, on a simulated host."""
    uri = f"fake://fleet/1?guests={OPEN_JOBS * 2}"
    with transaction.atomic():
        make_rows(
            Endpoint(kind="fake", transport=Transport.FAKE, uri=uri), Datacenter.objects.create(name="dc"), "host-1"
        )
    return list(Guest.objects.filter(state="running")[:OPEN_JOBS])


def submissions(database: str, guests: list[Guest]) -> Result:
    """Power actions on as many guests, by several submitters at once, each a transaction of its own."""

    def submit(chosen: list[Guest]) -> None:
        for guest in chosen:
            submit_power(guest=guest, action="off", by="bench")
        connection.close()

    shares = [guests[number::SUBMITTERS] for number in range(SUBMITTERS)]
    started = time.perf_counter()
    with ThreadPoolExecutor(SUBMITTERS) as pool:
        list(pool.map(submit, shares))
    rate = len(guests) / (time.perf_counter() - started)
    opened = Job.objects.exclude(state__in=ENDED).count()
    strict = database == "postgresql"
    return Result(
        name=f"submissions a second, {database}",
        unit="1/s",
        ours=round(rate, 1),
        reference=None,
        ratio=None,
        goal=f">= {SUBMISSIONS_A_SECOND}, {OPEN_JOBS} open" if strict else "stated",
        ok=not strict or (rate >= SUBMISSIONS_A_SECOND and opened >= OPEN_JOBS),
        note=f"{opened} tasks open at the end, {SUBMITTERS} submitters",
    )


def work_off(database: str, stack: Stack) -> Result:
    """The workers do them all, each once."""
    started = time.perf_counter()
    stack.start_workers(*WORKERS)
    stack.start_beat()
    wait_until(lambda: not Job.objects.exclude(state__in=ENDED).exists(), "all tasks have ended", seconds=600)
    seconds = time.perf_counter() - started
    ends = Counter(Job.objects.values_list("state", flat=True))
    claims = Counter(Job.objects.values_list("token", flat=True))
    once = ends == {"succeeded": OPEN_JOBS} and claims == {2: OPEN_JOBS}  # claimed once, closed once
    return Result(
        name=f"open tasks worked off, {database}",
        unit="1/s",
        ours=round(OPEN_JOBS / seconds, 1),
        reference=None,
        ratio=None,
        goal="all succeeded, each claimed once",
        ok=once,
        note=f"{dict(ends)} in {seconds:.1f} s, the start of the workers included",
    )


def orphans(database: str, stack: Stack) -> Result:
    """kill -9 of the worker that holds a migration: the longest time until another one has it."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        fleet = make_fleet(Path(folder) / "world.json", "alpha", "beta", guests=ORPHANS, seconds=MOVE_SECONDS)
        for number in range(ORPHANS):
            job = submit_migration(guest=fleet.guest("alpha", number), target_host=fleet.hosts["beta"], by="bench").job
            times.append(kill_owner(stack, job))
            stack.mend()
    return at_most(
        f"an orphan's new owner, {database}",
        round(max(times), 2),
        goal=NEW_OWNER_SECONDS,
        unit="s",
        note=f"the longest of {ORPHANS}; kill -9 in mid-copy",
    )


def kill_owner(stack: Stack, job: Job) -> float:
    copying = Job.objects.filter(pk=job.pk, state="copying")
    wait_until(copying.exists, "it copies")
    owner = copying.values_list("owner", flat=True)[0]
    stack.kill(next(name for name in stack.processes if stack.pid(name) == int(owner.split(":")[1])))
    started = time.perf_counter()
    wait_until(lambda: copying.exclude(owner__in=(owner, "")).exists(), "it has a new owner")
    return time.perf_counter() - started


if __name__ == "__main__":
    main(sys.argv[1])
