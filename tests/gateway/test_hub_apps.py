"""What an app that signs people in by the hub is told of who asks: the decisions, without a store."""

import pytest

from gateway.oauth.hub_apps import HubApps, stand_in
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
OF_THE_APP = Token(id="t1", user="alice", scopes=(), created=1.0, client="jupyterhub-user-alice", session_id="s1")
OF_A_HOST = Token(id="t2", user="alice", scopes=(), created=1.0, client="towpath-origin-alice", session_id="s1")
MADE = Token(id="t3", user="alice", scopes=(), created=1.0)
SENT = b"token " + b"x" * 43


class Kept:
    """A store that remembers what it was given."""

    def __init__(self):
        self.tokens = self
        self.kept = {}

    async def keep(self, token, secret_digest):
        self.kept[secret_digest] = token


def by(token=None, session=None):
    return Identity(ALICE, "d" * 64, frozenset({"access:servers!user=alice"}), token=token, session=session)


def test_of_a_session_its_public_id_is_told():
    session = Session(id="s1", user="alice", created=1.0, expires=2.0)
    assert HubApps(Kept()).told(by(session=session), ROUTE, b"") == (b"", b"jupyterhub-session-id=s1")


def test_the_apps_own_token_goes_to_it_and_no_further():
    apps = HubApps(Kept())
    assert apps.told(by(OF_THE_APP), ROUTE, SENT) == (SENT, b"jupyterhub-session-id=s1")
    other = Route(**{**{name: getattr(ROUTE, name) for name in ROUTE.__struct_fields__}, "name": "lab"})
    assert apps.told(by(OF_THE_APP), other, SENT) is None


def test_a_token_in_the_cookie_of_a_persons_host_is_told_as_a_session_is():
    assert HubApps(Kept()).told(by(OF_A_HOST), ROUTE, b"") == (b"", b"jupyterhub-session-id=s1")


def test_for_another_token_there_is_a_stand_in_that_is_stored_first_and_again_when_it_was_ended():
    import asyncio

    store = Kept()
    apps = HubApps(store)
    assert apps.told(by(MADE), ROUTE, SENT) is None
    asyncio.run(apps.prepare(by(MADE), ROUTE, SENT))
    authorization, cookie = apps.told(by(MADE), ROUTE, SENT)
    secret = authorization.removeprefix(b"token ").decode()
    ((key, token),) = store.kept.items()
    assert key == digest(secret)
    assert (token.under, token.client, cookie) == ("d" * 64, "jupyterhub-user-alice", b"")
    assert SENT not in authorization
    apps.revoked(frozenset({key}), "")
    assert apps.told(by(MADE), ROUTE, SENT) is None


def test_a_stand_in_is_of_one_token_and_for_one_client_the_same_on_every_worker():
    assert stand_in(SENT, "a") == stand_in(SENT, "a") == stand_in(SENT.replace(b"token", b"Bearer"), "a")
    assert len({stand_in(SENT, "a"), stand_in(SENT, "b"), stand_in(SENT + b"y", "a")}) == 3


@pytest.mark.parametrize("nothing", [b"", b"token ", b"Basic abc"])
def test_there_is_no_stand_in_of_nothing(nothing):
    with pytest.raises(ValueError, match="for a token"):
        stand_in(nothing, "a")
