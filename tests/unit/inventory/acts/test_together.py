"""Fifty at once who ask for something of the same guest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from audit.models import AuditRow
from inventory.acts.settings import edit_guest
from inventory.acts.snapshots import create_snapshot
from operations.errors import AlreadyOpen
from operations.models import Job
from tests.site import make_site
from tests.together import database_for_threads, together

AT_ONCE = 50


@pytest.mark.django_db(transaction=True)
def test_fifty_at_once_make_one_open_task(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        guest = make_site(tmp_path / "world.json", guests=1).guest()

        def act(number: int) -> Job:
            if number % 2:
                return create_snapshot(guest=guest, name=f"s{number}", by="test")
            return edit_guest(guest=guest, changes={"notes": str(number)}, by="test")

        results = together(AT_ONCE, act)
        job = Job.objects.get()
        assert job.steps.count() == AuditRow.objects.filter(target_kind="guest").count() == 1
    assert [one.pk for one in results if isinstance(one, Job)] == [job.pk]
    refused = [one for one in results if isinstance(one, AlreadyOpen)]
    assert len(refused) == AT_ONCE - 1, Counter(map(repr, results))
