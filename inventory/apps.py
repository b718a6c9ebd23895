from django.apps import AppConfig


class InventoryConfig(AppConfig):
    name = "inventory"
    label = "inventory"

    def ready(self) -> None:
        from inventory.power import KIND, title
        from operations.kinds import JobKind, register

        register(JobKind(name=KIND, title=title, runner="inventory.power:run"))
