"""Scopes: JupyterHub's table, and the rule that a token never has more than its owner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.records.models import User
from state.rights.roles import Roles
from state.rights.scopes import ADMIN, CONTAINERS, SELF, SUBSCOPES, WITHIN, expand, known, may, narrow

ANN = User(name="ann", created=1.0)
ROOT = User(name="root", admin=True, created=1.0)
NAMES = st.sampled_from(sorted(SUBSCOPES))
USERS = st.sampled_from(["ann", "bob"])
FILTERS = st.one_of(
    st.just(""),
    st.builds("!user={}".format, USERS),
    st.builds("!server={}/{}".format, USERS, st.sampled_from(["", "lab"])),
    st.builds("!group={}".format, st.sampled_from(["g", "h"])),
)
SCOPES = st.frozensets(st.builds("{}{}".format, NAMES, FILTERS), max_size=6)
TARGETS = st.fixed_dictionaries(
    {},
    optional={
        "user": USERS,
        "server": st.builds("{}/{}".format, USERS, st.sampled_from(["", "lab"])),
        "groups": st.lists(st.sampled_from(["g", "h"]), max_size=2),
    },
).filter(lambda target: "server" not in target or target["server"].startswith(target.get("user", "") or ""))
REQUESTS = st.lists(
    st.one_of(
        st.builds("{}{}".format, NAMES, FILTERS),
        st.sampled_from(["self", "inherit", "servers!user", "nonsense", "servers!x=y", "!", "servers!user="]),
    ),
    max_size=6,
)


def test_every_scope_in_the_table_exists():
    for inner in SUBSCOPES.values():
        assert set(inner) <= set(SUBSCOPES)
    assert set(SELF) | set(ADMIN) <= set(SUBSCOPES)


def test_an_admin_has_every_scope_but_no_shell_of_other_users():
    assert set(SUBSCOPES) - Roles().scopes_of_user(ROOT) == {"connect:servers"}
    assert may(Roles().scopes_of_user(ROOT), "connect:servers", server="root/")
    assert not may(Roles().scopes_of_user(ROOT), "connect:servers", server="ann/")


def test_a_user_has_access_to_their_own_resources_only():
    mine = Roles().scopes_of_user(ANN)
    assert may(mine, "start:servers", user="ann", server="ann/lab")
    assert may(mine, "access:servers", server="ann/")
    assert may(mine, "read:tokens", user="ann")
    assert not may(mine, "users", user="ann")
    assert not may(mine, "delete:users", user="ann")
    assert not may(mine, "read:users:name", user="bob")
    assert not may(mine, "start:servers")
    assert not may(mine, "access:servers", user="bob", server="bob/")
    assert not may(mine, "list:users")
    assert not may(mine, "no-such-scope", user="ann")


def test_a_scope_contains_what_the_table_says_at_any_depth():
    assert "read:users:name" in WITHIN["admin:servers"]
    assert "admin:users" in CONTAINERS["read:users:name"]
    assert may(frozenset({"admin:users"}), "read:users:activity", user="bob")


def test_filters_apply_to_groups_servers_and_services():
    group = frozenset({"servers!group=g"})
    assert may(group, "read:servers", user="ann", groups=("g",))
    assert not may(group, "read:servers", user="ann", groups=("h",))
    one = frozenset({"access:servers!server=ann/lab"})
    assert may(one, "access:servers", user="ann", server="ann/lab")
    assert not may(one, "access:servers", user="ann", server="ann/")
    assert not may(one, "access:servers", user="ann")
    default = frozenset({"access:servers!server=ann/"})
    assert may(default, "access:servers", server="ann/")
    assert not may(default, "access:servers", server="ann/lab")
    assert may(frozenset({"access:services!service=x"}), "access:services", service="x")


@pytest.mark.parametrize(
    ("requested", "granted", "refused"),
    [
        (["inherit"], "access:servers!user=ann", "shutdown"),
        (["self"], "servers!user=ann", "users!user=ann"),
        (["servers!user"], "start:servers!user=ann", "tokens!user=ann"),
        (["servers"], "start:servers!user=ann", "start:servers"),
        (["access:servers!server=ann/lab"], "access:servers!server=ann/lab", "access:servers!user=ann"),
        (["access:servers!server=bob/lab", "read:servers"], "read:servers!user=ann", "access:servers!server=bob/lab"),
    ],
)
def test_a_token_gets_the_part_that_its_owner_has(requested, granted, refused):
    result = narrow(requested, Roles().scopes_of_user(ANN))
    assert granted in result
    assert refused not in result


def test_a_token_of_an_admin_can_be_limited_to_themselves():
    result = narrow(["self"], Roles().scopes_of_user(ROOT))
    assert may(result, "servers", user="root")
    assert not may(result, "servers", user="ann")


@given(REQUESTS, SCOPES, st.sampled_from(["", "ann"]), NAMES, TARGETS)
def test_a_token_never_allows_what_its_owner_may_not_do(requested, owned, user, scope, target):
    granted = narrow(requested, owned, user=user)
    if may(granted, scope, **target):
        assert may(owned, scope, **target)


@given(SCOPES, NAMES, TARGETS)
def test_expansion_does_not_change_what_is_allowed(scopes, scope, target):
    assert may(expand(scopes), scope, **target) is may(scopes, scope, **target)
    assert expand(expand(scopes)) == expand(scopes)


@given(SCOPES)
def test_narrowing_to_all_owned_scopes_loses_nothing(owned):
    assert narrow(["inherit"], owned) == expand(owned) == narrow(owned, owned) == narrow(expand(owned), owned)


@given(st.text(max_size=40))
def test_any_text_is_a_valid_scope_or_not(text):
    assert isinstance(known(text), bool)
    assert isinstance(may(frozenset({text}), text), bool)
    narrow([text], Roles().scopes_of_user(ROOT))


@pytest.mark.parametrize(
    ("scope", "there"),
    [("self", True), ("servers!user", True), ("servers!server=a/b", True), ("serves", False), ("servers!x=1", False)],
)
def test_known_distinguishes_scopes_from_typos(scope, there):
    assert known(scope) is there
