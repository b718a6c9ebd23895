"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models import Model

HOME = Path(__file__).resolve().parents[2]
LAYERS = (
    {"console", "api"},
    {"migrations"},
    {"labels"},
    {"inventory"},
    {"storage", "networks"},
    {"hosts"},
    {"operations"},
    {"metrics"},
    {"search"},
    {"access"},
    {"audit"},
    {"core"},
)
PRODUCT = ["config", "drivers", "lab", *sorted(set().union(*LAYERS))]
CONFIG = tomllib.loads((HOME / "pyproject.toml").read_text())


def height(package: str) -> int:
    return next(len(LAYERS) - number for number, layer in enumerate(LAYERS) if package in layer)


def sources() -> Iterator[Path]:
    for package in PRODUCT:
        yield from (path for path in sorted((HOME / package).rglob("*.py")) if "schema" not in path.parts)


@cache
def trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(), str(path))) for path in sources()]


class TestModels:
    def models(self) -> list[type[Model]]:
        return [model for label in settings.LOCAL_APPS for model in apps.get_app_config(label).get_models()]

    def test_foreign_keys_point_down(self):
        wrong = [
            f"{model.__name__}.{field.name}"
            for model in self.models()
            for field in model._meta.get_fields()
            if field.is_relation and not field.auto_created and field.related_model is not None
            if field.related_model._meta.label.split(".")[0] in settings.LOCAL_APPS
            if height(package_of(field.related_model)) > height(package_of(model))
        ]
        assert wrong == []

    def test_what_is_named_by_kind_and_id_has_no_foreign_key(self):
        below = [model for model in self.models() if package_of(model) in {"operations", "metrics", "search", "audit"}]
        foreign = [
            f"{model.__name__}.{field.name}"
            for model in below
            for field in model._meta.get_fields()
            if field.is_relation and not field.auto_created and package_of(field.related_model) != package_of(model)
        ]
        assert below
        assert foreign == []

    def test_schema_changes_live_in_schema(self):
        assert set(settings.LOCAL_APPS) == {
            config.label for config in apps.get_app_configs() if list(config.get_models()) and is_ours(config)
        }
        for label, package in settings.LOCAL_APPS.items():
            assert settings.MIGRATION_MODULES[label] == f"{package}.schema"
            assert (HOME / package / "schema" / "__init__.py").exists()
            assert list((HOME / package / "schema").glob("0001_*.py")), package
        assert not list((HOME / "migrations").glob("0*.py"))
        assert not [path for path in HOME.glob("*/migrations") if is_product(path)]


def package_of(model: Any) -> str:
    return str(model.__module__).split(".")[0]


def is_ours(config: AppConfig) -> bool:
    return Path(config.path).parent == HOME


def is_product(path: Path) -> bool:
    return path.parent.name in PRODUCT


class TestTasks:
    def registered(self) -> set[str]:
        from config.celery import app

        loader: Any = app.loader
        loader.import_default_modules()
        return set(app.tasks)

    def enqueued(self) -> set[str]:
        """The first argument of each call of `enqueue`: a text, or a constant of some module."""
        found: set[str] = set()
        parsed = [tree for _path, tree in trees()]
        constants: dict[str, set[str]] = {}
        for tree in parsed:
            for name, value in text_constants(tree):
                constants.setdefault(name, set()).add(value)
        for tree in parsed:
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "enqueue":
                    first: Any = node.args[0]
                    found |= {str(first.value)} if isinstance(first, ast.Constant) else constants[first.id]
        return found

    def test_every_name_sent_is_registered(self):
        from config.celery_settings import beat_schedule

        names = self.enqueued() | {str(entry["task"]) for entry in beat_schedule.values()}
        assert len(names) >= 3
        assert names - self.registered() == set()

    def test_every_task_of_ours_is_named_app_verb(self):
        ours = {name for name in self.registered() if not name.startswith("celery.")}
        assert ours
        assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", name) for name in ours)
        assert {name.split(".")[0] for name in ours} <= set(PRODUCT)

    def test_services_do_not_import_tasks(self):
        wrong = [
            str(path)
            for path, tree in trees()
            if path.name in {"services.py", "selectors.py", "models.py"}
            for module in imported(tree)
            if module.endswith(".tasks")
        ]
        assert wrong == []


def text_constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((target.id, node.value.value) for target in node.targets if isinstance(target, ast.Name))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class TestDecoding:
    # Two threads that are the first to decode into a shape end the process, where core/decoding.py does not do it.
    def test_one_module_decodes_into_shapes(self):
        wrong = [
            f"{path.relative_to(HOME)}: {ast.unparse(node)}"
            for path, tree in trees()
            if path != HOME / "core" / "decoding.py"
            for node in ast.walk(tree)
            if self.is_decoding(node)
        ]
        assert wrong == []

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("msgspec.json.decode(data, type=Shape)", True),
            ("msgspec.msgpack.decode(data, type=Shape)", True),
            ("msgspec.json.Decoder(Shape).decode", True),
            ("msgspec.convert(value, Shape)", True),
            ("from msgspec import convert", True),
            ("from msgspec.json import decode", True),
            ("msgspec.json.decode(data)", False),
            ("from core.decoding import convert, decode_json", False),
        ],
    )
    def test_the_rule_finds_it(self, code: str, found: bool):
        assert any(map(self.is_decoding, ast.walk(ast.parse(code)))) is found

    def is_decoding(self, node: ast.AST) -> bool:
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            return (node.module or "").split(".")[0] == "msgspec" and bool(names & {"convert", "decode", "Decoder"})
        if isinstance(node, ast.Attribute) and node.attr in {"convert", "Decoder"}:
            return ast.unparse(node).startswith("msgspec.")
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("msgspec."):
            return ast.unparse(node.func).endswith(".decode") and bool(len(node.args) > 1 or node.keywords)
        return False


