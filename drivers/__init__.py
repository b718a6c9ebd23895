"""Hypervisor drivers: one folder per kind. Pure Python: no Django, no Celery, no database."""
