"""The Celery application. Messages carry only ids; the database is the truth."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("guesthouse")
app.config_from_object("config.celery_settings")
app.autodiscover_tasks()
app.steps["worker"].add("operations.worker.HandOver")  # a name: it is imported when Django is ready
