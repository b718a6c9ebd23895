"""Every sentence that people read can be collected and translated."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from console.tables.audit import ACTS
from drivers.errors import ERRORS
from tests.unit.test_architecture import HOME, trees

SENTENCE = re.compile(r"[A-Z%].* .*[.?]", re.DOTALL)
ERROR_NAMES = {kind.__name__ for kind in ERRORS.values()}
# By name: which of their arguments are sentences.
SPEAKERS = {**dict.fromkeys(ERROR_NAMES, slice(0, 1)), "Finding": slice(2, 4), "_finding": slice(1, 3)}
PLACEHOLDER = re.compile(r"%\((\w+)\)")


def name_of(call: Any) -> str:
    return getattr(call.func, "id", "") if isinstance(call, ast.Call) else ""


# What `makemessages` looks for; a function imported under another name marks nothing.
MARKS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext"}


def is_marked(node: Any) -> bool:
    """`_("…")`: what the collector of translations sees."""
    return name_of(node) in MARKS and isinstance(node.args[0], ast.Constant)


def is_log(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(getattr(node.func, "value", None), "id", "") == "log"


def text_of(node: ast.AST) -> str:
    """A literal's or an f-string's text, as far as it is fixed."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "%" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def unmarked(tree: ast.AST) -> Iterator[Any]:
    """Sentences outside `_()`, docstrings and the log."""
    apart: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) or is_marked(node) or is_log(node) or isinstance(node, ast.JoinedStr):
            apart |= {id(child) for child in ast.iter_child_nodes(node)}
        if id(node) not in apart and SENTENCE.fullmatch(text_of(node)):
            yield node


