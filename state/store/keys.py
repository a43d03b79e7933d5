"""The names of all keys. docs/state.md says what they contain and who writes them.

Owns names and hash tags. Does not know values. Usernames and digests contain no braces (`state.names`).
"""

from typing import Final

USERS_NAMES: Final = "towpath:{users}:names"

GROUPS_NAMES: Final = "towpath:{groups}:names"
SERVICES_ALL: Final = "towpath:{services}:all"

SERVERS_ACTIVE: Final = "towpath:{servers}:active"
SERVERS_MARK: Final = "towpath:{servers}:mark"
SERVERS_WORK: Final = "towpath:{servers}:work"

FEED_EPOCH: Final = "towpath:{feed}:epoch"
FEED_NUMBER: Final = "towpath:{feed}:number"
FEED_ROUTES: Final = "towpath:{feed}:routes"
FEED_LOG: Final = "towpath:{feed}:log"

AUDIT_LOG: Final = "towpath:{audit}:log"
AUDIT_CURSORS: Final = "towpath:{audit}:cursors"

GATEWAYS_AUTHORITY: Final = "towpath:{gateways}:authority"
GATEWAYS_JOINED: Final = "towpath:{gateways}:joined"
GATEWAYS_RENEWED: Final = "towpath:{gateways}:renewed"
GATEWAYS_WORK: Final = "towpath:{gateways}:work"
GATEWAYS_NEWS: Final = "towpath:{gateways}:news"

SSH_WORK: Final = "towpath:{ssh}:work"

HEALTH_PROBLEMS: Final = "towpath:{health}:problems"
EDGE_REPORT: Final = "towpath:{edge}:report"
EDGE_TURN: Final = "towpath:{edge}:turn"

BAD_RECORDS: Final = "towpath:{bad}:records"
BAD_ASIDE: Final = "towpath:{bad}:aside"
IMPORTED_IDS: Final = "towpath:{imported}:ids"
STANDINGS_DUE: Final = "towpath:{standings}:due"
STANDINGS_HELD: Final = "towpath:{standings}:held"

ACTIVITY_OF_USER: Final = "*"
"""The field of a user's own last activity in `activity`. No server can have this name."""


def edge_secret(digest: str) -> str:
    """A secret of the edge's check, with TTL."""
    return f"towpath:{{edge}}:secret:{digest}"


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


def group(name: str) -> str:
    """JSON of the group."""
    return f"towpath:{{g:{name}}}:group"


def members(group_name: str) -> str:
    """Set of the names of a group's members."""
    return f"towpath:{{g:{group_name}}}:members"


def shares(owner: str) -> str:
    """Hash: `SERVER/RECIPIENT` to JSON of a share of the owner's server."""
    return f"towpath:{{u:{owner}}}:shares"


def share_codes(owner: str) -> str:
    """Hash: id of a share code to its digest."""
    return f"towpath:{{u:{owner}}}:share-codes"


def share_code(digest: str) -> str:
    """JSON of a share code, with TTL."""
    return f"towpath:{{c:{digest}}}:share-code"


def shared(recipient: str) -> str:
    """Set of `owner/server` that are shared with a user (by name) or a group (`group:NAME`)."""
    return f"towpath:{{u:{recipient}}}:shared"


def tokens(owner: str) -> str:
    """Hash: token id to digest. `owner`: a user's name, or a service's key."""
    return f"towpath:{{u:{owner}}}:tokens"


def bound(bound_to: str) -> str:
    """Hash: `OWNER/ID` of each token that is revoked with a server (`user/name`) or a service, to `ATTEMPT:DIGEST`."""
    if bound_to.startswith("service:"):
        return f"towpath:{{u:{bound_to}}}:bound"
    user_name, _, name = bound_to.partition("/")
    return f"towpath:{{u:{user_name}}}:bound:{name}"


def sessions(user_name: str) -> str:
    """Hash: session id to digest."""
    return f"towpath:{{u:{user_name}}}:sessions"


def audit(user_name: str) -> str:
    """Stream of what was done to a user."""
    return f"towpath:{{u:{user_name}}}:audit"


def audit_seen(name: str) -> str:
    """Whether something was recorded recently, with TTL."""
    return f"towpath:{{audit}}:seen:{name}"


