from django.apps import AppConfig


class StorageConfig(AppConfig):
    name = "storage"
    label = "storage"

    def ready(self) -> None:
        from hosts.signals import source_removing
        from storage.removal import on_source_removing

        source_removing.connect(on_source_removing)
