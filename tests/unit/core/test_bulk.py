"""Many rows at once keep every value as the ORM would have."""

from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from audit.models import AuditRow
from core import bulk
from core.db import pipeline, write_transaction

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


def _rows(*names: str) -> list[list[Any]]:
    now = timezone.now()
    made = [AuditRow(at=now, actor_name=name, detail={"big": "x" * 100_000}) for name in names]
    return [[getattr(row, name) for name in COLUMNS] for row in made]


@pytest.mark.django_db(transaction=True)
def test_what_goes_through_a_pipeline_is_there_for_the_next_statement() -> None:
    with write_transaction(), pipeline():
        for name in ("one", "two", "three"):
            bulk.insert(AuditRow, COLUMNS, _rows(name))
        assert AuditRow.objects.count() == 3
        bulk.insert(AuditRow, COLUMNS, _rows("four"))
    assert AuditRow.objects.count() == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("after", [0, 3], ids=["the last statement", "others follow"])
def test_what_fails_in_a_pipeline_is_undone_with_all_of_its_transaction(after: int) -> None:
    twice = _rows("one")
    with pytest.raises(IntegrityError), write_transaction(), pipeline():
        bulk.insert(AuditRow, COLUMNS, twice)
        bulk.insert(AuditRow, COLUMNS, twice)
        for number in range(after):
            bulk.insert(AuditRow, COLUMNS, _rows(str(number)))
    assert AuditRow.objects.count() == 0
    assert not connection.in_atomic_block


@pytest.mark.django_db(transaction=True)
def test_an_exception_of_our_own_in_a_pipeline_arrives_and_undoes_it() -> None:
    with pytest.raises(LookupError), write_transaction(), pipeline():
        bulk.insert(AuditRow, COLUMNS, _rows("one"))
        raise LookupError
    assert AuditRow.objects.count() == 0
