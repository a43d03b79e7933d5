"""The one person of the one-machine mode, by the Unix account that runs the hub.

Owns: what the hub calls them. Refuses to know sessions, and imports nothing that a command line would have to wait for.
"""

from state.errors import NameRuleError
from state.names import user_name


def local_user(account: str) -> str:
    """The hub's name for the Unix account that runs it: itself, or `me` when the name rules do not allow it."""
    try:
        return user_name(account)
    except NameRuleError:
        return "me"
