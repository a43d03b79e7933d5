"""`towpath token USER`: a new API token, printed alone, so that a script can begin without a browser."""

import argparse
import asyncio
import getpass
import secrets
import time

from gateway.serve import valkey
from portal.tokens import told
from state import names, scopes
from state.audit import Act, Entry
from state.errors import StateUnavailableError, TowpathError
from state.records import Token, User
from state.settings import Settings, load
from state.store.all import Store

LIFETIME_MOST = 100 * 365 * 24 * 3600


def lifetime(raw: str) -> int:
    """Seconds, as an argument. Raises ValueError."""
    seconds = int(raw)
    if not 1 <= seconds <= LIFETIME_MOST:
        raise ValueError
    return seconds


lifetime.__name__ = "number of seconds (1 or more)"


def run(given: argparse.Namespace) -> int:
    """Issue the token and print it."""
    settings = load(given.config, given.data_dir)
    print(asyncio.run(_issue(settings, given)))
    return 0


async def _issue(settings: Settings, given: argparse.Namespace) -> str:
    name = names.user_name(given.user)
    url = settings.redis_url or valkey.url(settings.data_dir)
    try:
        store = await Store.open(url)
    except StateUnavailableError as error:
        raise TowpathError(
            f"The hub's store does not answer ({settings.data_dir}). Is the hub running? Start it with: towpath serve"
        ) from error
    try:
        user = await _user(store, settings, name)
        owned = scopes.of_user(user)
        granted = scopes.narrow(given.scope or ["inherit"], owned, user=user.name)
        now = time.time()
        token = Token(
            id=secrets.token_hex(8),
            user=user.name,
            scopes=tuple(sorted(granted)),
            note=given.note,
            created=now,
            expires=now + given.expires_in if given.expires_in else None,
        )
        secret = await store.tokens.issue(token)
        who, what = getpass.getuser(), told(token)
        await store.audit.note(
            Entry(time=now, act=Act.TOKEN_MADE, who=who, by="command line", user=user.name, what=what)
        )
        return secret
    finally:
        await store.close()


async def _user(store: Store, settings: Settings, name: str) -> User:
    """The user's record; made for a name that the configuration lists. Raises TowpathError for any other."""
    user = await store.users.get(name)
    if user is not None:
        return user
    auth = settings.config.auth
    if auth is not None and name in (*auth.admins, *auth.allowed_users):
        user = User(name=name, admin=name in auth.admins, created=time.time())
        await store.users.add(user)
        return user
    raise TowpathError(f"There is no user {name} on this hub.")
