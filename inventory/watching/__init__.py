"""Hearing from sources what changes, and writing it at once; `manage.py watch` runs it."""
