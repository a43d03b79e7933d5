"""The plug-in door, from the inside: kinds by entry point, their tables checked with the rest, and what is told of a broken one."""

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint, distribution, entry_points
from types import ModuleType, SimpleNamespace

import pytest
from msgspec import Struct

from state.errors import ConfigError
from state.plugins import authenticators
from state.plugins import entry_points as door
from state.plugins.authenticators import AuthenticatorKind, hidden_headers
from state.plugins.launchers import LauncherKind, find_kind, kind_names, needs_certificates
from state.settings.loader import load


class MoonOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    crater: str
    depth: int = 3


def check(options, at, say):
    if options.depth > 10:
        say(f"{at}.depth", "too deep.")


def check_profile(profile, at, say):
    for name in profile.resources.extra:
        say(f"{at}.resources.extra.{name}", "not on the moon.")


MOON = LauncherKind(
    name="moon",
    open="nowhere:open_moon",
    endpoints=frozenset({"tls"}),
    options=MoonOptions,
    check=check,
    check_profile=check_profile,
    option_kinds=frozenset({"cores"}),
)


@pytest.fixture
def bring(monkeypatch):
    """Have packages bring plug-ins: `bring("package", "name", value)`."""
    brought = []

    def scan(**wanted):
        found = [entry for entry in brought if all(getattr(entry, key) == value for key, value in wanted.items())]
        return [*entry_points(**wanted), *found]

    monkeypatch.setattr(door, "entry_points", scan)
    door.load.cache_clear()

    def bringer(package, name, value, *, group="towpath.launchers"):
        module = ModuleType(f"brought_by_{package}_{name}")
        if callable(value) and not isinstance(value, LauncherKind):
            monkeypatch.setitem(sys.modules, module.__name__, None)  # an ImportError
        else:
            module.IT = value
            monkeypatch.setitem(sys.modules, module.__name__, module)
        entry = EntryPoint(name=name, value=f"{module.__name__}:IT", group=group)
        vars(entry).update(dist=SimpleNamespace(name=package))
        brought.append(entry)

    yield bringer
    door.load.cache_clear()


def loaded(folder, text):
    (folder / "towpath.toml").write_text(text)
    return load(folder / "towpath.toml", folder / "data", environment={}).config


def faults(folder, text):
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return {fault.key: fault.message for fault in caught.value.faults}


CLUSTER = "[gateway]\ninternal_url = 'https://x'\n[[cluster]]\nname = 'c'\nkind = 'moon'\n"
PROFILE = "[[profile]]\nname = 'p'\ncluster = 'c'\n"


def test_the_built_in_kinds_come_by_the_same_door_and_need_no_scan(monkeypatch):
    def scan(**_):
        raise AssertionError("every package was looked at")

    monkeypatch.setattr(door, "entry_points", scan)
    door.load.cache_clear()
    for name in ("local", "slurm"):
        assert find_kind(name).name == name
    door.load.cache_clear()


def test_a_kind_of_another_package_has_its_own_table(folder_of, bring):
    bring("moonshot", "moon", MOON)
    assert "moon" in kind_names()
    config = folder_of(CLUSTER + "[cluster.moon]\ncrater = 'Tycho'\n" + PROFILE)
    assert config.cluster[0].options == MoonOptions(crater="Tycho")
    assert needs_certificates(config)


