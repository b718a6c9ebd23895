from django.apps import AppConfig


class NetworksConfig(AppConfig):
    name = "networks"
    label = "networks"

    def ready(self) -> None:
        from hosts.signals import source_removing
        from networks.removal import on_source_removing

        source_removing.connect(on_source_removing)