def auth_state(user_name: str) -> str:
    """What the user's sign-in left for hooks, encrypted."""
    return f"towpath:{{u:{user_name}}}:auth-state"


def standings(user_name: str) -> str:
    """Hash: session id to JSON of what the session is based on."""
    return f"towpath:{{u:{user_name}}}:standings"


def vouched(digest: str) -> str:
    """The user of a provider's own identifier: `USER` or `USER/SESSION`, with TTL."""
    return f"towpath:{{v:{digest}}}:vouched"


def once(digest: str) -> str:
    """Whether something that may occur only once has occurred, with TTL."""
    return f"towpath:{{o:{digest}}}:once"


def entrance(digest: str) -> str:
    """JSON of an entry into another origin, with TTL."""
    return f"towpath:{{e:{digest}}}:entrance"


def imported(prefix: str) -> str:
    """Hash: token id to the salted hash of an imported token with this prefix."""
    return f"towpath:{{imported}}:{prefix}"


def session(digest: str) -> str:
    """JSON of a session, with TTL."""
    return f"towpath:{{s:{digest}}}:session"


def token(digest: str) -> str:
    """JSON of a token, with TTL if it expires."""
    return f"towpath:{{t:{digest}}}:token"


def link(digest: str) -> str:
    """The user of a one-time link, with TTL."""
    return f"towpath:{{l:{digest}}}:link"


def flow(digest: str) -> str:
    """Whether a sign-in at a provider has ended, with TTL."""
    return f"towpath:{{f:{digest}}}:flow"


def flow_key(name: str) -> str:
    """The key that seals the sign-ins of one hour, in hex, with TTL."""
    return f"towpath:{{f:{name}}}:key"


def code(digest: str) -> str:
    """JSON of what an OAuth code was issued for, with TTL."""
    return f"towpath:{{oauth:{digest}}}:code"


def device(digest: str) -> str:
    """JSON of a program that waits for a user's approval, by the digest of the code that the user types, with TTL."""
    return f"towpath:{{device:{digest}}}:sign-in"


def spent(digest: str) -> str:
    """`USER/TOKEN`: the token that an OAuth code was exchanged for, with TTL."""
    return f"towpath:{{oauth:{digest}}}:spent"


def home(cluster: str) -> str:
    """JSON of where the servers of a cluster are stored."""
    return f"towpath:{{home:{cluster}}}:home"


def join_invitation(token_id: str) -> str:
    """A join token's invitation, sealed for controllers, with TTL."""
    return f"towpath:{{join:{token_id}}}:invitation"


def join_request(token_id: str) -> str:
    """The request of a join token's holder, sealed with the token's key, with TTL."""
    return f"towpath:{{join:{token_id}}}:request"


def join_answer(token_id: str) -> str:
    """The controller's answer, sealed with the token's key, with TTL."""
    return f"towpath:{{join:{token_id}}}:answer"


def ssh_pass(attempt: str, gateway_id: str) -> str:
    """JSON of a gateway's pass to an attempt's app by SSH, with TTL."""
    return f"towpath:{{ssh:{attempt}}}:pass:{gateway_id}"


def reverse_holders(attempt: str) -> str:
    """Sorted set: JSON of a worker that holds waiting connections of an attempt, by the time until which, with TTL."""
    return f"towpath:{{reverse:{attempt}}}:holders"


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
    """The fencing token of the leader that wrote the catalog and the grants."""
    return f"towpath:{{catalog:{cluster}}}:fence"


def tries_from(address: str) -> str:
    """Hash: the failed sign-ins from one address (its digest), with TTL."""
    return f"towpath:{{try:a:{address}}}:count"


def tries_at(name: str, place: str = "") -> str:
    """Hash: the failed sign-ins for one name (its digest), with TTL. `place`: only those from one place."""
    return f"towpath:{{try:n:{name}}}:count:{place}"


def familiar(name: str) -> str:
    """Sorted set: the places from which a name (its digest) has signed in, by their expiry."""
    return f"towpath:{{try:n:{name}}}:familiar"


def catalog_request(cluster: str) -> str:
    """Exists while a newer catalog is requested."""
    return f"towpath:{{catalog:{cluster}}}:asked"
