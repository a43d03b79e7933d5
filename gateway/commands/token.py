"""`towpath token USER`: prints a new API token and nothing else, for scripts that run without a browser."""

import argparse
import asyncio
import secrets
import time
from collections.abc import Sequence

from gateway.serve import valkey
from state import names
from state.account import account_name
from state.errors import StateUnavailableError, TowpathError
from state.records.audit import Act, Entry, describe_token
from state.records.models import Token, User
from state.rights import scopes
from state.rights.roles import Roles
from state.settings.loader import Settings, load
from state.store.all import Store


def run(options: argparse.Namespace) -> int:
    """Issue the token and print it."""
    settings = load(options.config, options.data_dir)
    print(
        asyncio.run(
            issue(settings, options.user, scope=options.scope, expires_in=options.expires_in, note=options.note)
        )
    )
    return 0


async def issue(
    settings: Settings, user: str, *, scope: Sequence[str] = (), expires_in: int | None = None, note: str = ""
) -> str:
    """Issue a token and return its secret.

    `scope`: the token's scopes (empty: all of the user's). `expires_in`: seconds (None: it does not expire). Raises
    TowpathError if the store cannot be reached or the hub has no such user.
    """
    name = names.user_name(user)
    url = settings.redis_url or valkey.url(settings.data_dir)
    try:
        store = await Store.open(url)
    except StateUnavailableError as error:
        raise TowpathError(
            f"Cannot reach the hub's store ({settings.data_dir}). If the hub is not running, run: towpath serve"
        ) from error
    try:
        owner = await _user(store, settings, name)
        owned = Roles.of(settings.config).scopes_of_user(owner)
        granted = scopes.narrow(scope, owned, user=owner.name) if scope else frozenset({"inherit"})
        now = time.time()
        token = Token(
            id=secrets.token_hex(8),
            user=owner.name,
            scopes=tuple(sorted(granted)),
            note=note,
            created=now,
            expires=now + expires_in if expires_in else None,
        )
        secret = await store.tokens.issue(token)
        who, what = account_name(), describe_token(token)
        await store.audit.note(
            Entry(time=now, act=Act.TOKEN_MADE, who=who, by="command line", user=owner.name, what=what)
        )
        return secret
    finally:
        await store.close()


async def _user(store: Store, settings: Settings, name: str) -> User:
    """Return the user.

    A user whom the configuration lists is created if needed. Raises TowpathError for other names.
    """
    user = await store.users.get(name)
    if user is not None:
        return user
    auth = settings.config.auth
    if auth is not None and name in (*auth.admins, *auth.allowed_users):
        listed = name in auth.admins
        from gateway.auth.admission import BY_AUTH  # noqa: PLC0415 - with it come all pages, for a new user alone

        user = User(name=name, admin=listed, admin_by=BY_AUTH if listed else "", created=time.time())
        await store.users.add(user)
        return user
    raise TowpathError(f"There is no user {name} on this hub.")
