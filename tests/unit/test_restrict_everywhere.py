"""Pages, API and selectors ask `restrict` of every model they read, not only of the first one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db.models import Model, QuerySet

from access.models import RestrictedQuerySet

HOME = Path(__file__).resolve().parents[2]
MANAGERS = {"objects", "_default_manager", "_base_manager"}
ROWS = {name for name in dir(QuerySet) if not name.startswith("_")}
PICKERS = {"get_object_or_404", "get_list_or_404"}
BY_NAME = {"prefetch_related", "Prefetch", "Count", "Sum", "Min", "Max", "Avg"}
# Where it is right all the same, and why.
ALLOWED = {
    ("storage/selectors.py", "datastore.mounts"): "reads what was prefetched, restricted",
    ("console/storage.py", "datastore.mounts"): "reads what storage.selectors.datastore_list prefetched, restricted",
    ("api/serializers.py", "datastore.mounts"): "reads what storage.selectors.datastore_list prefetched, restricted",
    ("console/tables/switches.py", "switch.port_groups"): "reads what switch_rows prefetched, restricted",
    ("console/sources.py", "source.hosts"): "removing a source takes all of its hosts along: say how many",
    ("operations/selectors.py", "Job.objects"): "one job holds a guest, whoever may see it",
}


@cache
def restricted() -> dict[str, type[Model]]:
    models = [model for label in settings.LOCAL_APPS for model in apps.get_app_config(label).get_models()]
    return {model.__name__: model for model in models if isinstance(model._default_manager.all(), RestrictedQuerySet)}


def accessors() -> set[str]:
    """What leads from any object to rows of a restricted model, such as `guests`."""
    relations = [
        relation
        for models in apps.get_models()
        for relation in models._meta.related_objects
        if relation.one_to_many and relation.related_model.__name__ in restricted()
    ]
    return {str(relation.get_accessor_name()) for relation in relations}


@cache
def companions() -> set[tuple[str, str]]:
    """What leads from one object to its one row of a restricted model, such as a guest's `details`."""
    return {
        (model.__name__.lower(), str(relation.get_accessor_name()))
        for model in apps.get_models()
        for relation in model._meta.related_objects
        if relation.one_to_one and relation.related_model.__name__ in restricted()
    }


def findings(tree: ast.Module, models: set[str], relations: set[str]) -> Iterator[str]:
    """Every expression that reads rows of a restricted model without asking who reads."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            above = parents.get(node)
            following = above.attr if isinstance(above, ast.Attribute) else ""
            is_manager = node.attr in MANAGERS and isinstance(node.value, ast.Name) and node.value.id in models
            is_related = node.attr in relations and following in ROWS | {"restrict"}
            if isinstance(node.value, ast.Name) and (node.value.id, node.attr) in companions():
                yield ast.unparse(node)
            if (is_manager or is_related) and following != "restrict":
                yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            yield from _by_name(node, models, relations)


def _by_name(call: ast.Call, models: set[str], relations: set[str]) -> Iterator[str]:
    """A model handed to a function that reads its rows, and relations named in a text."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    first = call.args[0] if call.args else None
    if name in PICKERS and isinstance(first, ast.Name) and first.id in models:
        yield ast.unparse(call)
    if name not in BY_NAME or (name == "Prefetch" and len(call.args) + len(call.keywords) > 1):
        return
    for argument in call.args:
        if isinstance(argument, ast.Constant) and relations & set(str(argument.value).split("__")):
            yield ast.unparse(call)


def files() -> list[Path]:
    inside = [path for package in ("console", "api") for path in (HOME / package).rglob("*.py")]
    return sorted([*inside, *HOME.glob("*/selectors.py")])


def found() -> set[tuple[str, str]]:
    models, relations = set(restricted()), accessors()
    return {
        (str(path.relative_to(HOME)), finding)
        for path in files()
        for finding in findings(ast.parse(path.read_text()), models, relations)
    }


def test_every_kind_of_object_is_restricted() -> None:
    assert {"Host", "Guest", "Disk", "Nic", "Placement", "Datastore", "DatastoreMount"} <= set(restricted())
    assert {"HostDetails", "GuestDetails"} <= set(restricted())
    assert {("host", "details"), ("guest", "details")} <= companions()
    assert {"hosts", "guests", "disks", "nics", "placements", "mounts", "switches", "datastores"} <= accessors()


def test_nothing_is_read_without_asking_who_reads() -> None:
    assert found() - set(ALLOWED) == set()


def test_no_exception_outlives_its_reason() -> None:
    assert set(ALLOWED) - found() == set()


def test_templates_follow_no_relation_by_themselves() -> None:
    rows = rf"\.({'|'.join(sorted(accessors()))})\.(all|count|first|last|exists)\b"
    follows = re.compile("|".join([rows, *(rf"\b{owner}\.{name}\b" for owner, name in sorted(companions()))]))
    wrong = [
        f"{path.relative_to(HOME)}: {hit.group()}"
        for path in sorted((HOME / "templates").rglob("*.html"))
        for hit in follows.finditer(path.read_text())
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "code",
    [
        "Guest.objects.filter(host=host)",
        "Guest.objects.all().restrict(user, Action.VIEW)",
        "rows = Guest.objects",
        "Guest._default_manager.count()",
        "host.guests.count()",
        "facts = host.details.facts",
        "show(guest.details)",
        "list(guest.disks.select_related('datastore'))",
        "get_object_or_404(Guest, pk=pk)",
        "stores.prefetch_related('mounts__host__source')",
        "stores.prefetch_related(Prefetch('mounts'))",
        "centers.annotate(number=Count('guests', distinct=True))",
    ],
)
def test_the_rule_sees(code: str) -> None:
    assert list(findings(ast.parse(code), set(restricted()), accessors()))


@pytest.mark.parametrize(
    "code",
    [
        "Guest.objects.restrict(user, Action.VIEW).filter(host=host)",
        "host.guests.restrict(user, Action.VIEW).count()",
        "get_object_or_404(Guest.objects.restrict(user, Action.POWER), pk=pk)",
        "stores.prefetch_related(Prefetch('mounts', mounts))",
        "guests.annotate(number=Count('pk'))",
        "GuestLoad.objects.in_bulk(ids)",
        "disk.details.get('serial')",
    ],
)
def test_the_rule_lets_pass(code: str) -> None:
    assert not list(findings(ast.parse(code), set(restricted()), accessors()))
