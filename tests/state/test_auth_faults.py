"""A sign-in that is not safe, or that nobody can use, is an error when the hub starts."""

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
    """Check a configuration and return its errors: key → message."""

    def checker(text):
        (tmp_path / "towpath.toml").write_text(text + CLUSTER)
        try:
            load(tmp_path / "towpath.toml", tmp_path / "data", environment={})
        except ConfigError as error:
            return {fault.key: fault.message for fault in error.faults}
        return {}

    return checker


def with_key(key, value, *, table="provider"):
    """GOOD with a key set to a value."""
    lines = [line for line in GOOD.splitlines() if not line.startswith(f"{key} =")]
    at = lines.index("[auth.provider.oidc]") + (1 if table == "oidc" else 0)
    return "\n".join([*lines[:at], *([f"{key} = {value}"] if value else []), *lines[at:]])


def test_a_complete_configuration_has_no_errors(check):
    assert check(GOOD) == {}


@pytest.mark.parametrize(
    ("key", "value", "table", "words"),
    [
        ("allowed_groups", "", "provider", "nobody can sign in"),
        ("allowed_groups", "[]", "provider", "nobody can sign in"),
        ("whitelist", '["alice"]', "provider", "no such key"),
        ("allowed_userz", '["alice"]', "provider", "Did you mean allowed_users"),
        ("allow_all", "true", "provider", "have no effect"),
        ("allowed_users", '["Alice"]', "provider", "write 'alice'"),
        ("allowed_users", '["root"]', "provider", "system account"),
        ("admins", '["a b"]', "provider", "cannot be a user"),
        ("allowed_groups", '[""]', "provider", "is not a valid group name"),
        ("prefix", '"A-"', "provider", "cannot begin a username"),
        ("prefix", '"-"', "provider", "cannot begin a username"),
        ("prefix", '"a b"', "provider", "cannot begin a username"),
        ("strip_domain", '"@example.edu"', "provider", "is not a domain"),
        ("names", '{ x = "root" }', "provider", "system account"),
        ("names", '{ x = "A" }', "provider", "write 'a'"),
        ("logo", '"logo.gif"', "provider", "of type .svg or .png"),
        ("logo", '"logo.svg"', "provider", "there is no file"),
        ("names_file", '"names"', "provider", "cannot be read"),
        ("kind", '"saml"', "provider", "not a kind of provider"),
        ("issuer", "", "oidc", "missing"),
        ("issuer", '"http://sso.example.edu"', "oidc", "not an https URL"),
        ("issuer", '"sso.example.edu"', "oidc", "not an https URL"),
        ("issuer", '"https://user:pw@sso.example.edu"', "oidc", "not an https URL"),
        ("client_id", "", "oidc", "missing"),
        ("client_secret", "", "oidc", "missing"),
        ("client_secret", '""', "oidc", "missing"),
        ("client_secret", '"changeme"', "oidc", "placeholder"),
        ("client_secret", '"Your-Client-Secret"', "oidc", "placeholder"),
        ("client_secret", '"hub"', "oidc", "placeholder"),
        ("client_secret", '"abc123"', "oidc", "guessed"),
        ("client_secret", '"aaaaaaaaaaaaaaaa"', "oidc", "guessed"),
        ("client_secret_file", '"secret"', "oidc", "Keep one of the two"),
        ("client_auth", '"none"', "oidc", "basic or post"),
        ("preset", '"myspace"', "oidc", "is not a preset"),
        ("scopes", '["profile"]', "oidc", "openid is missing"),
        ("parameters", '{ redirect_uri = "https://evil.example" }', "oidc", "sets redirect_uri itself"),
        ("required_claims", "{ hd = [] }", "oidc", "nobody could sign in"),
        ("allowed_claims", '{ hd = [""] }', "oidc", "nobody could sign in"),
        ("groups_claim", "", "oidc", "no claim is set"),
        ("url", '"https://git.example.edu"', "oidc", "github and gitlab only"),
        ("proxy", '"proxy:3128"', "oidc", "is not a URL"),
        ("refresh", "-1", "oidc", ""),
        ("leeway", "4000", "oidc", ""),
        ("ca_file", '"ca.pem"', "oidc", "there is no file"),
    ],
)
def test_an_error_is_reported_with_its_key(check, key, value, table, words):
    """Unknown keys, empty lists and default secrets are errors at startup (oauthenticator GHSA-384w-5v3f-q499)."""
    found = check(with_key(key, value, table=table))
    assert any(words in message for message in found.values()), found


