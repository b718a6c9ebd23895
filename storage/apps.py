from django.apps import AppConfig


class StorageConfig(AppConfig):
    name = "storage"
    label = "storage"

    def ready(self) -> None:
        from hosts.signals import source_removing
        from operations.kinds import JobKind, register
        from storage import acts
        from storage.removal import on_source_removing

        source_removing.connect(on_source_removing)
        for kind, title, runner in (
            (acts.VOLUME_CREATE, acts.create_title, "run_create"),
            (acts.VOLUME_UPLOAD, acts.upload_title, "run_upload"),
            (acts.DATASTORE_SWITCH, acts.switch_title, "run_switch"),
        ):
            path = f"storage.act_runner:{runner}"
            register(JobKind(name=kind, title=title, runner=path, on_unclear="hosts.acts:request_reads"))
