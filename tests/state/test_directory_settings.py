"""The settings of LDAP, PAM and a portal's header: valid forms, and all errors."""

import pytest

from state.errors import ConfigError
from state.settings.loader import load

LDAP = {
    "servers": ["ldaps://ldap.example.edu"],
    "bind_dn": "cn=hub,dc=example",
    "bind_password": "4711",
    "user_base": "ou=people,dc=example",
}
HEADER = {"secret": "0123456789abcdef-portal-secret"}


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    return repr(value) if not isinstance(value, str) else "'" + value + "'"


def text(kind, table, *, provider="allow_all = true", gateway=""):
    rows = "\n".join(f"{key} = {toml(value)}" for key, value in table.items() if value is not None)
    return f"""
[gateway]
{gateway}
[auth]
[[auth.provider]]
name = "way"
kind = "{kind}"
{provider}
[auth.provider.{kind}]
{rows}
[[cluster]]
name = "local"
kind = "local"
isolation = "none"
"""


def loaded(folder, written):
    path = folder / "towpath.toml"
    path.write_text(written)
    return load(path, folder / "data", environment={}).config.auth.provider[0]


def faults(folder, written):
    with pytest.raises(ConfigError) as caught:
        loaded(folder, written)
    return {fault.key.removeprefix("auth.provider[1]."): fault.message for fault in caught.value.faults}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"servers": ["ldap://[2001:db8::1]:3389", "ldaps://192.0.2.1"]},
        {"bind_dn": None, "bind_password": None},
        {"user_base": None, "user_dn": "uid={name},ou=people,dc=example", "bind_dn": None, "bind_password": None},
        {"user_dn": "{name}@ad.example.edu"},
        {"user_filter": "(&(objectClass=user)(|(mail={name})(sAMAccountName={name})))"},
        {"groups": "search", "group_base": "dc=example", "group_filter": "(member:1.2.840.113556.1.4.1941:={dn})"},
        {"tls": "none", "servers": ["ldap://127.0.0.1:389"]},
        {"tls": "unverified"},
        {"name_attribute": ""},
    ],
)
def test_valid_directory_settings(tmp_path, changes):
    assert loaded(tmp_path, text("ldap", LDAP | changes)).options.servers


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"servers": []}, "ldap.servers", "no server is set"),
        ({"servers": ["ldap.example.edu"]}, "ldap.servers", "is not a server such as"),
        ({"servers": ["ldaps://ldap.example.edu:99999"]}, "ldap.servers", "is not a server"),
        ({"servers": ["ldaps://u:p@ldap.example.edu"]}, "ldap.servers", "is not a server"),
        ({"servers": ["ldaps://ldap.example.edu/dc=example??sub"]}, "ldap.servers", "is not a server"),
        ({"servers": ["ldap://ldap.example.edu"], "tls": "none"}, "ldap.servers", "could read the passwords"),
        ({"tls": "never"}, "ldap.tls", "verified, unverified, none"),
        ({"tsl": "none"}, "ldap.tsl", "Did you mean tls?"),
        ({"bind_password": None}, "ldap.bind_password_file", "is missing"),
        ({"bind_dn": None}, "ldap.bind_dn", "not the account"),
        ({"bind_password": "secret"}, "ldap.bind_password", "placeholder"),
        ({"bind_password": "ChangeMe"}, "ldap.bind_password", "placeholder"),
        ({"bind_password_file": "x"}, "ldap.bind_password_file", "Keep one of the two"),
        ({"user_base": None}, "ldap.user_base", "one of user_base"),
        ({"user_dn": "uid={name},dc=example"}, "ldap.user_base", "one of user_base"),
        ({"user_dn": "uid=alice,dc=example", "user_base": None}, "ldap.user_dn", "must contain {name} exactly once"),
        ({"user_dn": "{name}@ad.example.edu", "user_base": None}, "ldap.user_base", "Set the entry below which"),
        ({"user_filter": "(uid=alice)"}, "ldap.user_filter", "the same for all users"),
        ({"user_filter": "(uid={name}"}, "ldap.user_filter", "is not a filter"),
        ({"user_filter": "uid={name}"}, "ldap.user_filter", "is not a filter"),
        ({"user_filter": "(uid={name}))("}, "ldap.user_filter", "is not a filter"),
        ({"group_filter": "(cn=staff)"}, "ldap.group_filter", "the same for all users"),
        ({"groups": "all"}, "ldap.groups", "search, member_of, none"),
        ({"groups": "member_of"}, "ldap.group_base", "groups with any name"),
        ({"name_attribute": "uid)"}, "ldap.name_attribute", "attribute name"),
        ({"group_name": ""}, "ldap.group_name", "attribute name"),
        ({"ca_file": "nowhere.pem"}, "ldap.ca_file", "there is no file"),
    ],
)
def test_errors_in_the_settings_of_a_directory_are_reported(tmp_path, changes, key, words):
    found = faults(tmp_path, text("ldap", LDAP | changes))
    assert words in found[key]


