"""The ids of OAuth clients."""

import re

from hypothesis import given
from hypothesis import strategies as st

from state import names
from state.rights import oauth_clients

USERS = st.from_regex(names.USER_NAME, fullmatch=True).filter(lambda name: len(name) <= names.USER_NAME_MAX)
SERVERS = st.one_of(st.just(""), st.from_regex(names.SERVER_NAME, fullmatch=True).filter(lambda name: len(name) <= 30))


def test_an_id_is_jupyterhubs_except_for_dashes_in_usernames():
    assert oauth_clients.of_server("alice", "") == "jupyterhub-user-alice"
    assert oauth_clients.of_server("alice", "lab-2") == "jupyterhub-user-alice-lab-2"
    assert oauth_clients.of_server("al@example.org", "") == "jupyterhub-user-al%40example.org"
    assert oauth_clients.of_server("a-b", "") == "jupyterhub-user-a%2Db"


@given(USERS, SERVERS)
def test_each_id_belongs_to_one_server(user, name):
    client = oauth_clients.of_server(user, name)
    assert oauth_clients.server_of(client) == (user, name)
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+", client), "the id is also the name of a cookie"


@given(st.text(max_size=60))
def test_an_invalid_id_belongs_to_no_server(text):
    for client in (text, oauth_clients.SERVER + text):
        found = oauth_clients.server_of(client)
        assert found is None or oauth_clients.of_server(*found) == client
