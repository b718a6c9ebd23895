"""The audit log's page: filters and export."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from access.roles import Role
from audit.models import AuditRow
from console.tables.audit import ACTS, AREAS, TASK_ACTS
from console.tables.tasks import KIND_LABELS
from operations import kinds
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def auditor() -> Client:
    client = Client()
    client.force_login(make_user(Role.AUDITOR))
    return client


def act(action: str, actor: str = "ann", target: str = "kvm-01", day: int = 10, **detail) -> None:
    AuditRow.objects.create(
        at=datetime(2026, 3, day, 12, tzinfo=UTC),
        actor_name=actor,
        action=action,
        target_kind="source",
        target_name=target,
        detail=detail,
    )


def rows(client: Client, q: str) -> list[str]:
    """What the export holds: exactly what the page lists."""
    answer: Any = client.get(reverse("audit_list"), {"q": q, "export": "csv"})
    assert answer.status_code == 200, answer.content
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return [row["Act"] for row in csv.DictReader(io.StringIO(text)) if row["Act"] != "list.exported"]


def test_filters(auditor):
    act("source.added", "ann", day=10)
    act("source.paused", "bob", day=11)
    act("power.submitted", "bob", "db-07", day=12)
    assert rows(auditor, "") == ["power.submitted", "source.paused", "source.added"]
    assert rows(auditor, "actor:bob") == ["power.submitted", "source.paused"]
    assert rows(auditor, "area:source") == ["source.paused", "source.added"]
    assert rows(auditor, "since:2026-03-11") == ["power.submitted", "source.paused"]
    assert rows(auditor, "until:2026-03-11") == ["source.paused", "source.added"]
    assert rows(auditor, "since:2026-03-11 until:2026-03-11") == ["source.paused"]
    assert rows(auditor, "db-07") == ["power.submitted"]


@pytest.mark.parametrize("q", ["since:yesterday", "since:2026-02-31", "until:9999-12-31", "area:x", "nope:1", '"'])
def test_mistakes_are_sentences(auditor, q):
    answer = auditor.get(reverse("audit_list"), {"q": q})
    assert answer.status_code == 400
    assert b'id="list-error"' in answer.content


def test_every_act_belongs_to_one_area(auditor):
    acts = {*ACTS, *(f"{kind}.{act}" for kind in KIND_LABELS for act in TASK_ACTS)}
    for action in acts:
        act(action)
    found = [action for area in AREAS for action in rows(auditor, f"area:{area}")]
    assert sorted(found) == sorted(acts - {"list.exported"})  # each export is written down, too; left out by rows()


def test_every_kind_of_task_has_words() -> None:
    assert sorted(kinds._kinds) == sorted(KIND_LABELS)


@pytest.mark.parametrize("sort", ["actor_id", "detail", "-at,action", "at;drop", "detail__x"])
def test_only_named_orders(auditor, sort):
    assert auditor.get(reverse("audit_list"), {"sort": sort}).status_code == 400


def test_what_an_object_is_called_is_no_formula(auditor):
    act("source.added", target='=HYPERLINK("http://evil")')
    answer = auditor.get(reverse("audit_list"), {"export": "csv"})
    assert "'=HYPERLINK" in b"".join(answer.streaming_content).decode()


def test_exports_are_written_down(auditor):
    b"".join(auditor.get(reverse("audit_list"), {"export": "csv", "q": "actor:ann"}).streaming_content)
    row = AuditRow.objects.get(action="list.exported")
    assert (row.actor_name, row.target_name, row.detail["filter"]) == ("the-auditor", "audit", "actor:ann")


def test_details_and_names_stay_text(auditor):
    act("source.added", actor="<b>x</b>", target="<script>", note="<img src=x>")
    content = auditor.get(reverse("audit_list")).content
    for markup in (b"<b>x</b>", b"<script>\n", b"<img src=x>"):
        assert markup not in content


def test_an_auditor_changes_nothing(auditor):
    for name in ("source_add", "user_add"):
        assert auditor.post(reverse(name), {}).status_code == 403
