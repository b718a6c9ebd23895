from django.apps import AppConfig


class NetworksConfig(AppConfig):
    name = "networks"
    label = "networks"

    def ready(self) -> None:
        from hosts.signals import source_removing
        from networks import acts
        from networks.removal import on_source_removing
        from operations.kinds import JobKind, register

        source_removing.connect(on_source_removing)
        for kind, title, runner in (
            (acts.NETWORK_CREATE, acts.create_title, "run_create"),
            (acts.NETWORK_SWITCH, acts.switch_title, "run_switch"),
        ):
            path = f"networks.act_runner:{runner}"
            register(JobKind(name=kind, title=title, runner=path, on_unclear="hosts.acts:request_reads"))
