from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "access"
    label = "access"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in, user_logged_out

        from access.middleware import note_sign_out, start_clock

        user_logged_in.connect(start_clock)
        user_logged_out.connect(note_sign_out)
