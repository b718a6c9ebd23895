"""Wiring: settings, URLs, ASGI, Celery, supervisor."""
