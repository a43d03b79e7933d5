"""The only user in one-machine mode: the Unix account that runs the hub.

Owns the user's name on the hub. Does not know about sessions. Imports nothing slow, because the command line uses it.
"""

from state.errors import NameRuleError
from state.names import user_name


def local_user(account: str) -> str:
    """Return the hub's name for this Unix account: the same name, or `me` if the rules for names do not allow it."""
    try:
        return user_name(account)
    except NameRuleError:
        return "me"
