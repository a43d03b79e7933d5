"""What the docs name exists: each key of the configuration, each command and its options, each file of the repository."""

import argparse
import ast
import importlib
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from batch.contract_suite.jobs import job_spec
from batch.hooks.contract import HookChanges, changed
from gateway.cli import parser as build_parser
from state.config.tables import Config
from state.plugins import authenticators, hooks, launchers
from state.settings.shapes import read_struct

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
FOREIGN = {"moon", "badge", "badge_token"}
"""Kinds of the packages that docs/plug-ins.md makes up."""


def blocks(page, *languages):
    for found in BLOCK.finditer(page.read_text()):
        if found[2] in languages:
            yield re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE)


def faults(text):
    """Return the keys of a part of a configuration that do not exist."""
    found = []

    def say(key, message):
        if "no such" in message or "is now called" in message:
            found.append(f"{key}: {message}")

    raw = tomllib.loads(text)
    if not re.search(r"^\s*\[", text, re.MULTILINE):  # some keys of a table, which the prose names
        known = set().union(*keys_of(Config).values())
        return sorted(raw.keys() - known)
    for table in ("cluster", "hook"):
        if isinstance(raw.get(table), dict):
            raw[table] = [raw[table]]
    auth = raw.get("auth", {})
    if isinstance(auth.get("provider"), dict):
        auth["provider"] = [auth["provider"]]
    for one in [*raw.get("cluster", []), *raw.get("hook", []), *auth.get("provider", [])]:
        for kind in FOREIGN & {one.get("kind"), *one}:
            one.pop(kind, None)
        known = {*launchers.kind_names(), *authenticators.kind_names(), *hooks.kind_names()}
        one.setdefault("kind", next((key for key in one if key in known), ""))
    read_struct(Config, raw, "", frozenset(), say)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_key_in_the_toml_of_the_docs_exists(page):
    for text in blocks(page, "toml"):
        if "[project" in text or "[tool." in text:  # a package's, not the hub's
            continue
        assert not faults(text), text


def keys_of(table):
    """Return the keys of a table and of those in it, by the table's name in TOML."""
    found = {}

    def walk(struct, name):
        fields = msgspec.structs.fields(struct)
        found.setdefault(name, set()).update(field.encode_name for field in fields)
        for field in fields:
            for inner in re.findall(r"(\w+Config)\b", str(field.type)):
                for other in STRUCTS:
                    if other.__name__ == inner:
                        walk(other, f"{name}.{field.encode_name}" if name else field.encode_name)

    walk(table, "")
    for group, name in ((launchers, "cluster"), (authenticators, "auth.provider"), (hooks, "hook")):
        for kind in group.kind_names():
            walk(group.find_kind(kind).options, f"{name}.{kind}")
    return found


STRUCTS = [one for one in vars(__import__("state.config.tables", fromlist=["x"])).values() if isinstance(one, type)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_table_and_key_in_the_prose_of_the_docs_exists(page):
    keys = keys_of(Config)
    prose = BLOCK.sub("", page.read_text())
    for text in re.findall(r"`([^`\n]+)`", prose):
        named = re.fullmatch(r"\[\[?([a-z_.]+)\]\]?(?: ([a-z_]+)(?: = .*)?)?", text)
        if named is None or set(named[1].split(".")) & FOREIGN or named[1].startswith(("project", "tool")):
            continue
        table, _, last = named[1].rpartition(".")
        assert named[1] in keys or last in keys[table], text
        assert named[2] is None or named[2] in keys[named[1]], text


def options_of(parser, words):
    """Return the parser of a command and its words that are left."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            if words and words[0] in action.choices:
                return options_of(action.choices[words[0]], words[1:])
            return None if words and re.fullmatch(r"[a-z][a-z-]*", words[0]) else (parser, words)
    return parser, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_in_the_docs_exists_with_its_options(page):
    text = page.read_text()
    commands = re.findall(r"`(towpath [^`\n]+)`", text)
    commands += [line for block in blocks(page, "sh", "bash", "console", "") for line in block.splitlines()]
    for line in commands:
        found = re.search(r"(?:^|[$#] |sudo (?:-u \w+ )?)(?:\S*/)?towpath ([a-z].*)$", line.strip())
        if found is None:
            continue
        words = re.split(r"\s+", re.split(r"[|&;>#]| \.\.\.", found[1])[0].strip())
        reached = options_of(build_parser(), words)
        assert reached is not None, line
        parser, left = reached
        known = {flag for action in parser._actions for flag in action.option_strings}
        for word in left:
            flag = word.strip("[]").partition("=")[0]
            assert not flag.startswith("--") or flag in known, line


def test_each_command_is_in_the_table_of_commands():
    table = (ROOT / "docs/running.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    commands = next(one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction)).choices
    assert not [name for name in commands if f"`towpath {name}" not in table]


INLINE = {
    ("auth", "auth_state_key"),
    ("auth.provider.header", "secret"),
    ("auth.provider.ldap", "bind_password"),
    ("auth.provider.oidc", "client_secret"),
}
"""Secrets that should be in a file: only the key for the file is shown."""


def test_init_writes_each_key_with_an_explanation():
    text = (ROOT / "gateway/commands/towpath.toml").read_text()
    missing = [
        (table, key)
        for table, keys in keys_of(Config).items()
        for key in sorted(keys - {"options"})
        if (table, key) not in INLINE
        and not re.search(rf"^[# ]*(\[+[a-z_.]*\b{key}\b|{key}( =|  ))", text, re.MULTILINE)
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_file_of_the_repository_that_the_docs_name_exists(page):
    for name in re.findall(
        r"`((?:batch|gateway|portal|state|tests|deploy|docs)/[A-Za-z0-9_./{},-]+)`", page.read_text()
    ):
        before, _, rest = name.partition("{")
        several, _, after = rest.partition("}")
        for one in several.split(","):
            path = f"{before}{one}{after}"
            assert (ROOT / path).exists() or (ROOT / "tests" / path).exists(), path
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_import_of_towpath_in_the_docs_exists(page):
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in {"batch", "gateway", "state"}:
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module}.{name.name}"


def test_the_answers_of_hooks_in_the_docs_are_what_the_hub_reads():
    page = ROOT / "docs/plug-ins.md"
    answers = [*blocks(page, "json"), *re.findall(r"echo '(\{.*\})'", page.read_text())]
    spec = job_spec("a" * 32)
    for text in answers:
        answer = msgspec.json.decode(text, type=HookChanges)
        changed(spec, answer.job)
    assert len(answers) >= 2
