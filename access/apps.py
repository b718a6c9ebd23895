from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "access"
    label = "access"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in

        from access.middleware import start_clock

        user_logged_in.connect(start_clock)
