from django.apps import AppConfig


class InventoryConfig(AppConfig):
    name = "inventory"
    label = "inventory"

    def ready(self) -> None:
        from hosts.signals import source_removing
        from inventory.acts import define_kinds
        from inventory.acts.kinds import register_kinds
        from inventory.power import KIND, title
        from inventory.removal import on_source_removing
        from operations.kinds import JobKind, register

        register(JobKind(name=KIND, title=title, runner="inventory.power_runner:run"))
        register_kinds()
        define_kinds.register_kinds()
        source_removing.connect(on_source_removing)
