from django.apps import AppConfig


class WiringConfig(AppConfig):
    """Makes the Celery application current in every Django process, so that tasks can be sent by name."""

    name = "config"

    def ready(self) -> None:
        import config.celery  # noqa: F401