@pytest.fixture
def folder_of(tmp_path):
    return lambda text: loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[cluster.moon]\ncrater = 'x'\ndeptj = 4\n", "cluster[1].moon.deptj", "Did you mean depth?"),
        ("[cluster.moon]\ncrater = 4\n", "cluster[1].moon.crater", "text"),
        ("[cluster.moon]\n", "cluster[1].moon.crater", "missing"),
        ("", "cluster[1].moon.crater", "missing"),
        ("[cluster.moon]\ncrater = 'x'\ndepth = 11\n", "cluster[1].moon.depth", "too deep"),
        (
            "[cluster.slurm]\n[cluster.moon]\ncrater = 'x'\n",
            "cluster[1].slurm",
            "a cluster of kind moon has no such table",
        ),
        ("options = 3\n[cluster.moon]\ncrater = 'x'\n", "cluster[1].options", "no such key"),
        ("isolation = 'none'\n[cluster.moon]\ncrater = 'x'\n", "cluster[1].isolation", "runs each server as its user"),
    ],
)
def test_its_table_is_checked_with_the_rest_of_the_configuration(tmp_path, bring, text, key, words):
    bring("moonshot", "moon", MOON)
    found = faults(tmp_path, CLUSTER + text + PROFILE)
    assert words in found[key], found


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[profile.option.p]\nkind = 'partition'\n", "profile[1].option", "cannot request partition"),
        ("[profile.resources]\nqos = 'x'\n", "profile[1].resources", "cannot request qos"),
        ("[profile.resources.extra]\nair = 'much'\n", "profile[1].resources.extra.air", "not on the moon"),
        ("[profile.resources.sbatch]\nair = 'much'\n", "profile[1].resources.sbatch", "now called extra"),
    ],
)
def test_a_profile_asks_it_for_what_it_understands(tmp_path, bring, text, key, words):
    bring("moonshot", "moon", MOON)
    found = faults(tmp_path, CLUSTER + "[cluster.moon]\ncrater = 'x'\n" + PROFILE + text)
    assert words in found[key], found
    loaded(tmp_path, CLUSTER + "[cluster.moon]\ncrater = 'x'\n" + PROFILE + "[profile.option.c]\nkind = 'cores'\n")


def test_a_broken_plug_in_is_a_fault_in_words(tmp_path, bring):
    bring("moonshot", "moon", lambda: None)
    found = faults(tmp_path, CLUSTER + PROFILE)
    assert "The plug-in 'moon' (of moonshot) cannot be loaded" in found["cluster[1].kind"]


def test_a_plug_in_that_is_something_else_is_a_fault_in_words(tmp_path, bring):
    bring("moonshot", "moon", {"not": "a kind"})
    assert "is not a LauncherKind" in faults(tmp_path, CLUSTER + PROFILE)["cluster[1].kind"]


def test_two_packages_that_bring_one_name_are_named(tmp_path, bring):
    bring("moonshot", "moon", MOON)
    bring("apollo", "moon", MOON)
    assert "Several packages bring a plug-in 'moon': apollo, moonshot." in faults(tmp_path, CLUSTER)["cluster[1].kind"]


BADGE = AuthenticatorKind(
    name="badge",
    open="nowhere:Badge",
    options=MoonOptions,
    check=check,
    hidden_headers=lambda options: frozenset({f"X-{options.crater}"}),
)
SIGN_IN = """
[auth]
[[auth.provider]]
name = "b"
kind = "badge"
allow_all = true
"""
LOCAL = "[[cluster]]\nname = 'c'\nkind = 'local'\nisolation = 'none'\n" + PROFILE


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[auth.provider.badge]\ncrater = 'x'\ndeptj = 4\n", "auth.provider[1].badge.deptj", "Did you mean depth?"),
        ("", "auth.provider[1].badge.crater", "missing"),
        ("[auth.provider.badge]\ncrater = 'x'\ndepth = 11\n", "auth.provider[1].badge.depth", "too deep"),
        ("[auth.provider.pam]\n[auth.provider.badge]\ncrater = 'x'\n", "auth.provider[1].pam", "has no such table"),
    ],
)
def test_a_way_to_sign_in_of_another_package_has_its_own_table(tmp_path, bring, text, key, words):
    bring("badges", "badge", BADGE, group="towpath.authenticators")
    found = faults(tmp_path, SIGN_IN + text + LOCAL)
    assert words in found[key], found


def test_the_ways_to_sign_in_that_come_with_towpath_come_by_the_same_door():
    own = {entry.name: entry for entry in distribution("towpath").entry_points.select(group="towpath.authenticators")}
    assert set(own) == {"header", "ldap", "oidc", "pam", "test"}
    for name, entry in own.items():
        kind = authenticators.find_kind(name)
        assert kind is entry.load()
        assert kind.name == name
        kind.options()  # each key has a default


