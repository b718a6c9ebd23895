"""Fifty at once who add the same source."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from access.roles import Role
from audit.models import AuditRow
from core.errors import Conflict, Invalid
from hosts import services
from hosts.models import Datacenter, Source, SourceDraft
from operations.models import Job, JobState
from tests.factories import make_user
from tests.together import database_for_threads, together

AT_ONCE = 50


def make_tested_draft(name: str, address: str) -> SourceDraft:
    """A draft whose test has succeeded."""
    draft = SourceDraft.objects.create(
        name=name, datacenter_name="Berlin", kind="libvirt", transport="tcp", address=address, created_by="boss"
    )
    Job.objects.create(
        kind=services.SOURCE_TEST,
        state=JobState.SUCCEEDED,
        target_kind="source_draft",
        target_id=str(draft.pk),
        target_name=name,
        submitted_at=timezone.now(),
        progress={"ready": True},
    )
    return draft


def require_one(results: list[Any]) -> None:
    """One source came of it, written down once; who did not make it knows why."""
    assert Source.objects.count() == Datacenter.objects.count() == 1
    assert AuditRow.objects.filter(action="source.added").count() == 1
    others = [one for one in results if isinstance(one, Invalid | Conflict)]
    assert len(others) == AT_ONCE - 1, Counter(map(repr, results))


@pytest.mark.django_db(transaction=True)
def test_fifty_command_lines_that_add_one_name_make_one_source(tmp_path: Path) -> None:
    def add(number: int) -> tuple[Source, bool]:
        return services.add_configured_source(name="lab", uri=f"fake://world/alpha?file={tmp_path}/world-{number}.json")

    with database_for_threads(tmp_path):
        results = together(AT_ONCE, add)
        source = Source.objects.get()
        assert AuditRow.objects.filter(action="source.added").count() == Datacenter.objects.count() == 1
    answers = [one for one in results if not isinstance(one, Exception)]
    assert {found.pk for found, _new in answers} == {source.pk}
    assert [new for _found, new in answers].count(True) == 1
    assert {type(one) for one in results if isinstance(one, Exception)} <= {Invalid}


@pytest.mark.django_db(transaction=True)
def test_fifty_drafts_of_one_name_make_one_source(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        boss = make_user(Role.ADMIN)
        drafts = [make_tested_draft("rack-1", f"10.0.0.{number + 1}") for number in range(AT_ONCE)]
        require_one(together(AT_ONCE, lambda number: services.add_source(draft=drafts[number], by=boss)))


@pytest.mark.django_db(transaction=True)
def test_fifty_clicks_on_one_draft_make_one_source(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        boss, draft = make_user(Role.ADMIN), make_tested_draft("rack-1", "10.0.0.1")
        require_one(together(AT_ONCE, lambda _number: services.add_source(draft=draft, by=boss)))


@pytest.mark.django_db(transaction=True)
def test_fifty_drafts_of_one_place_make_one_source(tmp_path: Path) -> None:
    """One hypervisor read by two sources would show each guest twice."""
    with database_for_threads(tmp_path):
        boss = make_user(Role.ADMIN)
        Datacenter.objects.create(name="Berlin")
        drafts = [make_tested_draft(f"rack-{number}", "10.0.0.1") for number in range(AT_ONCE)]
        require_one(together(AT_ONCE, lambda number: services.add_source(draft=drafts[number], by=boss)))
