"""What a provider says, as values: what is malformed is as good as not there."""

import json
import time

import pytest

from gateway.auth.oidc import claims as reading
from gateway.auth.oidc.engine import _secret
from gateway.auth.oidc.errors import InvalidResponseError
from gateway.auth.oidc.logout import EVENT, check_logout_token


def test_half_a_character_is_no_text_and_breaks_nothing():
    """JSON may hold one (RFC 8259 section 8.2); no store and no hash can."""
    said = json.loads('{"sub": "\\ud800", "sid": "a\\udfff", "n": 1, "ok": "\\ud83d\\ude00"}')
    assert [reading.text(said, name) for name in said] == ["", "", "1", "\U0001f600"]
    now = time.time()
    claims = {"iss": "I", "aud": "hub", "iat": now, "jti": "j", "events": {EVENT: {}}, "sub": "s"}
    known = {"issuers": ("I",), "client_id": "hub", "now": now, "leeway": 30}
    assert check_logout_token({}, claims, **known).jti == "j"
    for name in ("sub", "sid", "jti"):
        with pytest.raises(InvalidResponseError):
            check_logout_token({}, {**claims, name: said["sub"]}, **known)
    with pytest.raises(InvalidResponseError):
        _secret({"access_token": said["sub"]}, "access_token")


@pytest.mark.parametrize(
    ("said", "groups"),
    [
        ("physics", ("physics",)),
        ("physics, staff", ("physics, staff",)),
        ([], ()),
        ("", ()),
        (None, ()),
        (7, ()),
        ({"physics": True}, ()),
        ([["admins"], {"name": "admins"}, 7, None, True], ()),
        (["/a/b", "/a/b", "a/b", " a", "a\n", "a\u202eb", "\ud800", "x" * 256], ("a/b",)),
    ],
)
def test_groups_are_a_list_of_texts_or_one_text_and_nothing_is_guessed(said, groups):
    assert reading.groups({"groups": said}, "groups") == groups


@pytest.mark.parametrize(
    ("said", "separator", "groups"),
    [
        ("physics, staff", ",", ("physics", "staff")),
        ("physics staff", " ", ("physics", "staff")),
        ("/a/b;c d; ;", ";", ("a/b", "c d")),
        (["a,b"], ",", ("a,b",)),  # of a list nothing is split
        ("", ",", ()),
    ],
)
def test_one_text_is_several_groups_where_the_configuration_names_the_separator(said, separator, groups):
    assert reading.groups({"groups": said}, "groups", separator=separator) == groups


def test_of_endless_groups_some_count_in_one_order():
    many = [f"g{number:06}" for number in range(50_000)]
    assert reading.groups({"groups": many}, "groups") == tuple(many[: reading.GROUPS_MAX])
    assert reading.groups({"groups": many[::-1]}, "groups") == tuple(many[: reading.GROUPS_MAX])


KEYCLOAK = {
    "resource_access": {"my.client": {"roles": ["user"]}, "my": {"client": {"other": 1}}},
    "realm_access": {"roles": ["realm"]},
    "https://example.edu/groups": ["namespaced"],
    "a": {"b": {"c": 1}},
    "a.b": {"d": 2},
    "null": None,
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("realm_access.roles", ["realm"]),
        ("resource_access.my.client.roles", ["user"]),
        ("resource_access.my.client.other", 1),
        ("https://example.edu/groups", ["namespaced"]),
        ("a.b.c", 1),
        ("a.b.d", 2),
        ("a.b.e", None),
        ("null", None),
        ("null.x", None),
        (".".join("x" * 40), None),
    ],
)
def test_a_name_on_the_way_to_a_claim_may_have_dots(path, found):
    assert reading.find(KEYCLOAK, path) == found


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("alice", "alice"),
        (["alice"], "alice"),
        (1000, "1000"),
        (["alice", "bob"], ""),
        ([], ""),
        ([["a"]], ""),
        ({}, ""),
    ],
)
def test_a_name_may_be_the_only_entry_of_a_list(said, name):
    assert reading.name_of({"eppn": said}, "eppn") == name
    assert reading.text({"sub": [said]}, "sub") == ""  # what never changes for an account is not read so


def test_times_that_are_text_are_converted_to_numbers():
    said = {"exp": "1795987161", "iat": 7, "nbf": "soon", "auth_time": "-1", "name": "12"}
    assert reading.with_numeric_times(said) == {**said, "exp": 1795987161}


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"iat": "1"}, ["claim iat is text"]),
        ({"name": ["alice"]}, ["claim name is a list of 1"]),
        ({"name": ["alice", "bob"]}, ["claim name is a list of 2"]),
        ({"name": {"first": "a"}}, ["claim name is an object"]),
        ({"groups": "a, b"}, ["one text that looks like several groups"]),
        ({"groups": {"a": 1}}, ["claim groups is an object"]),
        ({"groups": ["a", {"name": "b"}]}, ["entries that are not names of groups"]),
        ({"groups": True, "exp": "1"}, ["claim exp is text", "claim groups is true or false"]),
        ({"name": "alice", "groups": ["a b", "c,d"], "exp": 1}, []),
        ({"name": "alice"}, []),
    ],
)
def test_each_unusual_claim_has_its_own_message(claims, words):
    said = reading.odd_shapes(claims, name="name", groups_="groups", separator="")
    assert len(said) == len(words)
    for sentence, word in zip(said, words, strict=True):
        assert word in sentence
    assert reading.odd_shapes({"groups": "a, b"}, name="name", groups_="groups", separator=",") == []


def test_too_many_groups_are_distinguished_from_none():
    assert reading.too_many({"_claim_names": {"groups": "src1"}}, "groups")
    assert reading.too_many({"hasgroups": True}, "groups")
    assert not reading.too_many({"_claim_names": {"groups": "src1"}, "groups": []}, "groups")
    assert not reading.too_many({}, "groups")
