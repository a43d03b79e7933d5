"""The credentials that reach an app whose users sign in through the hub: the decisions, without a store."""

import pytest

from gateway.oauth.hub_apps import HubApps, restricted_token
from state.records.models import Endpoint, Route, Session, Token, User
from state.rights.identity import Identity
from state.store.credentials import digest

ALICE = User(name="alice", created=1.0)
ROUTE = Route(
    prefix="/user/alice/",
    user="alice",
    name="",
    attempt="a" * 32,
    endpoint=Endpoint(kind="unix", path="/x"),
    hub_app=True,
)
APP_TOKEN = Token(id="t1", user="alice", scopes=(), created=1.0, client="jupyterhub-user-alice", session_id="s1")
HOST_TOKEN = Token(id="t2", user="alice", scopes=(), created=1.0, client="towpath-origin-alice", session_id="s1")
API_TOKEN = Token(id="t3", user="alice", scopes=(), created=1.0)
SENT = b"token " + b"x" * 43


class TokensInMemory:
    """A store of tokens in memory."""

    def __init__(self):
        self.tokens = self
        self.kept = {}

    async def keep(self, token, secret_digest, *, limit=0):
        self.kept[secret_digest] = token


def by(token=None, session=None):
    return Identity(ALICE, "d" * 64, frozenset({"access:servers!user=alice"}), token=token, session=session)


def test_the_app_receives_the_public_id_of_a_session():
    session = Session(id="s1", user="alice", created=1.0, expires=2.0)
    assert HubApps(TokensInMemory()).credentials(by(session=session), ROUTE, b"") == (b"", b"jupyterhub-session-id=s1")


def test_the_apps_own_token_is_passed_on_to_this_app_only():
    apps = HubApps(TokensInMemory())
    assert apps.credentials(by(APP_TOKEN), ROUTE, SENT) == (SENT, b"jupyterhub-session-id=s1")
    other = Route(**{**{name: getattr(ROUTE, name) for name in ROUTE.__struct_fields__}, "name": "lab"})
    assert apps.credentials(by(APP_TOKEN), other, SENT) is None


def test_a_token_in_the_cookie_of_a_users_host_is_passed_on_like_a_session():
    assert HubApps(TokensInMemory()).credentials(by(HOST_TOKEN), ROUTE, b"") == (b"", b"jupyterhub-session-id=s1")


def test_another_token_is_replaced_by_a_restricted_one_that_is_stored_again_after_it_has_ended():
    import asyncio

    store = TokensInMemory()
    apps = HubApps(store)
    assert apps.credentials(by(API_TOKEN), ROUTE, SENT) is None
    asyncio.run(apps.prepare(by(API_TOKEN), ROUTE, SENT))
    authorization, cookie = apps.credentials(by(API_TOKEN), ROUTE, SENT)
    secret = authorization.removeprefix(b"token ").decode()
    ((key, token),) = store.kept.items()
    assert key == digest(secret)
    assert (token.under, token.client, cookie) == ("d" * 64, "jupyterhub-user-alice", b"")
    assert SENT not in authorization
    apps.revoked(frozenset({key}), "")
    assert apps.credentials(by(API_TOKEN), ROUTE, SENT) is None


def test_a_restricted_token_is_the_same_on_every_worker_and_differs_by_token_and_client():
    assert (
        restricted_token(SENT, "a")
        == restricted_token(SENT, "a")
        == restricted_token(SENT.replace(b"token", b"Bearer"), "a")
    )
    assert len({restricted_token(SENT, "a"), restricted_token(SENT, "b"), restricted_token(SENT + b"y", "a")}) == 3


@pytest.mark.parametrize("header", [b"", b"token ", b"Basic abc"])
def test_a_header_without_a_bearer_token_has_no_restricted_token(header):
    with pytest.raises(ValueError, match="no bearer token"):
        restricted_token(header, "a")
