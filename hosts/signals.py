"""What the layers above are told."""

from django.dispatch import Signal

source_locked = Signal()
"""Sent inside the transaction that removes a source, once the source is locked and nothing of it is.

A receiver waits for those who write about the source's objects without locking them.
"""

source_removing = Signal()
"""Sent inside the transaction that removes a source, before its rows go, with `source`.

A receiver refuses by raising core.errors.Conflict, or takes away what it keeps of the source and no foreign key does.
"""
