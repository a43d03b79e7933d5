"""The records: what a user, a server, a session, a token and a route are.

Owns: their fields and their wire form (msgspec JSON). Refuses to know where they are stored and who reads
them. Times are seconds since the epoch (float, UTC). A record is immutable: change it with
`msgspec.structs.replace` and save it through the store that owns it.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from state.records.stored import Stored


class Status(StrEnum):
    """Where a server stands. The table of transitions is `state.records.lifecycle`."""

    REQUESTED = "requested"  # the intent is written; nothing is submitted yet
    QUEUED = "queued"  # a job exists and waits; there is no time-out here
    STARTING = "starting"  # the job runs; the app does not answer yet; the start window runs
    READY = "ready"  # the app answered; a route leads to it
    STOPPING = "stopping"  # the cancel is on its way
    STOPPED = "stopped"  # ended as somebody wished
    FAILED = "failed"  # ended otherwise: `reason` says why


class Target(StrEnum):
    """What somebody wants a server to be."""

    READY = "ready"
    STOPPED = "stopped"


class User(Stored, frozen=True, kw_only=True):
    """Who someone is. `last_activity` None: never seen.

    `admin_by` says what made the user an admin, and therefore what takes the right away again: `auth` (the list in
    [auth]), `provider:NAME` (that provider's rules), or `""` (another admin, or nobody).
    `subjects`: provider → its own name for the account that this name belongs to (OpenID Connect's `sub`), so that
    another account that gets the name later is not taken for this user.
    """

    name: str
    admin: bool = False
    admin_by: str = ""
    groups: tuple[str, ...] = ()
    created: float
    last_activity: float | None = None
    subjects: dict[str, str] = field(default_factory=dict)
    revision: int = 0


class Group(Stored, frozen=True, kw_only=True):
    """A group of users. Who is in it stands in the users' own records; `properties` are the site's, of any shape."""

    name: str
    properties: dict[str, Any] = field(default_factory=dict)
    revision: int = 0


class Role(Struct, frozen=True, kw_only=True):
    """Scopes by a name, and who has them. `scopes` as written: `self`, `!user` and the like are not resolved."""

    name: str
    description: str = ""
    scopes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class Service(Stored, frozen=True, kw_only=True):
    """A program that calls the API in its own name, or signs people in by the hub, or both.

    `url`: where it answers (empty: it only calls). `scopes`: what it may do, beside its roles. `oauth_redirect_uris`:
    where people may be sent back to (empty: it signs nobody in); `oauth_scopes`: what the tokens that it gets of them
    may hold at most; `oauth_no_confirm`: people are not asked. `display`: whether people see it in a menu.
    `configured`: it stands in the configuration, and is not the API's to remove. `id`: random, new each time that a
    service is added by the API, so that what was issued to an earlier service of this name is not taken for this one's.
    """

    name: str
    url: str = ""
    admin: bool = False
    scopes: tuple[str, ...] = ()
    oauth_redirect_uris: tuple[str, ...] = ()
    oauth_scopes: tuple[str, ...] = ()
    oauth_no_confirm: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    display: bool = True
    configured: bool = False
    id: str = ""

    @property
    def key(self) -> str:
        """Its name among those who own tokens; no user can have it."""
        return f"service:{self.name}"


class Share(Stored, frozen=True, kw_only=True):
    """What the owner of a server gives to a user or (`user` empty) a group: `scopes`, each with `!server=`."""

    owner: str
    server: str = ""
    user: str = ""
    group: str = ""
    scopes: tuple[str, ...]
    created: float

    @property
    def key(self) -> str:
        """Whom it is for: a user's name, or `group:NAME`."""
        return self.user or f"group:{self.group}"


class ShareCode(Stored, frozen=True, kw_only=True):
    """What whoever brings the code is given, until `expires`. `used`: how often it was turned into a share."""

    id: str
    owner: str
    server: str = ""
    scopes: tuple[str, ...]
    created: float
    expires: float
    used: int = 0
    last_used: float | None = None


class JobRef(Struct, frozen=True, kw_only=True):
    """Where a job is to be found: the cluster's name and the scheduler's own id (PSI/J: native id)."""

    cluster: str
    native_id: str


class Endpoint(Struct, frozen=True, kw_only=True):
    """How a byte stream is opened to an app: `tcp` (host, port), `unix` (path), or `tls` (host, port, name).

    `tls`: mutual TLS with certificates of the hub's authority. The node must prove to be `name`, which holds the
    attempt's id, so that whoever reports another's address leads the gateway nowhere.
    """

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    name: str = ""


class Reason(Struct, frozen=True, kw_only=True):
    """Why a server is as it is, in plain words.

    `code` is stable and for programs; `message` a sentence for the user; `hint` what to do; `log_tail` the
    end of the app's log (text, at most a few KiB), `exit_code` the app's where there is one. `field`: the kind of
    option that it is about (`account`, `gpus`, ...), so that the form can say it there.
    """

    code: str
    message: str
    hint: str = ""
    log_tail: str = ""
    exit_code: int | None = None
    field: str = ""


class Waiting(Struct, frozen=True, kw_only=True):
    """Why a job is still in the queue, in plain words.

    `code` is the scheduler's own word (Slurm: `Resources`, `QOSMaxGRESPerUser`, ...); `message` a sentence, `hint` what
    to do (may be empty). `start`: when the scheduler expects to start it (seconds since the epoch), None: it does not
    say. `position`: place among the jobs that wait for the same partition, 1 is next; None: not known. `of`: how many
    wait there.
    """

    code: str
    message: str
    hint: str = ""
    start: float | None = None
    position: int | None = None
    of: int | None = None


class Notice(Struct, frozen=True, kw_only=True):
    """Something that the user of a running server should know. `message` is a sentence, `code` is for programs."""

    code: str
    message: str
    time: float


class Server(Stored, frozen=True, kw_only=True):
    """One app of one user, running or not. Key: `user/name`; the default server's name is `""`.

    Each start is a new `attempt` (32 hex digits): it names the job, so that a submit can be found again.
    `choices` are the validated picks of the form. `credential` is the value of the Authorization header that
    the gateway sends to the app (`""`: none). `report_hash` is the SHA-256 (hex) of the one-time token with
    which the attempt's starter reports. `deadline` is when the scheduler will end it. `stale`: the scheduler
    has not answered since the last change. `fence` is the highest fencing token that wrote this record.
    `waiting`: why it waits, while it is requested or queued. `node`: the host that the job runs on, if it has a name.
    `strip_prefix`: as the profile said when it was started.
    `restart`: how often the scheduler has run the job again; the word of an earlier run is not believed.
    `warned`: how many minutes before its deadline somebody was last told of it (15, 5; 0: not yet).
    `notice`: the last thing that its job told its user.
    `token_hash` is the SHA-256 (hex) of the API token that its app has, where that is JupyterHub's own (`""`: none).
    `note`: a sentence on where it runs that its user should know, such as that nothing limits its memory there.
    `removing`: its removal was requested. It is removed as soon as its job is known to be gone.
    """

    user: str
    name: str = ""
    display_name: str = ""
    target: Target
    status: Status
    attempt: str
    profile: str
    cluster: str
    choices: dict[str, Any] = field(default_factory=dict)
    job: JobRef | None = None
    endpoint: Endpoint | None = None
    credential: str = ""
    report_hash: str = ""
    reason: Reason | None = None
    requested: float
    running: float | None = None
    ready: float | None = None
    ended: float | None = None
    deadline: float | None = None
    stale: bool = False
    waiting: Waiting | None = None
    node: str = ""
    strip_prefix: bool = False
    restart: int = 0
    warned: int = 0
    notice: Notice | None = None
    token_hash: str = ""
    removing: bool = False
    note: str = ""
    revision: int = 0
    fence: int = 0

    @property
    def active(self) -> bool:
        """Whether anything runs, or is on its way to run or to end."""
        return self.status not in (Status.STOPPED, Status.FAILED)


class Event(Stored, frozen=True, kw_only=True):
    """One line of a server's progress. `progress` is 0 to 100; `id` is the stream's, empty until stored."""

    attempt: str
    time: float
    status: Status
    message: str
    progress: int
    id: str = ""


class Session(Stored, frozen=True, kw_only=True):
    """A signed-in browser. The cookie holds a ticket; the key of the record is the ticket's SHA-256.

    `id` is public (shown in the API); `expires` slides while the session is used.
    """

    id: str
    user: str
    created: float
    expires: float
    address: str = ""
    user_agent: str = ""


class Entrance(Stored, frozen=True, kw_only=True):
    """A way into the origin of `owner`'s servers for `user`, of the session with the digest `under`.

    `state` is the SHA-256 of the cookie of the browser that asked; `next` the path that it goes to.
    """

    user: str
    owner: str
    under: str
    session_id: str
    state: str
    next: str


class Flow(Struct, frozen=True, kw_only=True, array_like=True):
    """A sign-in that is under way at a provider: what the answer must match. Sealed, it is the `state` itself.

    `browser` is the SHA-256 of the cookie of the browser that began it, `redirect_uri` where the answer must come in.
    """

    provider: str
    browser: str
    nonce: str
    verifier: str
    redirect_uri: str
    created: float
    next: str = ""


class Standing(Stored, frozen=True, kw_only=True):
    """What a session rests on: whom a provider vouched for, and what to ask it with whether it still does.

    `session` is the session's id; `subject` the provider's own name for the account, which never changes (`""`: it has
    none), `sid` its name for the session there; `shown` what it calls the person. `allowed` and `admin` are what its
    rules made of it. `sealed` holds its tokens, sealed; `asks`: whether it can be asked again with them. `began` is the
    sign-in, `checked` the last answer, `failures` how often there was none since.
    """

    user: str
    session: str
    provider: str
    subject: str = ""
    sid: str = ""
    shown: str = ""
    allowed: bool = False
    admin: bool = False
    sealed: str = ""
    asks: bool = False
    began: float
    checked: float
    failures: int = 0


class Token(Stored, frozen=True, kw_only=True):
    """An API credential of a user's or (`user` empty) a service's. Only its SHA-256 is stored.

    `expires` None: never. `scopes` are JupyterHub's.

    A token that was issued by OAuth is for one `client` (its id) and one sign-in, whose public id is `session_id`. It
    ends with the credential that has the digest `under`. `bound_to` is the server (its key `user/name`) or the service
    (`service:NAME`) that the token was issued to and ends with; a server's tokens end with its `attempt`. All of these
    are empty for a token that a user or an admin created.
    """

    id: str
    user: str = ""
    service: str = ""
    scopes: tuple[str, ...]
    note: str = ""
    created: float
    expires: float | None = None
    last_activity: float | None = None
    client: str = ""
    under: str = ""
    session_id: str = ""
    bound_to: str = ""
    attempt: str = ""

    @property
    def of_app(self) -> bool:
        """Whether this is a server's own token, which its app was started with."""
        return bool(self.attempt) and not self.client

    @property
    def owner(self) -> str:
        """Whose it is: a user's name, or a service's key."""
        return self.user or f"service:{self.service}"


class OAuthCode(Stored, frozen=True, kw_only=True):
    """What an authorisation code stands for (RFC 6749 section 4.1.2): who, for which client, where to, which session.

    `challenge` is PKCE's, by S256 (RFC 7636); `""`: the client sent none. `issued_to`: the attempt of the server, or
    the id of the service, that the client was at that moment: a later one cannot exchange the code.
    """

    client: str
    redirect_uri: str
    user: str
    scopes: tuple[str, ...]
    challenge: str
    session: str
    session_id: str
    issued_to: str = ""


class Route(Stored, frozen=True, kw_only=True):
    """A path prefix (see `names.server_path`) and where it leads, for one attempt of one server.

    `strip`: the app knows no base path, so the prefix is taken off on the way to it. `hub_app`: it signs people in
    by the hub's OAuth, as jupyterhub-singleuser does.
    """

    prefix: str
    user: str
    name: str
    attempt: str
    endpoint: Endpoint
    credential: str = ""
    strip: bool = False
    hub_app: bool = False
