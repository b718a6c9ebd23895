"""Many rows at once keep every value as the ORM would have."""

from typing import Any

import pytest
from django.utils import timezone

from audit.models import AuditRow
from core import bulk

COLUMNS = [field.name for field in AuditRow._meta.concrete_fields]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "values",
    [
        pytest.param([{"a": [1, True, None]}, ["b"]], id="objects and lists"),
        pytest.param(["text", 'with "marks"', {"a": "ä"}], id="texts"),
        pytest.param([1, 2.5, True], id="numbers"),
    ],
)
def test_json_values_of_every_type_come_back(values: list[Any]) -> None:
    now = timezone.now()
    made = [AuditRow(at=now, actor_name=str(number), detail=value) for number, value in enumerate(values)]
    bulk.insert(AuditRow, COLUMNS, [[getattr(row, name) for name in COLUMNS] for row in made])
    rows = AuditRow.objects.order_by("actor_name")
    assert [row.detail for row in rows] == values
    assert {row.at for row in rows} == {now}
