"""The base of our rows."""

from django.db import models

from core.ids import new_id


class Row(models.Model):
    """A row whose id is ours: opaque, and the same in URLs, API and command line."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)

    class Meta:
        abstract = True