class TestNoPickle:
    # Each of these can run code found in data.
    FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle", "joblib"}

    def test_nothing_imports_it(self):
        wrong = [
            f"{path.relative_to(HOME)}: {module}"
            for path, tree in trees()
            for module in imported(tree)
            if module.split(".")[0] in self.FORBIDDEN or module.startswith("django.core.cache")
        ]
        assert wrong == []

    def test_messages_sessions_and_caches_hold_none(self):
        from config import celery_settings

        assert celery_settings.task_serializer == "json"
        assert celery_settings.accept_content == ["json"]
        assert "json" in settings.SESSION_SERIALIZER.lower()
        assert settings.SESSION_ENGINE == "django.contrib.sessions.backends.db"
        assert "Redis" not in str(settings.CACHES)

    def test_a_pickled_message_is_refused(self):
        import base64
        import pickle

        from kombu import serialization
        from kombu.exceptions import ContentDisallowed

        from config.celery import app

        body = base64.b64encode(pickle.dumps("x"))
        read: Any = serialization.loads
        with pytest.raises(ContentDisallowed):
            read(body, "application/x-python-serialize", "binary", accept=app.conf.accept_content)


class TestToolsSeeEverything:
    """Excludes such as `*/migrations/*` are everywhere in examples, and would drop our app of that name."""

    def files(self) -> set[str]:
        return {str(path.relative_to(HOME)) for path in sources()}

    def test_ruff(self):
        command = [sys.executable, "-m", "ruff", "check", "--show-files", "."]
        shown = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True).stdout.split()
        seen = {str(Path(line).relative_to(HOME)) if Path(line).is_absolute() else line for line in shown}
        assert "migrations/models.py" in seen
        assert self.files() - seen == set()

    def test_mypy(self):
        excludes = CONFIG["tool"]["mypy"]["exclude"]
        dropped = {file for file in self.files() for one in excludes if re.search(one, file)}
        assert dropped == set()
        skipped = [
            name
            for override in CONFIG["tool"]["mypy"].get("overrides", [])
            if override.get("ignore_errors") or override.get("follow_imports") == "skip"
            for name in override["module"]
        ]
        assert skipped == []

    def test_coverage(self):
        coverage = CONFIG["tool"].get("coverage", {})
        omitted = coverage.get("run", {}).get("omit", []) + coverage.get("report", {}).get("omit", [])
        assert not [pattern for pattern in omitted if "migrations" in pattern]
        assert not (HOME / ".coveragerc").exists()

    def test_import_linter(self):
        roots = set(CONFIG["tool"]["importlinter"]["root_packages"])
        assert set(PRODUCT) - roots == set()

    def test_nothing_is_git_ignored(self):
        if not (HOME / ".git").exists():
            pytest.skip("not a checkout")
        command = ["git", "check-ignore", *self.files()]
        assert subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False).stdout == ""


WEB_PROCESS = """
import sys
for name in ("libvirt", "libvirtmod", "pyVmomi", "pyVim"):
    sys.modules[name] = None  # an import of it fails
import config.asgi
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
call_command("migrate", verbosity=0)
from access.models import User
from access.roles import Role
client = Client(HTTP_HOST="localhost")
assert client.get("/healthz").status_code == 200
client.force_login(User.objects.create(username="x", role=Role.ADMIN))
for name in ("home", "host_list", "guest_list", "datastore_list", "switch_list", "source_list", "source_add",
             "task_list", "migration_list", "user_list", "audit_list", "api:hosts", "api:guests", "api:migrations"):
    answer = client.get(reverse(name))
    assert answer.status_code == 200, (name, answer.status_code)
loaded = [name for name in sys.modules if name.startswith(("drivers.libvirt", "drivers.fake"))]
assert not loaded, loaded
print("served")
"""


def test_the_web_process_needs_no_hypervisor_library(tmp_path):
    """Pages and API are served while every library that could open a hypervisor connection is missing."""
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    environment |= {
        "GUESTHOUSE_DATA": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONPATH": str(HOME),
        "GUESTHOUSE_DEBUG": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", WEB_PROCESS], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("served"), done.stderr[-2000:]


def test_passwords_are_hashed_slowly():
    """Tests use a quick hash (tests/conftest.py); the product does not."""
    from config import settings as product

    assert product.PASSWORD_HASHERS == ["django.contrib.auth.hashers.ScryptPasswordHasher"]
