"""Settings: wiring only, from the environment and the data directory."""

import os
from pathlib import Path

import dj_database_url
from csp.constants import NONE, SELF

from config import data

BASE_DIR = Path(__file__).resolve().parent.parent
_instance = data.load_or_create()  # lower case: no setting, so that a debug page does not show it
DATA_DIR = _instance.data_dir

SECRET_KEY = _instance.secret_key
CREDENTIAL_KEYS = _instance.fernet_keys
DEBUG = os.environ.get("GUESTHOUSE_DEBUG") == "1"
ALLOWED_HOSTS = [name for name in os.environ.get("GUESTHOUSE_ALLOWED_HOSTS", "").split(",") if name] or [
    "localhost",
    "127.0.0.1",
    "[::1]",
]
CSRF_TRUSTED_ORIGINS = [origin for origin in os.environ.get("GUESTHOUSE_TRUSTED_ORIGINS", "").split(",") if origin]
SOURCE_NETWORKS = [network for network in os.environ.get("GUESTHOUSE_SOURCE_NETWORKS", "").split(",") if network]

HISTORY_DAYS = int(os.environ.get("GUESTHOUSE_HISTORY_DAYS") or 800)  # how long daily readings are kept

LOCAL_APPS = {  # label: package
    "audit": "audit",
    "access": "access",
    "search": "search",
    "history": "history",
    "metrics": "metrics",
    "operations": "operations",
    "hosts": "hosts",
    "networks": "networks",
    "storage": "storage",
    "inventory": "inventory",
    "labels": "labels",
    "guest_migrations": "migrations",
}
# `migrations/` is our app for moving guests; Django's schema changes live in `schema/`.
MIGRATION_MODULES = {label: f"{package}.schema" for label, package in LOCAL_APPS.items()}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "csp",
    "config.apps.WiringConfig",
    "core.apps.CoreConfig",
    "audit.apps.AuditConfig",
    "access.apps.AccessConfig",
    "search.apps.SearchConfig",
    "history.apps.HistoryConfig",
    "metrics.apps.MetricsConfig",
    "operations.apps.OperationsConfig",
    "hosts.apps.HostsConfig",
    "networks.apps.NetworksConfig",
    "storage.apps.StorageConfig",
    "inventory.apps.InventoryConfig",
    "labels.apps.LabelsConfig",
    "migrations.apps.MigrationsConfig",
    "console.apps.ConsoleConfig",
    "api.apps.ApiConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "access.middleware.SessionCookieMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "access.middleware.SignInRequiredMiddleware",
    "audit.middleware.RequestIdMiddleware",
    "access.middleware.SessionMiddleware",
    "console.frame.FrameMiddleware",
    "console.errors.NoRoomMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "console.context.notices",
                "console.context.shell",
            ],
            "builtins": [
                "django.templatetags.i18n",
                "django.templatetags.static",
                "django.contrib.humanize.templatetags.humanize",
                "console.templatetags.guesthouse",
            ],
            "libraries": {"guesthouse": "console.templatetags.guesthouse"},
        },
    }
]

SQLITE_OPTIONS = {
    "timeout": 20,
    # A full read of a large source touches every page: with the usual 2 MiB of cache it reads most of them twice, and
    # every commit copies the log back. Memory is taken only as far as it is used, until the task or request ends.
    "init_command": (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY; "
        "PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=4000;"
    ),
}
DATABASES = {
    "default": dj_database_url.parse(
        os.environ.get("DATABASE_URL") or f"sqlite:///{DATA_DIR}/guesthouse.sqlite3",
        # Under ASGI each request has a thread context of its own: a kept connection would never be used again.
        conn_max_age=0,
        conn_health_checks=True,
    )
}
# One for all threads of a process. A new connection to PostgreSQL is a new process there that reads its catalogs anew:
# it cost two fifths of a small host's poll. What is too much for the server's max_connections waits, then fails.
POSTGRESQL_POOL = {"min_size": 0, "max_size": 96, "max_idle": 60.0, "timeout": 10.0, "num_workers": 2}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS
    DATABASES["default"]["TEST"] = {"NAME": os.environ.get("GUESTHOUSE_TEST_SQLITE") or None}
else:
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = POSTGRESQL_POOL
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Files on their way from a browser to a datastore. Web processes and workers on several machines must share it.
UPLOAD_DIR = Path(os.environ.get("GUESTHOUSE_UPLOADS") or DATA_DIR / "uploads")
UPLOAD_LARGEST_BYTES = int(os.environ.get("GUESTHOUSE_UPLOAD_LIMIT_GIB") or 64) << 30

# How long load is kept, by how fine it is. Raw samples wait for their day's roll-up, five minutes for their week's.
LOAD_RAW_DAYS = max(2, int(os.environ.get("GUESTHOUSE_LOAD_RAW_DAYS") or 2))
LOAD_FIVE_MINUTE_DAYS = max(14, int(os.environ.get("GUESTHOUSE_LOAD_FIVE_MINUTE_DAYS") or 30))
LOAD_HOUR_DAYS = max(30, int(os.environ.get("GUESTHOUSE_LOAD_HOUR_DAYS") or 730))

REDIS_URL = os.environ.get("REDIS_URL") or f"unix://{_instance.valkey_socket}"

AUTH_USER_MODEL = "access.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
if os.environ.get("PYTEST_VERSION") or DEBUG:
    # Tests and development read static/ directly; no collected manifest is needed.
    STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    WHITENOISE_USE_FINDERS = True
    WHITENOISE_AUTOREFRESH = True  # no scan of every file for each test client

# TLS ends at a reverse proxy; plain HTTP on the loopback is the default.
SECURE_COOKIES = os.environ.get("GUESTHOUSE_HTTPS") == "1"
SESSION_COOKIE_SECURE = SECURE_COOKIES
CSRF_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = "guesthouse_session"
CSRF_COOKIE_NAME = "guesthouse_csrf"
if SECURE_COOKIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "worker-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # Tabler's form and icon images are data: URLs in its style sheet
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["api.formats.JsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["api.formats.JsonParser"],
    "EXCEPTION_HANDLER": "api.errors.handle_exception",
    "DEFAULT_METADATA_CLASS": None,
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("GUESTHOUSE_LOG_LEVEL", "INFO")},
    # Two lines for each message would bury the rest: beat sends one every second.
    "loggers": {name: {"level": "WARNING"} for name in ("celery.app.trace", "celery.worker.strategy")},
}
