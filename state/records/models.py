"""The records: users, servers, sessions, tokens, routes and others.

Owns their fields and their serialized form (msgspec JSON). Does not know where they are stored or who reads them. Times
are seconds since the epoch (float, UTC). A record is immutable: change it with `msgspec.structs.replace` and save it
through the store that owns it.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from state.records.stored import Stored


class Status(StrEnum):
    """The status of a server. The table of transitions is `state.records.lifecycle`."""

    REQUESTED = "requested"  # the intent is saved; nothing is submitted yet
    QUEUED = "queued"  # a job exists and waits; without a timeout
    STARTING = "starting"  # the job runs; the app is not ready yet; the start window applies
    READY = "ready"  # the app is ready; a route leads to it
    STOPPING = "stopping"  # a cancellation is in progress
    STOPPED = "stopped"  # ended as requested
    FAILED = "failed"  # ended otherwise: `reason` says why


class Target(StrEnum):
    """The status that the user wants a server to have."""

    READY = "ready"
    STOPPED = "stopped"


class User(Stored, frozen=True, kw_only=True):
    """A user. `last_activity` None: never seen.

    `admin_by` says what made the user an admin, and therefore what revokes it: `auth` (the list in [auth]),
    `provider:NAME` (the rules of that provider), or `""` (another admin, or not an admin). `subjects`: provider → its
    own identifier of the account that this name belongs to (OpenID Connect's `sub`), so that another account that gets
    the name later is not taken for this user.
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
    """A group of users. The members are in the users' own records; `properties` are the site's, in any form."""

    name: str
    properties: dict[str, Any] = field(default_factory=dict)
    revision: int = 0


class Role(Struct, frozen=True, kw_only=True):
    """Scopes with a name, and who has them. `scopes` are as written: `self`, `!user` and similar are not resolved."""

    name: str
    description: str = ""
    scopes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class Service(Stored, frozen=True, kw_only=True):
    """A program that calls the API under its own name, or that users sign in to through the hub, or both.

    `url`: its own address (empty: it only calls the API). `scopes`: in addition to those of its roles.
    `oauth_redirect_uris`: where users may be redirected after sign-in (empty: no sign-in). `oauth_scopes`: the scopes
    that its tokens of users can have; `oauth_no_confirm`: users are not asked to confirm. `display`: whether it is
    shown in the menu. `configured`: it is in the configuration, and cannot be removed with the API. `id`: random, and
    new each time that a service is added with the API, so that what was issued to an earlier service with this name is
    not valid for it.
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
        """The key of its tokens. No user can have this name."""
        return f"service:{self.name}"


class Share(Stored, frozen=True, kw_only=True):
    """What the owner of a server gives to a user or (with `user` empty) a group: `scopes`, each with `!server=`."""

    owner: str
    server: str = ""
    user: str = ""
    group: str = ""
    scopes: tuple[str, ...]
    created: float

    @property
    def key(self) -> str:
        """The recipient: a username, or `group:NAME`."""
        return self.user or f"group:{self.group}"


class ShareCode(Stored, frozen=True, kw_only=True):
    """What a share code gives to users who accept it, until `expires`. `used`: how often it was accepted."""

    id: str
    owner: str
    server: str = ""
    scopes: tuple[str, ...]
    created: float
    expires: float
    used: int = 0
    last_used: float | None = None


class JobRef(Struct, frozen=True, kw_only=True):
    """Identifies a job: the cluster's name and the scheduler's own id (PSI/J: native id)."""

    cluster: str
    native_id: str


class Endpoint(Struct, frozen=True, kw_only=True):
    """How a byte stream to an app is opened.

    `tcp`: host, port. `unix`: path. `tls` (host, port, name): mutual TLS with certificates of the hub's authority. The
    node must prove the name `name`, which contains the attempt's id, so that a report with a wrong address cannot
    redirect the gateway. `ssh-socket` (path, name, server): the app's socket on the host of this attempt of the server
    with the key `server`. Only the controller says which host that is (`state.records.ssh`). `reverse` (name): a
    connection that the node has opened to the hub, and on which it has proven this name.

    `ssh_path`: the socket behind which the job serves SSH as `account`; `""`: it does not. See `state.records.connect`.
    """

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    name: str = ""
    server: str = ""
    ssh_path: str = ""
    account: str = ""


class Reason(Struct, frozen=True, kw_only=True):
    """Why a server has its status.

    `code` is stable and for programs; `message` is for the user; `hint` says what to do; `log_tail` is the end of the
    app's log (text, at most a few KiB), `exit_code` that of the app if there is one. `field`: the kind of option that
    the reason is about (`account`, `gpus`, ...), so that the form can show it there.
    """

    code: str
    message: str
    hint: str = ""
    log_tail: str = ""
    exit_code: int | None = None
    field: str = ""


class Waiting(Struct, frozen=True, kw_only=True):
    """Why a job is still in the queue.

    `code` is the scheduler's own (Slurm: `Resources`, `QOSMaxGRESPerUser`, ...); `message` is a sentence, `hint` what
    to do (may be empty). `start`: when the scheduler expects to start it (seconds since the epoch), None: unknown.
    `position`: place among the jobs that wait for the same partition, 1 is next; None: unknown. `of`: how many jobs
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

    Each start is a new `attempt` (32 hex digits). Its job carries that id, so that a submit can be found again.
    `choices` are the validated choices of the form. `credential` is the value of the Authorization header that the
    gateway sends to the app (`""`: none). `report_hash` is the SHA-256 (hex) of the one-time token with which the
    attempt's starter reports. `deadline` is when the scheduler will end the job. `stale`: the scheduler has not
    answered since the last change. `fence` is the highest fencing token that wrote this record. `waiting`: why it
    waits, while it is requested or queued. `node`: the host that the job runs on, if it has a name. `strip_prefix`,
    `cors_origins`: from the profile at the time of the start. `restart`: how often the scheduler has restarted the job;
    reports of earlier runs are ignored. `notice`: what the job told its user last. `warned`: the last warning
    before the deadline, in minutes (15, 5; 0: none). `token_hash` is the SHA-256 (hex) of the API token of its app
    (`""`: none). `hub_app`: the app is a JupyterHub app, which signs users in through the hub. `note`: a message for
    the user about where it runs, such as that its memory is not limited there.
    `hooked`: which of the site's hooks have run: `begun`, `ready` or `ended` (`""`: none, or the site has none).
    `log`: the path of its app's whole log, where it runs (`""`: unknown).
    `removing`: its removal was requested. It is removed as soon as its job is known to be gone.
    `suspended`: the scheduler has stopped its processes for a while, and the app does not respond.
    `edited`: choices that the controller is to apply while the job waits (`state.records.edits`); None: none.
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
    cors_origins: tuple[str, ...] = ()
    restart: int = 0
    warned: int = 0
    notice: Notice | None = None
    token_hash: str = ""
    hub_app: bool = False
    log: str = ""
    removing: bool = False
    hooked: str = ""
    suspended: bool = False
    edited: dict[str, Any] | None = None
    note: str = ""
    revision: int = 0
    fence: int = 0

    @property
    def active(self) -> bool:
        """Whether a job runs, or is being started or ended."""
        return self.status not in (Status.STOPPED, Status.FAILED)


class Event(Stored, frozen=True, kw_only=True):
    """One line of a server's progress. `progress` is 0 to 100; `id` is that of the stream, empty until stored."""

    attempt: str
    time: float
    status: Status
    message: str
    progress: int
    id: str = ""


class Session(Stored, frozen=True, kw_only=True):
    """A signed-in browser. The cookie contains a ticket; the key of the record is the ticket's SHA-256.

    `id` is public (shown in the API); `expires` is extended while the session is used.
    """

    id: str
    user: str
    created: float
    expires: float
    address: str = ""
    user_agent: str = ""


class Entrance(Stored, frozen=True, kw_only=True):
    """A one-time entry to the origin of `owner`'s servers for `user`, in the session with the digest `under`.

    `state` is the SHA-256 of the cookie of the browser that requested it; `next` is the path that it goes to.
    """

    user: str
    owner: str
    under: str
    session_id: str
    state: str
    next: str


class Flow(Struct, frozen=True, kw_only=True, array_like=True):
    """A sign-in in progress at a provider: what the answer must match. Sealed, it is the `state` parameter itself.

    `browser` is the SHA-256 of the cookie of the browser that began it, `redirect_uri` the URI of the answer.
    """

    provider: str
    browser: str
    nonce: str
    verifier: str
    redirect_uri: str
    created: float
    next: str = ""


class Standing(Stored, frozen=True, kw_only=True):
    """What a session is based on: the account at a provider, and how to ask the provider whether it is still valid.

    `session` is the session's id; `subject` the provider's permanent identifier of the account (`""`: none), `sid` that
    of the session there; `shown` the user's name there. `allowed` and `admin` are the results of its rules. `sealed`
    are its tokens, sealed; `asks`: whether they can be used to ask again. `began` is the time of the sign-in, `checked`
    that of the last answer, `failures` the number of failed checks since.
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
    """An API token of a user or (with `user` empty) a service. Only its SHA-256 is stored.

    `expires` None: never. `scopes` are JupyterHub's.

    A token from OAuth is for one `client` (its id) and one sign-in, whose public id is `session_id`. It is revoked with
    the credential that has the digest `under`. `bound_to` is the server (its key `user/name`) or the service
    (`service:NAME`) that the token was issued to and is revoked with; a server's tokens are revoked with its `attempt`.
    All of these are empty for a token that a user or an admin created.
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
        """Whether this is the token that a server's app was started with."""
        return bool(self.attempt) and not self.client

    @property
    def owner(self) -> str:
        """The owner: a username, or the key of a service."""
        return self.user or f"service:{self.service}"


class DeviceSignIn(Stored, frozen=True, kw_only=True):
    """A program that waits for a user to approve it (RFC 8628).

    `client` is its own name for itself, `address` where it is. `secret` is the SHA-256 of what it proves
    itself with. With `user` it is approved, in the session with the digest `under` and the public id `session_id`.
    """

    client: str
    address: str
    secret: str
    created: float
    user: str = ""
    under: str = ""
    session_id: str = ""


class OAuthCode(Stored, frozen=True, kw_only=True):
    """What an authorization code was issued for (RFC 6749 section 4.1.2): user, client, redirect URI and session.

    `challenge` is PKCE's S256 challenge (RFC 7636); `""`: the client sent none. `issued_to`: the attempt of the server,
    or the id of the service, that was the client at that time: a later one cannot exchange the code.
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
    """A path prefix (see `names.server_path`) and its endpoint, for one attempt of one server.

    `strip`: the app has no base path, so the prefix is removed from requests. `hub_app`: users sign in to it through
    the hub's OAuth, as with jupyterhub-singleuser. `cors_origins`: see `Server`. `job`: the scheduler's id, for logs.
    `connects`: it leads to SSH in place of the app (`state.records.connect`). Such a route is never stored.
    """

    prefix: str
    user: str
    name: str
    attempt: str
    endpoint: Endpoint
    job: str = ""
    credential: str = ""
    strip: bool = False
    hub_app: bool = False
    cors_origins: tuple[str, ...] = ()
    connects: bool = False
