"""The web process: pages, API and event streams."""

import os

from django.core.asgi import get_asgi_application

from config.body_limit import limit_bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = limit_bodies(get_asgi_application())