def made_up(tree: ast.AST) -> Iterator[Any]:
    """Errors and findings whose text is put together on the spot, or a literal that is not marked."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node) in SPEAKERS:
            texts = node.args[SPEAKERS[name_of(node)]]
            yield from (text for text in texts if isinstance(text, ast.JoinedStr | ast.BinOp) or text_of(text))
            yield from (text for text in texts if isinstance(text, ast.Call) and not is_marked(text))


def mismatched(tree: ast.AST) -> Iterator[Any]:
    """Errors whose template names other parameters than they are given."""
    for node in ast.walk(tree):
        if name_of(node) in ERROR_NAMES and isinstance(node, ast.Call) and is_marked(node.args[0]):
            marked: Any = node.args[0]
            wanted = set(PLACEHOLDER.findall(text_of(marked.args[0])))
            if wanted != {str(keyword.arg) for keyword in node.keywords}:
                yield node


def shown_raw(tree: ast.AST) -> Iterator[Any]:
    """Above the drivers: the English text of their errors, taken for something else than the log."""
    for handler in ast.walk(tree):
        if isinstance(handler, ast.ExceptHandler) and handler.type and ERROR_NAMES & names_in(handler.type):
            logged = {id(inner) for node in ast.walk(handler) if is_log(node) for inner in ast.walk(node)}
            for node in ast.walk(handler):
                plain = ast.unparse(node) in {f"{handler.name}.message", f"str({handler.name})"}
                if plain and id(node) not in logged:
                    yield node


def names_in(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


BAD = {
    unmarked: ('X = "It is so."', 'X = f"It is {so}."', 'raise Rejected("It is so.")', 'X = {1: ("a", "It is so.")}'),
    made_up: (
        'Rejected(f"{x} is")',
        'Rejected("a " + b)',
        'Rejected("a %s" % b)',
        'Finding("c", E, "no")',
        "Busy(f())",
    ),
    mismatched: ('Rejected(_("%(a)s is."))', 'Rejected(_("It is."), a=1)', 'Rejected(_("%(a)s is."), b=1)'),
    shown_raw: ("try: f()\nexcept (Odd, Busy) as e: say(str(e))", "try: f()\nexcept Busy as e: say(e.message)"),
}


@pytest.mark.parametrize(("rule", "code"), [(rule, code) for rule, codes in BAD.items() for code in codes])
def test_each_rule_finds_what_breaks_it(rule, code):
    assert list(rule(ast.parse(code)))


def test_no_mark_has_a_name_that_is_not_looked_for():
    renamed = [
        f"{path.relative_to(HOME)}:{node.lineno}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
        for name in node.names
        if name.asname not in (None, "_")
    ]
    assert renamed == []


def for_developers(tree: ast.AST) -> set[int]:
    """The lines of what no page shows: a command's --help, and a TypeError that tells of a mistake in our code."""
    parts = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "help")
        or (isinstance(node, ast.Raise) and name_of(node.exc) == "TypeError")
        or (isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "Error")  # a system check
    ]
    return {line for node in parts for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def test_what_pages_api_and_commands_say_can_be_translated():
    """What starts and stops the console speaks English: config/ runs before Django does, and the lab beside it."""
    apart = [HOME / name for name in ("config", "drivers", "lab")]
    ours = [(path, tree) for path, tree in trees() if not any(path.is_relative_to(folder) for folder in apart)]
    ours += [(path, tree) for path, tree in trees() if path.is_relative_to(HOME / "config" / "management")]
    assert len(ours) > 100
    found = [
        f"{path.relative_to(HOME)}:{node.lineno}"
        for path, tree in ours
        for node in unmarked(tree)
        if node.lineno not in for_developers(tree)
    ]
    assert found == []


@pytest.mark.parametrize("rule", [unmarked, made_up, mismatched])
def test_what_drivers_say_can_be_translated(rule):
    ours = [(path, tree) for path, tree in trees() if path.is_relative_to(HOME / "drivers")]
    assert len(ours) > 20
    assert [f"{path.name}:{node.lineno}" for path, tree in ours for node in rule(tree)] == []


def test_what_drivers_say_is_translated_before_it_is_kept():
    above = [(path, tree) for path, tree in trees() if not path.is_relative_to(HOME / "drivers")]
    assert [f"{path.name}:{node.lineno}" for path, tree in above for node in shown_raw(tree)] == []


# Names of things, the same in every language.
NAMES = {"API", "BIOS", "Guesthouse", "IOMMU", "MAC", "MHz", "MTU", "TPM", "UTC", "VLAN", "WWNN", "WWPN", "libvirt"}
NAMES |= {"UEFI", "IOV", "SR"}  # SR-IOV
UNREAD = re.compile(
    r"{% block main_class %}.*?endblock|{% blocktranslate.*?endblocktranslate %}|<(script|style|code|kbd)\b.*?</\1>"
    r"|{#.*?#}|{%.*?%}|{{.*?}}|&\w+;",
    re.DOTALL,
)
SPOKEN = re.compile(r"\b(?:title|aria-label|placeholder|alt)=\"([^\"]*)\"")


def plain_words(template: str) -> set[str]:
    """Words between the tags, and in the attributes people read, that no translation reaches."""
    text = UNREAD.sub(" ", template)
    read = [re.sub(r"<[^>]*>", " ", text), *SPOKEN.findall(text)]
    return {word for part in read for word in re.findall(r"[^\W\d_]{2,}", part)} - NAMES


@pytest.mark.parametrize("code", ["<p>Plain</p>", '<p title="Plain">', "{% if x %}Plain{% endif %}"])
def test_plain_words_are_found(code):
    assert plain_words(code) == {"Plain"}


@pytest.mark.parametrize("path", sorted((HOME / "templates").rglob("*.html")), ids=lambda path: path.name)
def test_no_page_has_plain_words(path: Path):
    assert plain_words(path.read_text()) == set()


def test_every_act_has_words():
    """What is written into the audit log by name; tasks are named by their kind and state."""
    kinds = "user|token|source|source_draft|source_import|source_credentials|host|list|load|installation"
    named = re.compile(rf"({kinds}|datacenter|cluster|folder|tag|upload)\.[a-z_]+")
    written = {
        node.value
        for path, tree in trees()
        if path.name != "audit.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and named.fullmatch(node.value)
    }
    assert written == set(ACTS)
