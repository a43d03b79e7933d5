"""Decides whether a caller may use a server: for every request, and again for open connections when rights change.

To connect by SSH is another right than to use the app: the first is a shell with all files of the account.

Owns the one rule. Does not know about routes, pages and where rights come from. Pure.

Read-only access (`read:access:servers`, as in a read-only share) permits GET, HEAD and OPTIONS. A
WebSocket can send input to a kernel, so it needs full access.
"""

from typing import Final

from state.names import server_key
from state.rights.identity import Identity
from state.rights.scopes import may

NO_ACCESS: Final = "You have no access to this server."
"""The message is the same whether the server exists or not, so that its existence is not revealed."""


def may_access(identity: Identity, user: str, name: str, *, writing: bool) -> bool:
    """Return whether the caller may use this server. `writing`: with an unsafe method or a WebSocket."""
    if identity.session is not None and identity.is_user(user):
        return True
    scope = "access:servers" if writing else "read:access:servers"
    return may(identity.access, scope, server=server_key(user, name))


def may_connect(identity: Identity, user: str, name: str) -> bool:
    """Return whether the caller may connect to the job by SSH: with a token whose scopes say so.

    A session may not: its cookie is sent by the pages of every app.
    """
    return identity.token is not None and may(identity.access, "connect:servers", server=server_key(user, name))
