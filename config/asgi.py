"""The web process: pages, API and event streams."""

import os
import warnings

from django.core.asgi import get_asgi_application

from config.body_limit import limit_bodies

# The static files, served whole from memory; exports stream by themselves (console/exports.py).
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = limit_bodies(get_asgi_application())
