"""Package servers that pip was told of are passed on to uv."""

import importlib.util
from types import ModuleType

import pytest

from config.data import HOME


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pip_settings", HOME / "scripts" / "pip_settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_plain_machine_gives_nothing(script):
    assert script.uv_environment(script.pip_settings("")) == {}


def test_the_environment_wins_over_the_files(script):
    listing = ":env:.index-url='https://b.example/simple'\nglobal.index-url='https://a.example/simple'\n"
    assert script.uv_environment(script.pip_settings(listing)) == {"UV_DEFAULT_INDEX": "https://b.example/simple"}


def test_several_indexes_are_searched_alike(script):
    listing = "global.extra-index-url='\\nhttps://a.example\\nhttps://b.example'\n"
    assert script.uv_environment(script.pip_settings(listing)) == {
        "UV_INDEX": "https://a.example https://b.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_certificates_folders_and_options_without_meaning_for_uv(script):
    listing = (
        "global.cert='/ca.crt'\nglobal.find-links='/a /b'\nglobal.disable-pip-version-check='1'\nhash.algorithm='x'\n"
    )
    assert script.uv_environment(script.pip_settings(listing)) == {
        "SSL_CERT_FILE": "/ca.crt",
        "UV_FIND_LINKS": "/a,/b",
    }