def test_group_rules_without_groups_are_an_error(tmp_path):
    for kind, table, key in (
        ("ldap", LDAP, "ldap.groups"),
        ("pam", {"groups": False}, "pam.groups"),
        ("header", HEADER, "header.groups_header"),
    ):
        gateway = 'trusted_proxies = ["127.0.0.1"]'
        found = faults(tmp_path, text(kind, table, provider='allowed_groups = ["staff"]', gateway=gateway))
        assert "this setting disables them" in found[key]


def test_a_password_can_be_in_a_file_next_to_the_configuration(tmp_path):
    secret = tmp_path / "ldap.secret"
    secret.write_text("4711-hub\n")
    secret.chmod(0o600)
    written = text("ldap", LDAP | {"bind_password": None, "bind_password_file": "ldap.secret"})
    assert loaded(tmp_path, written).options.bind_password == "4711-hub"
    secret.chmod(0o644)
    assert "read by all users" in faults(tmp_path, written)["ldap.bind_password_file"]
    secret.chmod(0o600)
    secret.write_text("changeme\n")
    assert "placeholder" in faults(tmp_path, written)["ldap.bind_password_file"]


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"service": "../../tmp/x"}, "pam.service", ""),
        ({"service": ""}, "pam.service", ""),
        ({"service": "-x"}, "pam.service", ""),
        ({"timeout": 0}, "pam.timeout", ""),
        ({"min_uid": 0}, "pam.min_uid", ""),
    ],
)
def test_errors_in_the_settings_of_pam_are_reported(tmp_path, changes, key, words):
    assert words in faults(tmp_path, text("pam", changes))[key]


def test_pam_does_not_need_a_table(tmp_path):
    assert loaded(tmp_path, text("pam", {}).replace("[auth.provider.pam]", "")).kind == "pam"


def test_a_provider_that_nobody_can_sign_in_with_is_an_error(tmp_path):
    for kind, table in (("ldap", LDAP), ("pam", {}), ("header", HEADER)):
        found = faults(tmp_path, text(kind, table, provider="", gateway='trusted_proxies = ["127.0.0.1"]'))
        assert any("nobody can sign in with way" in message for message in found.values())


def test_sign_in_over_plain_http_from_other_machines_is_an_error(tmp_path):
    for kind, table in (("ldap", LDAP), ("pam", {})):
        found = faults(tmp_path, text(kind, table, gateway='host = "0.0.0.0"'))
        assert "plain http" in found["gateway.public_url"]


@pytest.mark.parametrize(
    ("changes", "gateway", "key", "words"),
    [
        ({}, "", "gateway.trusted_proxies", "this key is missing"),
        ({}, 'trusted_proxies = ["0.0.0.0/0"]', "gateway.trusted_proxies", "all addresses"),
        ({}, 'trusted_proxies = ["::/0"]', "gateway.trusted_proxies", "all addresses"),
        ({"secret": None}, None, "header.secret_file", "set the file"),
        ({"secret": "short"}, None, "header.secret", "can be guessed"),
        ({"secret": "a" * 40}, None, "header.secret", "can be guessed"),
        ({"secret": "with spaces " * 3}, None, "header.secret", "without spaces"),
        ({"secret_file": "x"}, None, "header.secret_file", "Keep one of the two"),
        ({"header": "Authorization"}, None, "header.header", "no standard header"),
        ({"header": "X-Forwarded-User"}, None, "header.header", "no standard header"),
        ({"header": "X_Remote_User"}, None, "header.header", "letters, digits and dashes"),
        ({"header": "X-Remote-User: x"}, None, "header.header", "letters, digits and dashes"),
        ({"header": ""}, None, "header.header", "letters, digits and dashes"),
        ({"secret_header": "x-remote-user"}, None, "header.secret_header", "used twice"),
        ({"groups_header": "X-REMOTE-USER"}, None, "header.groups_header", "used twice"),
        ({"groups_separator": ""}, None, "header.groups_separator", ""),
        ({"sign_out_url": "javascript:alert(1)"}, None, "header.sign_out_url", "is not a URL"),
    ],
)
def test_errors_in_the_settings_of_a_portals_header_are_reported(tmp_path, changes, gateway, key, words):
    door = 'trusted_proxies = ["127.0.0.1"]' if gateway is None else gateway
    assert words in faults(tmp_path, text("header", HEADER | changes, gateway=door))[key]


def test_a_portals_secret_in_a_file_is_checked(tmp_path):
    secret = tmp_path / "portal.secret"
    written = text("header", {"secret_file": "portal.secret"}, gateway='trusted_proxies = ["127.0.0.1"]')
    for content, words in (("", "is empty"), ("guess", "can be guessed")):
        secret.write_text(content)
        secret.chmod(0o600)
        assert words in faults(tmp_path, written)["header.secret_file"]
    secret.write_text(HEADER["secret"])
    assert loaded(tmp_path, written).options.secret == HEADER["secret"]
