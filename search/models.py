"""What objects are found by."""

from django.db import models

from core.models import NameField
from core.search import TextIndex


class Kind(models.IntegerChoices):
    """What is found, in the order of results that are equally good. A label is the kind's name everywhere."""

    GUEST = 1, "guest"
    HOST = 2, "host"
    DATASTORE = 3, "datastore"
    SWITCH = 4, "switch"
    SOURCE = 5, "source"
    CLUSTER = 6, "cluster"
    DATACENTER = 7, "datacenter"


class SearchRow(models.Model):
    """All that one object is found by, in one text: folded, each value on a line of its own between line ends.

    `tags` are those that people put on it, in the same form or empty. Acts on tags write them, and filling search anew;
    a read of the object leaves them as they are. It is kept apart from the object, since an index of trigrams would
    make each of its other changes dearer. `digest` is of what the text was made from: equal ones are not written again.
    """

    id = models.BigAutoField(primary_key=True)  # SQLite's index of texts counts rows; nobody names one
    kind = models.PositiveSmallIntegerField(choices=Kind.choices)
    object_id = models.UUIDField()
    name_key = NameField(max_length=255)  # the folded name
    digest = models.CharField(max_length=32)
    text = models.TextField()
    tags = models.TextField(default="", db_default="")

    class Meta:
        indexes = [models.Index(fields=["kind", "name_key", "object_id"], name="search_by_name")]
        constraints = [models.UniqueConstraint(fields=["kind", "object_id"], name="search_one_row_per_object")]

    def __str__(self) -> str:
        return f"{Kind(self.kind).label} {self.name_key}"


TEXTS = TextIndex(SearchRow._meta.db_table, "text", "tags")
