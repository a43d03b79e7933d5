"""What is said of a directory, of PAM and of a portal's header: every fault, and every way that works."""

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
def test_a_directory_can_be_spoken_to_in_these_ways(tmp_path, changes):
    assert loaded(tmp_path, text("ldap", LDAP | changes)).ldap.servers


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"servers": []}, "ldap.servers", "no server is named"),
        ({"servers": ["ldap.example.edu"]}, "ldap.servers", "is no server such as"),
        ({"servers": ["ldaps://ldap.example.edu:99999"]}, "ldap.servers", "is no server"),
        ({"servers": ["ldaps://u:p@ldap.example.edu"]}, "ldap.servers", "is no server"),
        ({"servers": ["ldaps://ldap.example.edu/dc=example??sub"]}, "ldap.servers", "is no server"),
        ({"servers": ["ldap://ldap.example.edu"], "tls": "none"}, "ldap.servers", "could read the passwords"),
        ({"tls": "never"}, "ldap.tls", "verified, unverified, none"),
        ({"tsl": "none"}, "ldap.tsl", "did you mean tls?"),
        ({"bind_password": None}, "ldap.bind_password_file", "is missing"),
        ({"bind_dn": None}, "ldap.bind_dn", "nobody whose it is"),
        ({"bind_password": "secret"}, "ldap.bind_password", "placeholder"),
        ({"bind_password": "ChangeMe"}, "ldap.bind_password", "placeholder"),
        ({"bind_password_file": "x"}, "ldap.bind_password_file", "keep one of the two"),
        ({"user_base": None}, "ldap.user_base", "one of user_base"),
        ({"user_dn": "uid={name},dc=example"}, "ldap.user_base", "one of user_base"),
        ({"user_dn": "uid=alice,dc=example", "user_base": None}, "ldap.user_dn", "{name} must stand in it once"),
        ({"user_dn": "{name}@ad.example.edu", "user_base": None}, "ldap.user_base", "say below which entry"),
        ({"user_filter": "(uid=alice)"}, "ldap.user_filter", "the same for everybody"),
        ({"user_filter": "(uid={name}"}, "ldap.user_filter", "is no filter"),
        ({"user_filter": "uid={name}"}, "ldap.user_filter", "is no filter"),
        ({"user_filter": "(uid={name}))("}, "ldap.user_filter", "is no filter"),
        ({"group_filter": "(cn=staff)"}, "ldap.group_filter", "the same for everybody"),
        ({"groups": "all"}, "ldap.groups", "search, member_of, none"),
        ({"groups": "member_of"}, "ldap.group_base", "groups of any name"),
        ({"name_attribute": "uid)"}, "ldap.name_attribute", "attribute's name"),
        ({"group_name": ""}, "ldap.group_name", "attribute's name"),
        ({"ca_file": "nowhere.pem"}, "ldap.ca_file", "is no file"),
    ],
)
def test_what_is_wrong_with_a_directory_is_said(tmp_path, changes, key, words):
    found = faults(tmp_path, text("ldap", LDAP | changes))
    assert words in found[key]


def test_groups_that_nobody_looks_for_let_nobody_in(tmp_path):
    for kind, table, key in (
        ("ldap", LDAP, "ldap.groups"),
        ("pam", {"groups": False}, "pam.groups"),
        ("header", HEADER, "header.groups_header"),
    ):
        gateway = 'trusted_proxies = ["127.0.0.1"]'
        found = faults(tmp_path, text(kind, table, provider='allowed_groups = ["staff"]', gateway=gateway))
        assert "none are looked for" in found[key]


def test_a_password_may_be_in_a_file_beside_the_configuration(tmp_path):
    secret = tmp_path / "ldap.secret"
    secret.write_text("4711-hub\n")
    secret.chmod(0o600)
    written = text("ldap", LDAP | {"bind_password": None, "bind_password_file": "ldap.secret"})
    assert loaded(tmp_path, written).ldap.bind_password == "4711-hub"
    secret.chmod(0o644)
    assert "open to everybody" in faults(tmp_path, written)["ldap.bind_password_file"]
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
        ({"least_uid": 0}, "pam.least_uid", ""),
    ],
)
def test_what_is_wrong_with_pam_is_said(tmp_path, changes, key, words):
    assert words in faults(tmp_path, text("pam", changes))[key]


def test_pam_needs_no_table_of_its_own(tmp_path):
    assert loaded(tmp_path, text("pam", {}).replace("[auth.provider.pam]", "")).kind == "pam"


def test_nobody_may_enter_unless_somebody_is_named(tmp_path):
    for kind, table in (("ldap", LDAP), ("pam", {}), ("header", HEADER)):
        found = faults(tmp_path, text(kind, table, provider="", gateway='trusted_proxies = ["127.0.0.1"]'))
        assert any("nobody may enter by way" in message for message in found.values())


def test_passwords_are_not_taken_over_plain_http_from_elsewhere(tmp_path):
    for kind, table in (("ldap", LDAP), ("pam", {})):
        found = faults(tmp_path, text(kind, table, gateway='host = "0.0.0.0"'))
        assert "plain http" in found["gateway.public_url"]


@pytest.mark.parametrize(
    ("changes", "gateway", "key", "words"),
    [
        ({}, "", "gateway.trusted_proxies", "there are none"),
        ({}, 'trusted_proxies = ["0.0.0.0/0"]', "gateway.trusted_proxies", "everybody"),
        ({}, 'trusted_proxies = ["::/0"]', "gateway.trusted_proxies", "everybody"),
        ({"secret": None}, None, "header.secret_file", "name the file"),
        ({"secret": "short"}, None, "header.secret", "can be guessed"),
        ({"secret": "a" * 40}, None, "header.secret", "can be guessed"),
        ({"secret": "with spaces " * 3}, None, "header.secret", "without spaces"),
        ({"secret_file": "x"}, None, "header.secret_file", "keep one of the two"),
        ({"header": "Authorization"}, None, "header.header", "no other meaning"),
        ({"header": "X-Forwarded-User"}, None, "header.header", "no other meaning"),
        ({"header": "X_Remote_User"}, None, "header.header", "letters, digits and dashes"),
        ({"header": "X-Remote-User: x"}, None, "header.header", "letters, digits and dashes"),
        ({"header": ""}, None, "header.header", "letters, digits and dashes"),
        ({"secret_header": "x-remote-user"}, None, "header.secret_header", "there twice"),
        ({"groups_header": "X-REMOTE-USER"}, None, "header.groups_header", "there twice"),
        ({"groups_separator": ""}, None, "header.groups_separator", ""),
        ({"sign_out_url": "javascript:alert(1)"}, None, "header.sign_out_url", "is not a URL"),
    ],
)
def test_what_is_wrong_with_a_portals_header_is_said(tmp_path, changes, gateway, key, words):
    door = 'trusted_proxies = ["127.0.0.1"]' if gateway is None else gateway
    assert words in faults(tmp_path, text("header", HEADER | changes, gateway=door))[key]


def test_a_portals_secret_in_a_file_must_be_one_too(tmp_path):
    secret = tmp_path / "portal.secret"
    written = text("header", {"secret_file": "portal.secret"}, gateway='trusted_proxies = ["127.0.0.1"]')
    for content, words in (("", "holds nothing"), ("guess", "can be guessed")):
        secret.write_text(content)
        secret.chmod(0o600)
        assert words in faults(tmp_path, written)["header.secret_file"]
    secret.write_text(HEADER["secret"])
    assert loaded(tmp_path, written).header.secret == HEADER["secret"]
