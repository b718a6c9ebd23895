"""What goes with a source: its mounts, and the datastores nobody else sees."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from history.models import DatastoreRevision
from history.services import record
from hosts.diff import database_id
from hosts.models import Source
from metrics.services import forget_datastore_loads
from search.models import Kind
from search.services import forget
from storage.models import Datastore, DatastoreMount
from storage.recording import STORE, record_mounts
from storage.sync import summarize
from storage.volumes import ask_again, lock_in_order


def on_source_removing(*, source: Source, **kwargs: Any) -> None:
    """Transaction: the one that removes the source."""
    drop_mounts(DatastoreMount.objects.filter(host__source=source))


def drop_mounts(mounts: QuerySet[DatastoreMount]) -> None:
    """Forget these, and the datastores that nobody else sees.

    Transaction: the one that takes their hosts away.
    """
    seen = set(mounts.values_list("datastore_id", flat=True))
    now = timezone.now()
    record_mounts({}, at=now, gone=[str(one) for one in mounts.values_list("pk", flat=True)])
    mounts.delete()
    lock_in_order({database_id(one) for one in seen})  # nobody ties anything to one of them meanwhile
    unseen = Datastore.objects.filter(pk__in=seen, mounts=None)
    record(DatastoreRevision, STORE, {}, at=now, gone=unseen.values_list("pk", flat=True))
    gone = list(unseen.values_list("pk", flat=True))
    forget(Kind.DATASTORE, gone)
    forget_datastore_loads(gone)
    unseen.delete()
    ask_again({str(one) for one in seen})
    summarize(seen, now)
