"""What a full read says of its datastores becomes samples."""

from __future__ import annotations

import pytest

from inventory.sync import apply_snapshot
from metrics.models import LoadPoll
from storage.models import Datastore
from tests.facts import at, datastore_fact, make_source, snapshot

pytestmark = pytest.mark.django_db


def test_active_datastores_are_measured_and_others_are_not() -> None:
    source = make_source()
    apply_snapshot(source, snapshot(0, datastores=(datastore_fact("fast"), datastore_fact("away", active=False))), 0)
    assert list(LoadPoll.objects.values_list("group_id", flat=True)) == [Datastore.objects.get(name="fast").pk]
    assert LoadPoll.objects.get().at == int(at(0).timestamp())
