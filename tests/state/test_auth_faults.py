"""A sign-in that is not safe, or that nobody could use, is a fault when the hub starts."""

import os

import pytest

from state.errors import ConfigError
from state.settings.loader import load

GOOD = """
[auth]
[[auth.provider]]
name = "campus"
kind = "oidc"
allowed_groups = ["physics"]
[auth.provider.oidc]
issuer = "https://sso.example.edu/realms/campus"
client_id = "hub"
client_secret = "Wq8-t3fTz0kX2m"
groups_claim = "groups"
"""
CLUSTER = """
[[cluster]]
name = "local"
kind = "local"
isolation = "none"
"""
SECOND = GOOD.split("[auth]", 1)[1].replace('"campus"', '"second"')


@pytest.fixture
def check(tmp_path):
    """The faults of a configuration: key → message; {} when there is none."""

    def checker(text):
        (tmp_path / "towpath.toml").write_text(text + CLUSTER)
        try:
            load(tmp_path / "towpath.toml", tmp_path / "data", environment={})
        except ConfigError as error:
            return {fault.key: fault.message for fault in error.faults}
        return {}

    return checker


def with_key(key, value, *, table="provider"):
    """GOOD with a key set to what is written."""
    lines = [line for line in GOOD.splitlines() if not line.startswith(f"{key} =")]
    at = lines.index("[auth.provider.oidc]") + (1 if table == "oidc" else 0)
    return "\n".join([*lines[:at], *([f"{key} = {value}"] if value else []), *lines[at:]])


def test_what_is_whole_has_no_fault(check):
    assert check(GOOD) == {}


@pytest.mark.parametrize(
    ("key", "value", "table", "words"),
    [
        ("allowed_groups", "", "provider", "nobody may enter"),
        ("allowed_groups", "[]", "provider", "nobody may enter"),
        ("whitelist", '["alice"]', "provider", "no such key"),
        ("allowed_userz", '["alice"]', "provider", "did you mean allowed_users"),
        ("allow_all", "true", "provider", "say nothing"),
        ("allowed_users", '["Alice"]', "provider", "write 'alice'"),
        ("allowed_users", '["root"]', "provider", "system account"),
        ("admins", '["a b"]', "provider", "cannot be a user"),
        ("allowed_groups", '[""]', "provider", "cannot be the name of a group"),
        ("prefix", '"A-"', "provider", "cannot begin a name"),
        ("prefix", '"-"', "provider", "cannot begin a name"),
        ("prefix", '"a b"', "provider", "cannot begin a name"),
        ("strip_domain", '"@example.edu"', "provider", "no domain"),
        ("names", '{ x = "root" }', "provider", "system account"),
        ("names", '{ x = "A" }', "provider", "write 'a'"),
        ("logo", '"logo.gif"', "provider", "none of"),
        ("logo", '"logo.svg"', "provider", "is no file"),
        ("names_file", '"names"', "provider", "cannot be read"),
        ("kind", '"saml"', "provider", "not a way to sign in"),
        ("issuer", "", "oidc", "missing"),
        ("issuer", '"http://sso.example.edu"', "oidc", "no https URL"),
        ("issuer", '"sso.example.edu"', "oidc", "no https URL"),
        ("issuer", '"https://user:pw@sso.example.edu"', "oidc", "no https URL"),
        ("client_id", "", "oidc", "missing"),
        ("client_secret", "", "oidc", "missing"),
        ("client_secret", '""', "oidc", "missing"),
        ("client_secret", '"changeme"', "oidc", "placeholder"),
        ("client_secret", '"Your-Client-Secret"', "oidc", "placeholder"),
        ("client_secret", '"hub"', "oidc", "placeholder"),
        ("client_secret", '"abc123"', "oidc", "guessed"),
        ("client_secret", '"aaaaaaaaaaaaaaaa"', "oidc", "guessed"),
        ("client_secret_file", '"secret"', "oidc", "keep one of the two"),
        ("client_auth", '"none"', "oidc", "basic or post"),
        ("preset", '"myspace"', "oidc", "no preset"),
        ("scopes", '["profile"]', "oidc", "openid is missing"),
        ("parameters", '{ redirect_uri = "https://evil.example" }', "oidc", "own business"),
        ("required_claims", "{ hd = [] }", "oidc", "nobody would have it"),
        ("allowed_claims", '{ hd = [""] }', "oidc", "nobody would have it"),
        ("groups_claim", "", "oidc", "no claim is named"),
        ("url", '"https://git.example.edu"', "oidc", "github and gitlab only"),
        ("proxy", '"proxy:3128"', "oidc", "no URL"),
        ("refresh", "-1", "oidc", ""),
        ("leeway", "4000", "oidc", ""),
        ("ca_file", '"ca.pem"', "oidc", "is no file"),
    ],
)
def test_a_fault_is_told_with_its_key(check, key, value, table, words):
    """An unknown key, an empty list and a default secret are start errors (oauthenticator GHSA-384w-5v3f-q499)."""
    found = check(with_key(key, value, table=table))
    assert any(words in message for message in found.values()), found


