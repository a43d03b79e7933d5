"""May this caller reach that server? For every request at the door, and again for what is open when rights change.

Owns: the one rule. Refuses to know routes, pages and where rights come from. Pure.

Who may only look (`read:access:servers`, as a read-only share gives it) reaches a server by GET, HEAD and OPTIONS; a
WebSocket carries keystrokes to a kernel, and is more than looking.
"""

from typing import Final

from state.names import server_key
from state.rights.identity import Identity
from state.rights.scopes import may

NO_ACCESS: Final = "You have no access to this server."
"""The same whether or not there is such a server: who runs what is nobody else's business."""


def may_access(identity: Identity, user: str, name: str, *, writing: bool) -> bool:
    """Whether the caller may reach this server. `writing`: by an unsafe method, or by a WebSocket."""
    if identity.session is not None and identity.is_user(user):
        return True
    scope = "access:servers" if writing else "read:access:servers"
    return may(identity.access, scope, server=server_key(user, name))
