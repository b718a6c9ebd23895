from django.apps import AppConfig


class MigrationsConfig(AppConfig):
    name = "migrations"
    label = "guest_migrations"
