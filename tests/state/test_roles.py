"""Roles: what users, groups and services have through them, and which configurations are rejected."""

import pytest

from state.config.tables import Config, RoleConfig, ServiceConfig
from state.errors import ConfigError
from state.records.models import User
from state.rights.roles import Roles
from state.rights.scopes import ADMIN, WITHIN, may
from state.settings.loader import load

CONFIG = Config(
    role=(
        RoleConfig(name="teacher", scopes=("servers!group=class", "list:users!group=class"), groups=("staff",)),
        RoleConfig(name="reader", scopes=("read:hub", "servers!user"), users=("ann",), services=("culler",)),
    ),
    service=(
        ServiceConfig(name="culler", scopes=("list:users", "users:activity")),
        ServiceConfig(name="portal", admin=True),
    ),
)
ROLES = Roles.of(CONFIG)
SECRET = "0123456789abcdef0123456789abcdef"


def test_a_user_has_their_own_roles_and_those_of_their_groups():
    ann = User(name="ann", created=1.0, groups=("staff", "other"))
    assert ROLES.of_user(ann) == ["reader", "teacher", "user"]
    held = ROLES.scopes_of_user(ann)
    assert may(held, "start:servers", user="bob", server="bob/", groups=("class",))
    assert not may(held, "start:servers", user="bob", server="bob/")
    assert may(held, "read:hub")
    assert ROLES.of_group("staff") == ["teacher"]


def test_a_user_has_the_basic_scopes_and_an_admin_has_all():
    bob = User(name="bob", created=1.0)
    assert ROLES.of_user(bob) == ["user"]
    assert may(ROLES.scopes_of_user(bob), "servers", user="bob")
    assert ROLES.of_user(User(name="root", created=1.0, admin=True)) == ["admin", "user"]
    admins = ROLES.scopes_of_user(User(name="root", created=1.0, admin=True))
    assert set(WITHIN) - {"connect:servers"} <= admins


def test_a_service_has_its_scopes_and_roles_but_no_user_resources():
    culler, portal = ROLES.services["culler"], ROLES.services["portal"]
    assert ROLES.of_service(culler) == ["reader"]
    held = ROLES.scopes_of_service(culler)
    for scope in ("read:hub", "list:users", "users:activity"):
        assert may(held, scope)
    assert not may(held, "start:servers", user="culler", server="culler/")
    assert set(ADMIN) <= ROLES.scopes_of_service(portal)


def test_a_server_has_the_scopes_of_its_role_for_itself():
    assert Roles().scopes_of_server("ann", "") == {"users:activity!user=ann", "access:servers!server=ann/"}
    written = ("read:servers!server", "self", "inherit", "list:users!group=class")
    held = Roles.of(Config(role=(RoleConfig(name="server", scopes=written),))).scopes_of_server("ann", "gpu")
    assert {"read:servers!server=ann/gpu", "read:users!user=ann", "inherit", "list:users!group=class"} <= held
    assert "read:servers!server" not in held


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('[[role]]\nname = "server"\nscopes = ["read:servers!server", "inherit"]', ""),
        ('[[role]]\nname = "teacher"\nscopes = ["read:servers!server"]', "works only in the role server"),
        ('[[role]]\nname = "teacher"\nscopes = ["inherit"]', "inherit is for tokens"),
    ],
)
def test_the_filter_server_and_inherit_are_for_the_role_server(tmp_path, table, message):
    (tmp_path / "towpath.toml").write_text(table + "\n")
    if not message:
        load(tmp_path / "towpath.toml", tmp_path / "data")
        return
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "towpath.toml", tmp_path / "data")


def test_the_scopes_of_a_group_are_known_without_a_user():
    assert may(ROLES.scopes_of_group("staff"), "list:users", groups=("class",))
    assert ROLES.scopes_of_group("other") == frozenset()


def test_the_role_user_can_be_changed_and_the_role_admin_cannot(tmp_path):
    roles = Roles.of(Config(role=(RoleConfig(name="user", scopes=("read:users!user",)),)))
    assert not may(roles.scopes_of_user(User(name="ann", created=1.0)), "start:servers", user="ann")
    (tmp_path / "towpath.toml").write_text('[[role]]\nname = "admin"\nscopes = ["self"]\n')
    with pytest.raises(ConfigError, match="built in"):
        load(tmp_path / "towpath.toml", tmp_path / "data", environment={})


def configured(folder, text, *, secret=SECRET, mode=0o600):
    holder = folder / "token"
    holder.write_text(secret + "\n")
    holder.chmod(mode)
    (folder / "towpath.toml").write_text(text)
    return load(folder / "towpath.toml", folder / "data", environment={})


def test_a_services_token_is_read_from_its_file_and_kept_as_a_digest(tmp_path):
    settings = configured(tmp_path, '[[service]]\nname = "culler"\napi_token_file = "token"\nscopes = ["list:users"]\n')
    assert len(settings.service_digests["culler"]) == 64
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[role]]\nname = "x"\n', "has no effect"),
        ('[[role]]\nname = "x"\nscopes = ["serverz"]\n', "not a scope"),
        ('[[role]]\nname = "x"\nscopes = ["inherit"]\n', "no owner to inherit from"),
        ('[[role]]\nname = "x"\nscopes = ["self"]\nusers = ["Ann"]\n', "normal form"),
        ('[[role]]\nname = "x"\nscopes = ["self"]\nusers = ["a b"]\n', "cannot be a user"),
        ('[[role]]\nname = "x"\nscopes = ["self"]\nservices = ["y"]\n', "no \\[\\[service\\]\\] is named 'y'"),
        ('[[role]]\nname = "x"\nscopes = ["self"]\n[[role]]\nname = "x"\nscopes = ["self"]\n', "twice"),
        ('[[service]]\nname = "x"\nadmin = true\n', "cannot authenticate"),
        ('[[service]]\nname = "x"\nurl = "ftp://a"\n', "must be http://host:port"),
        ('[[service]]\nname = "x"\napi_token_file = "token"\nscopes = ["self"]\n', "for users"),
        ('[[service]]\nname = "x"\napi_token_file = "token"\noauth_redirect_uris = ["//evil"]\n', "must be a URL"),
        ('[[service]]\nname = "x"\napi_token_file = "none"\n', "cannot be read"),
        ('[[service]]\nname = "x"\ncommand = ["a"]\n', "command"),
    ],
)
def test_invalid_roles_and_services_are_errors(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        configured(tmp_path, text)


def test_weak_shared_and_readable_tokens_are_errors(tmp_path):
    one = '[[service]]\nname = "x"\napi_token_file = "token"\n'
    with pytest.raises(ConfigError, match="32 or more"):
        configured(tmp_path, one, secret="changeme")
    with pytest.raises(ConfigError, match="read by all users"):
        configured(tmp_path, one, mode=0o644)
    with pytest.raises(ConfigError, match="same token"):
        configured(tmp_path, one + one.replace('"x"', '"y"'))