@pytest.mark.parametrize(
    "way", [{}, {"open": "x:y", "proof": "x:y"}, {"open": "x:y", "form": "letter"}, {"open": "x:y", "form": "names"}]
)
def test_a_way_to_sign_in_that_cannot_be_opened_is_a_fault_in_words(tmp_path, bring, way):
    bring("badges", "badge", AuthenticatorKind(name="badge", **way), group="towpath.authenticators")
    found = faults(tmp_path, SIGN_IN + LOCAL)
    assert "is not an AuthenticatorKind" in found["auth.provider[1].kind"]


def test_a_kind_checks_other_tables_and_secret_files_too(tmp_path, bring):
    class Secret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        secret: str = ""
        secret_file: str = ""

    kind = AuthenticatorKind(
        name="badge",
        open="nowhere:Badge",
        options=Secret,
        needs_table=True,
        check_config=lambda config, provider, at, say: say(f"{at}.kind", f"{config.gateway.port} {provider.name}"),
        secret_fault=lambda key, secret, options: f"{key} is {secret}.",
        groups_fault=lambda options: ("secret", "no groups."),
    )
    bring("badges", "badge", kind, group="towpath.authenticators")
    assert "needs a table [auth.provider.badge]" in faults(tmp_path, SIGN_IN + LOCAL)["auth.provider[1].badge"]
    (tmp_path / "word").write_text("weak")
    (tmp_path / "word").chmod(0o600)
    table = '[auth.provider.badge]\nsecret_file = "word"\n'
    found = faults(tmp_path, SIGN_IN.replace("allow_all = true", 'allowed_groups = ["a"]') + table + LOCAL)
    assert found["auth.provider[1].kind"] == "8000 b"
    assert found["auth.provider[1].badge.secret"] == "no groups."
    kind = replace(kind, check_config=lambda *_: None, groups_fault=lambda _: None)
    bring("badges", "badge", kind, group="towpath.authenticators")
    door.load.cache_clear()
    assert faults(tmp_path, SIGN_IN + table + LOCAL) == {"auth.provider[1].badge.secret_file": "secret is weak."}


def test_a_way_to_sign_in_without_passwords_is_for_this_machine_alone(tmp_path, bring):
    kind = AuthenticatorKind(name="badge", open="nowhere:Badge", passwordless=True)
    bring("badges", "badge", kind, group="towpath.authenticators")
    assert authenticators.without_password(loaded(tmp_path, SIGN_IN + LOCAL))
    found = faults(tmp_path, '[gateway]\nhost = "0.0.0.0"\n' + SIGN_IN + LOCAL)
    assert "works on this machine only" in found["auth.provider[1].kind"]


def test_the_headers_that_prove_users_are_hidden_from_apps(tmp_path, bring):
    bring("badges", "badge", BADGE, group="towpath.authenticators")
    config = loaded(tmp_path, SIGN_IN + "[auth.provider.badge]\ncrater = 'Gate'\n" + LOCAL)
    assert hidden_headers(config.auth.provider) == {b"x-gate"}


def test_an_unknown_way_to_sign_in_is_one_fault_that_lists_those_there_are(tmp_path, bring):
    bring("badges", "badge", BADGE, group="towpath.authenticators")
    found = faults(tmp_path, SIGN_IN.replace("'badge'", "").replace('"badge"', '"bagde"') + LOCAL)
    assert "Use one of: badge, header, ldap, oidc, pam, test" in found["auth.provider[1].kind"]


def test_plug_ins_cannot_take_the_name_of_a_built_in_kind(tmp_path, bring):
    bring("evil", "slurm", MOON)
    assert find_kind("slurm").open.startswith("batch.launchers.slurm.")


def test_an_unknown_kind_is_one_fault_that_lists_those_there_are(tmp_path, bring):
    bring("moonshot", "moon", MOON)
    text = "[[cluster]]\nname = 'c'\nkind = 'mars'\n[cluster.mars]\nx = 1\n" + PROFILE
    found = faults(tmp_path, text)
    assert set(found) == {"cluster[1].kind"}
    assert "Use one of: local, moon, slurm, ssh" in found["cluster[1].kind"]
