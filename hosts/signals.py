"""What the layers above are told."""

from django.dispatch import Signal

source_removing = Signal()
"""Sent inside the transaction that removes a source, before its rows go, with `source`.

A receiver refuses by raising core.errors.Conflict, or takes away what it keeps of the source and no foreign key does.
"""
