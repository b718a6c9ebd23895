from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext as _


def test_title(_parameters: Mapping[str, Any]) -> str:
    """What a list of tasks shows."""
    return _("Test")


def batch_title(parameters: Mapping[str, Any]) -> str:
    """What a list of tasks shows."""
    titles = {"add": _("Add sources"), "replace": _("New credentials")}
    return titles.get(str(parameters.get("action")), _("Test sources to import"))


def check_source_networks(**kwargs: Any) -> list[checks.CheckMessage]:
    """GUESTHOUSE_SOURCE_NETWORKS holds networks."""
    from hosts.validation import allowed_networks

    try:
        allowed_networks()
    except ValueError as error:
        return [checks.Error(f"GUESTHOUSE_SOURCE_NETWORKS: {error}.", id="hosts.E001")]
    return []


class HostsConfig(AppConfig):
    name = "hosts"
    label = "hosts"

    def ready(self) -> None:
        from operations.kinds import JobKind, register

        register(JobKind(name="source_test", title=test_title, runner="hosts.probe:run"))
        register(JobKind(name="source_batch", title=batch_title, runner="hosts.batch_runner:run"))
        checks.register(check_source_networks, checks.Tags.security)