def test_cilogon_needs_the_institutions_that_it_may_assert_names_for(check):
    """Oauthenticator CVE-2022-31027 (GHSA-r7v4-jwx9-wx43): any of its institutions could assert any name."""
    text = with_key("preset", '"cilogon"', table="oidc").replace('issuer = "https://sso.example.edu/realms/campus"', "")
    assert "serves many institutions" in check(text)["auth.provider[1].oidc.required_claims"]
    assert check(f'{text}\nrequired_claims = {{ idp = ["https://idp.example.edu/shibboleth"] }}') == {}


def test_two_providers_that_could_prove_the_same_name_need_a_prefix_or_shared_names(check):
    assert "could each prove the same name" in check(GOOD + SECOND)["auth.provider"]
    same = 'kind = "oidc"\nshared_names = true'
    assert check(GOOD + SECOND.replace('kind = "oidc"', same))["auth.provider"]
    assert check((GOOD + SECOND).replace('kind = "oidc"', same)) == {}
    assert check(GOOD + SECOND.replace('kind = "oidc"', 'kind = "oidc"\nprefix = "b-"')) == {}


def test_only_one_provider_can_have_jupyterhubs_redirect_uri(check):
    text = (GOOD + SECOND).replace('kind = "oidc"', 'kind = "oidc"\nshared_names = true')
    assert (
        "plain_callback"
        in check(text.replace('client_id = "hub"', 'client_id = "hub"\nplain_callback = true'))["auth.provider"]
    )


def test_sign_in_needs_https_except_on_this_machine(check):
    assert "https URL" in check("[gateway]\nhost = '0.0.0.0'\n" + GOOD)["gateway.public_url"]
    assert "https URL" in check("[gateway]\npublic_url = 'http://hub.example.edu'\n" + GOOD)["gateway.public_url"]
    assert check("[gateway]\nhost = '0.0.0.0'\npublic_url = 'https://hub.example.edu'\n" + GOOD) == {}


def test_a_kind_has_its_own_table_and_no_other(check):
    assert "needs a table" in check(GOOD.partition("[auth.provider.oidc]")[0])["auth.provider[1].oidc"]
    test = GOOD.replace('kind = "oidc"', 'kind = "test"').replace("[auth]", "[auth]\nallowed_users = ['a']")
    assert "has no such table" in check(test)["auth.provider[1].oidc"]


def test_a_secret_can_be_in_a_private_file(check, tmp_path):
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
    assert config.auth.provider[0].options.client_secret == "Wq8-t3fTz0kX2m"
    for held, words in (("", "is empty"), ("changeme", "placeholder")):
        secret.write_text(held)
        message = check(text)[key]
        assert words in message
        assert not held or held not in message
    secret.chmod(0o200)
    if os.geteuid():
        assert "cannot be read" in check(text)[key]


def test_a_table_of_names_can_be_in_a_file(check, tmp_path):
    text = with_key("names_file", '"names"')
    (tmp_path / "names").write_text("# theirs  ours\nJane.Doe@other.org jdoe\nbob  robert # since 2024\n\n")
    assert check(text) == {}
    provider = load(tmp_path / "towpath.toml", tmp_path / "data", environment={}).config.auth.provider[0]
    assert provider.names == {"jane.doe@other.org": "jdoe", "bob": "robert"}
    for held, words in (
        ("alice\n", "line 1"),
        ("alice a b\n", "two names"),
        ("alice Alice\n", "not a valid username"),
        ("mallory root\n", "not a valid username"),
        ("a b\nA c\n", "used twice"),
    ):
        (tmp_path / "names").write_text(held)
        assert words in check(text)["auth.provider[1].names_file"]
