"""The names of all keys, one page: docs/state.md says what they hold and who writes them.

Owns: names and hash tags. Refuses to know values. Users' names and digests have no braces (`state.names`).
"""

from typing import Final

USERS_NAMES: Final = "towpath:{users}:names"

SERVERS_ACTIVE: Final = "towpath:{servers}:active"
SERVERS_MARK: Final = "towpath:{servers}:mark"
SERVERS_WORK: Final = "towpath:{servers}:work"

FEED_EPOCH: Final = "towpath:{feed}:epoch"
FEED_NUMBER: Final = "towpath:{feed}:number"
FEED_ROUTES: Final = "towpath:{feed}:routes"
FEED_LOG: Final = "towpath:{feed}:log"

STANDINGS_DUE: Final = "towpath:{standings}:due"
STANDINGS_HELD: Final = "towpath:{standings}:held"

ACTIVITY_OF_USER: Final = "*"
"""The field of a user's own last activity in `activity`; no server can have this name."""


def user(name: str) -> str:
    """JSON of the user."""
    return f"towpath:{{u:{name}}}:user"


def servers(user_name: str) -> str:
    """Hash: server name to JSON."""
    return f"towpath:{{u:{user_name}}}:servers"


def events(user_name: str, name: str) -> str:
    """Stream of a server's events."""
    return f"towpath:{{u:{user_name}}}:events:{name}"


def activity(user_name: str) -> str:
    """Hash: server name (or ACTIVITY_OF_USER) to seconds."""
    return f"towpath:{{u:{user_name}}}:activity"


def tokens(user_name: str) -> str:
    """Hash: token id to digest."""
    return f"towpath:{{u:{user_name}}}:tokens"


def sessions(user_name: str) -> str:
    """Hash: session id to digest."""
    return f"towpath:{{u:{user_name}}}:sessions"


def standings(user_name: str) -> str:
    """Hash: session id to JSON of what the session rests on."""
    return f"towpath:{{u:{user_name}}}:standings"


def vouched(digest: str) -> str:
    """Whom a provider means by a name of its own: `USER` or `USER/SESSION`, with TTL."""
    return f"towpath:{{v:{digest}}}:vouched"


def once(digest: str) -> str:
    """That something was seen which may come once only, with TTL."""
    return f"towpath:{{o:{digest}}}:once"


def session(digest: str) -> str:
    """JSON of a session, with TTL."""
    return f"towpath:{{s:{digest}}}:session"


def token(digest: str) -> str:
    """JSON of a token, with TTL when it expires."""
    return f"towpath:{{t:{digest}}}:token"


def link(digest: str) -> str:
    """A one-time link's user, with TTL."""
    return f"towpath:{{l:{digest}}}:link"


def flow(digest: str) -> str:
    """JSON of a sign-in under way, with TTL."""
    return f"towpath:{{f:{digest}}}:flow"


def lease_holder(name: str) -> str:
    """`FENCE:HOLDER`, with TTL."""
    return f"towpath:{{lease:{name}}}:holder"


def lease_fence(name: str) -> str:
    """The counter of fencing tokens."""
    return f"towpath:{{lease:{name}}}:fence"


def catalog(cluster: str) -> str:
    """JSON of a cluster's catalog."""
    return f"towpath:{{catalog:{cluster}}}:catalog"


def grants(cluster: str) -> str:
    """Hash: user name to JSON of what they may use."""
    return f"towpath:{{catalog:{cluster}}}:grants"


def catalog_fence(cluster: str) -> str:
    """The fencing token of the leader that wrote the two above."""
    return f"towpath:{{catalog:{cluster}}}:fence"