def test_cilogon_must_say_which_institutions_it_may_speak_for(check):
    """oauthenticator CVE-2022-31027 (GHSA-r7v4-jwx9-wx43): any of its institutions could vouch for any name."""
    text = with_key("preset", '"cilogon"', table="oidc").replace('issuer = "https://sso.example.edu/realms/campus"', "")
    assert "speaks for many institutions" in check(text)["auth.provider[1].oidc.required_claims"]
    assert check(f'{text}\nrequired_claims = {{ idp = ["https://idp.example.edu/shibboleth"] }}') == {}


def test_two_providers_that_could_prove_one_name_must_say_whose_it_is(check):
    assert "could each prove the same name" in check(GOOD + SECOND)["auth.provider"]
    same = 'kind = "oidc"\nsame_people = true'
    assert check(GOOD + SECOND.replace('kind = "oidc"', same))["auth.provider"]
    assert check((GOOD + SECOND).replace('kind = "oidc"', same)) == {}
    assert check(GOOD + SECOND.replace('kind = "oidc"', 'kind = "oidc"\nprefix = "b-"')) == {}


def test_only_one_provider_has_jupyterhubs_address(check):
    text = (GOOD + SECOND).replace('kind = "oidc"', 'kind = "oidc"\nsame_people = true')
    assert (
        "plain_callback"
        in check(text.replace('client_id = "hub"', 'client_id = "hub"\nplain_callback = true'))["auth.provider"]
    )


def test_people_sign_in_over_https_unless_they_are_at_this_machine(check):
    assert "https URL" in check("[gateway]\nhost = '0.0.0.0'\n" + GOOD)["gateway.public_url"]
    assert "https URL" in check("[gateway]\npublic_url = 'http://hub.example.edu'\n" + GOOD)["gateway.public_url"]
    assert check("[gateway]\nhost = '0.0.0.0'\npublic_url = 'https://hub.example.edu'\n" + GOOD) == {}


def test_a_kind_has_its_own_table_and_no_other(check):
    assert "needs its table" in check(GOOD.partition("[auth.provider.oidc]")[0])["auth.provider[1].oidc"]
    test = GOOD.replace('kind = "oidc"', 'kind = "test"').replace("[auth]", "[auth]\nallowed_users = ['a']")
    assert "has no table" in check(test)["auth.provider[1].oidc"]


def test_a_secret_may_be_in_a_file_that_nobody_else_reads(check, tmp_path):
    text = GOOD.replace('client_secret = "Wq8-t3fTz0kX2m"', 'client_secret_file = "campus.secret"')
    key = "auth.provider[1].oidc.client_secret_file"
    assert "cannot be read" in check(text)[key]
    secret = tmp_path / "campus.secret"
    secret.write_text("Wq8-t3fTz0kX2m\n")
    secret.chmod(0o644)
    assert "chmod 600" in check(text)[key]
    secret.chmod(0o600)
    assert check(text) == {}
    config = load(tmp_path / "towpath.toml", tmp_path / "data", environment={}).config
    assert config.auth.provider[0].oidc.client_secret == "Wq8-t3fTz0kX2m"
    for held, words in (("", "holds nothing"), ("changeme", "placeholder")):
        secret.write_text(held)
        message = check(text)[key]
        assert words in message
        assert not held or held not in message
    secret.chmod(0o200)
    if os.geteuid():
        assert "cannot be read" in check(text)[key]


def test_a_table_of_names_may_be_in_a_file(check, tmp_path):
    text = with_key("names_file", '"names"')
    (tmp_path / "names").write_text("# theirs  ours\nJane.Doe@other.org jdoe\nbob  robert # since 2024\n\n")
    assert check(text) == {}
    provider = load(tmp_path / "towpath.toml", tmp_path / "data", environment={}).config.auth.provider[0]
    assert provider.names == {"jane.doe@other.org": "jdoe", "bob": "robert"}
    for held, words in (
        ("alice\n", "line 1"),
        ("alice a b\n", "two names"),
        ("alice Alice\n", "cannot be"),
        ("mallory root\n", "cannot be"),
        ("a b\nA c\n", "there twice"),
    ):
        (tmp_path / "names").write_text(held)
        assert words in check(text)["auth.provider[1].names_file"]
