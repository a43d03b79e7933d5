"""The rules for names: valid names need no escaping in a key, a job's name or a path."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from state.errors import NameRuleError
from state.names import (
    SERVER_NAME,
    SERVER_NAME_MAX,
    USER_NAME,
    USER_NAME_MAX,
    escape,
    server_key,
    server_name,
    server_path,
    split_server_key,
    user_name,
)

USERS = st.from_regex(USER_NAME, fullmatch=True).filter(lambda name: len(name) <= USER_NAME_MAX)
SERVERS = st.one_of(
    st.just(""), st.from_regex(SERVER_NAME, fullmatch=True).filter(lambda name: len(name) <= SERVER_NAME_MAX)
)


@given(st.text(max_size=80))
@example("../x")
@example("a/b")
@example("{u}")
@example("a\n")
@example("ROOT")
@example("ﬁne")
@example("İ")
@example("k\u212a")
@example("a" * 65)
def test_a_username_is_normalized_or_rejected(raw):
    try:
        name = user_name(raw)
    except NameRuleError as error:
        message = str(error)
        assert message.startswith("A username has")
    else:
        assert name == user_name(name)
        assert USER_NAME.fullmatch(name)
        assert 1 <= len(name) <= USER_NAME_MAX
        assert not set(name) & set("/{}:*?#% \r\n\\")


@pytest.mark.parametrize("raw", ["", ".", "..", "-x", "a b", "a/b", "a\x00", "ann!", "a" * 65, "é"])
def test_invalid_usernames(raw):
    with pytest.raises(NameRuleError):
        user_name(raw)


@pytest.mark.parametrize(
    ("raw", "name"), [("Ann", "ann"), (" ann ", "ann"), ("\uff41nn", "ann"), ("a.b@c+d-e_f", "a.b@c+d-e_f")]
)
def test_case_width_and_whitespace_are_normalized(raw, name):
    assert user_name(raw) == name


@pytest.mark.parametrize("raw", ["1a", "A", "a--b", "a-", "-a", "a.b", "a" * 31, "a\n", "ä", "a/b"])
def test_invalid_server_names(raw):
    with pytest.raises(NameRuleError):
        server_name(raw)


@given(SERVERS)
def test_a_valid_server_name_stays_unchanged(name):
    assert server_name(name) == name


@given(USERS, SERVERS)
def test_a_server_key_can_be_split_again(user, name):
    assert split_server_key(server_key(user, name)) == (user, name)


@given(USERS, SERVERS, USERS, SERVERS)
def test_two_servers_never_share_a_path(user, name, other_user, other_name):
    same = (user, name) == (other_user, other_name)
    assert (server_path("/", user, name) == server_path("/", other_user, other_name)) is same


def test_a_path_is_escaped_as_in_jupyterhub():
    assert server_path("/hub1/", "a+b@c.d", "") == "/hub1/user/a%2Bb@c.d/"
    assert server_path("/", "ann", "lab-1") == "/user/ann/lab-1/"
    assert escape("a/b c") == "a%2Fb%20c"
