from django.apps import AppConfig


class LabelsConfig(AppConfig):
    name = "labels"
    label = "labels"

    def ready(self) -> None:
        from hosts.signals import source_locked
        from labels.searching import index_tags
        from labels.turn import on_source_locked
        from search.services import register_tag_writer

        register_tag_writer(index_tags)
        source_locked.connect(on_source_locked)
