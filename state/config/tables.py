"""The configuration as a value: typed and frozen.

Owns the tables and keys of `towpath.toml`, their defaults and their limits. Does not know files or the environment
(`state.settings.loader` reads those), or what the values are used for.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

Port = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9](-?[a-z0-9])*$", max_length=30)]


class GatewayConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[gateway]`: addresses, TLS and limits of the gateway."""

    public_url: str = ""
    """The URL that browsers use, if there is an edge proxy. Empty: http://host:port."""
    host: str = "127.0.0.1"
    port: Port = 8000
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    """Worker processes; 0: one per core, at most 4."""
    user_domain: str = ""
    """The domain under which each user's servers have their own host (alice.DOMAIN). Empty: one host for all."""
    share_on_one_host: bool = False
    """Whether users may share servers without `user_domain` (see `state.config.one_host`)."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose Forwarded and X-Forwarded-* headers are trusted."""
    base_path: str = "/"
    internal_url: str = ""
    """The URL at which jobs reach the hub.

    Empty: https://report_host:report_port if that is set, else http://host:port.
    """
    tls_certificate: str = ""
    """A TLS certificate with its chain (PEM), for a hub without an edge.

    It is reloaded when it changes. Empty: no TLS.
    """
    tls_key: str = ""
    """The certificate's key (PEM). Empty: it is in the same file."""
    tls_host: str = ""
    """The address that the TLS listener and the redirect listen on. Empty: all addresses of the machine."""
    tls_port: Port = 443
    redirect_port: Port = 0
    """The port of plain HTTP that redirects browsers to `public_url`; 0: none. Needs `tls_certificate`."""
    report_host: str = ""
    """Address of a listener for reports of jobs only, with TLS from the hub's own authority. Empty: `host`."""
    report_port: Port = 0
    """Port of the report listener; 0: none.

    Clusters whose jobs run on other machines need it, or an https internal_url.
    """
    peer_host: str = ""
    """Address of this gateway for other gateways, where servers are reached by `way_in = "reverse"`.

    Each worker listens there on a port of its own, with TLS from the hub's own authority. Empty: there is no other
    gateway.
    """
    outage_grace: Annotated[int, Meta(ge=0)] = 600
    """Seconds for which known routes and sessions keep working while Redis is unavailable. After that: 503."""
    message_limit: Annotated[int, Meta(ge=1024)] = 128 * 1024 * 1024
    """Maximum size of a WebSocket message in bytes, in both directions.

    A larger one closes the connection with code 1009.
    """
    progress_timeout: Annotated[int, Meta(ge=1)] = 60
    """Seconds without progress after which a connection is closed, while the hub waits for the client.

    The client may have stopped sending a request's body, or reading a response or a WebSocket.
    """
    connections_per_app: Annotated[int, Meta(ge=1)] = 512
    """Maximum number of concurrent requests to one server or service, per worker process."""
    connections_per_client: Annotated[int, Meta(ge=1)] = 128
    """The same for one user, or for one address that is not signed in. Further requests wait."""
    websockets_per_app: Annotated[int, Meta(ge=1)] = 2048
    """Maximum number of WebSockets to one server or service, per worker process."""
    websockets_per_client: Annotated[int, Meta(ge=1)] = 256
    """The same for one user, or for one address that is not signed in."""
    connections_per_address: Annotated[int, Meta(ge=0)] = 4096
    """Maximum number of connections from one address (IPv6: one /64), per worker process; 0: no limit.

    Connections from trusted_proxies do not count.
    """


class StateConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[state]`: Redis. Without a URL, `towpath serve` starts an embedded Valkey in the data directory.

    URLs: redis://, rediss:// (TLS), unix://; redis+cluster:// for a Redis Cluster, redis+sentinel://HOSTS/MASTER for
    Sentinel (`state.redis.sentinel`); rediss+... for either with TLS.
    """

    redis_url: str = ""
    redis_url_file: str = ""


class ProviderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[auth.provider]]`: an identity provider, and who may sign in with it.

    `kind`: an entry point of `towpath.authenticators` (docs/sign-in.md, docs/plug-ins.md). The names in these lists are
    usernames of the hub, after `strip_domain`, `names` and `prefix` (`gateway.auth.naming`).
    """

    name: Name
    kind: str
    title: str = ""
    """The label of its button."""
    note: str = ""
    """A sentence next to the button."""
    logo: str = ""
    """A logo for the button: an .svg or .png file, which the hub serves."""
    allowed_users: tuple[str, ...] = ()
    allowed_groups: tuple[str, ...] = ()
    allow_all: bool = False
    """Whether every account of the provider may sign in."""
    admins: tuple[str, ...] = ()
    admin_groups: tuple[str, ...] = ()
    strip_domain: str = ""
    """`alice@this.domain` becomes `alice`. Names in other domains stay unchanged."""
    names: dict[str, str] = field(default_factory=dict)
    """Name at the provider → username here, for exceptions from the rules."""
    names_file: str = ""
    """The same in a file, with two names per line."""
    prefix: str = ""
    """Prefix of this provider's usernames here, which keeps them apart from those of other providers."""
    shared_names: bool = False
    """Whether a name belongs to the same user in all providers with this setting."""
    bound_names: bool = True
    """Whether a username stays with the provider's account that had it first (its `sub` or number)."""
    end_tokens: bool = True
    """Whether a user's API tokens are revoked when the provider no longer confirms the account."""
    auth_state: bool = False
    """Whether its tokens and claims are kept for hooks, encrypted with `auth_state_key`."""
    options: Any = None
    """The table `[auth.provider.<kind>]`, as the kind's own Struct (`state.plugins.authenticators`)."""


class ThrottleConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.throttle]`: failed sign-ins that are allowed before users have to wait (docs/sign-in.md)."""

    tries: Annotated[int, Meta(ge=1)] = 5
    """For one name from one address."""
    tries_per_name: Annotated[int, Meta(ge=10)] = 30
    """For one name from all addresses together."""
    tries_per_address: Annotated[int, Meta(ge=1)] = 30
    """From one address for all names together."""


class AuthConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth]`: who may sign in. Without this table, the hub is for the one user of this machine."""

    admins: tuple[str, ...] = ()
    allowed_users: tuple[str, ...] = ()
    allowed_groups: tuple[str, ...] = ()
    provider: tuple[ProviderConfig, ...] = ()
    session_lifetime: Annotated[int, Meta(ge=60)] = 14 * 24 * 3600
    """Seconds after the last use at which a session expires."""
    token_lifetime_max: Annotated[int, Meta(ge=0)] = 0
    """Maximum lifetime of an API token in seconds, also for tokens without an expiry; 0: no limit."""
    throttle: ThrottleConfig = ThrottleConfig()
    auth_state_key: str = ""
    auth_state_key_file: str = ""
    """The key that encrypts what sign-ins leave for hooks: 32 characters or more. Gateways and controllers need it."""


class RoleConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[role]]`: named scopes, and who has them. The roles `user` and `server` apply to every user and server."""

    name: Name
    description: str = ""
    scopes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class ServiceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[service]]`: a program that calls the API under its own name, or that users sign in to through the hub."""

    name: Name
    url: str = ""
    """Its own address. The hub then proxies /services/NAME/ to it. Empty: it only calls the API."""
    api_token_file: str = ""
    """The file with its API token, which is also the secret of its OAuth client: 32 characters or more."""
    admin: bool = False
    """Whether it has full access, like an admin."""
    scopes: tuple[str, ...] = ()
    oauth_redirect_uris: tuple[str, ...] = ()
    """Where users may be redirected after they signed in to it through the hub."""
    oauth_scopes: tuple[str, ...] = ()
    """The scopes that its tokens of users can have, in addition to identifying the user."""
    oauth_no_confirm: bool = False
    """Whether users can sign in to it without confirming."""
    info: dict[str, Any] = field(default_factory=dict)
    display: bool = True
    """Whether it is shown in the menu."""


class AuditConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[audit]`: how long the audit is kept in the store, and where else the leading controller writes it."""

    entries: Annotated[int, Meta(ge=1000, le=1_000_000)] = 200_000
    """Maximum number of entries."""
    days: Annotated[int, Meta(ge=1)] = 365
    """Maximum age of entries."""
    file: str = ""
    """A file to which entries are appended as lines of JSON; empty: none."""
    syslog: str = ""
    """Where entries are sent as RFC 5424 messages: unix:///dev/log or udp://host:514; empty: nowhere."""


class LimitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: how many records of each kind the hub keeps. Requests for more are rejected."""

    users: Annotated[int, Meta(ge=1)] = 100_000
    groups: Annotated[int, Meta(ge=1)] = 5000
    services: Annotated[int, Meta(ge=1)] = 200
    """Services that were added with the API."""
    groups_per_user: Annotated[int, Meta(ge=1)] = 500
    servers_per_user: Annotated[int, Meta(ge=1)] = 100
    """Named servers, running or not."""
    tokens_per_user: Annotated[int, Meta(ge=10)] = 1000
    """API tokens of a user or a service.

    Tokens that apps and services got from a sign-in count too. Of these, the oldest of the same app are revoked.
    """
    sessions_per_user: Annotated[int, Meta(ge=2)] = 100
    """Sessions at the same time. One more ends the oldest."""
    shares_per_user: Annotated[int, Meta(ge=1)] = 1000
    """Shares of one user's servers."""
    share_codes_per_user: Annotated[int, Meta(ge=1)] = 100
    """Valid share codes of one user's servers."""


class ClusterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[cluster]]`: somewhere jobs run. `kind` names a launcher: one of Towpath's own, or a plug-in's."""

    name: Name
    kind: str
    start_window: Annotated[int, Meta(ge=1)] = 300
    """Seconds that the app has to become ready once its job runs. Waiting in the queue has no limit."""
    tick: Annotated[float, Meta(gt=0)] = 1.0
    """Minimum pause between polls of the cluster's jobs, in seconds. Longer pauses are multiples of it."""
    isolation: str = ""
    """`none` accepts that the servers of all users run under the hub's own account.

    Needed for a `local` cluster of a hub with `[auth]`; an error on a cluster that runs servers as their users.
    """
    way_in: str = ""
    """How gateways reach the apps: `unix`, `direct`, `ssh` or `reverse`. Empty: the first that the kind has."""
    direct_ports: str = ""
    """With `direct`: the ports of a node that jobs listen on, such as `40000-40100`. Empty: any free port."""
    options: Any = None
    """The table `[cluster.<kind>]`, as the Struct that the kind describes (`state.plugins.launchers`)."""


class OptionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[profile.option.NAME]`: a field of the form.

    The kinds text, integer, boolean and choice only fill in placeholders. The other kinds are requests to the
    scheduler: partition, account, qos, reservation, constraint, gpu (a type), gpus (how many), cores, memory, walltime,
    nodes. Those offer what the cluster's catalog and the user's associations allow; `values` and `maximum` restrict it
    further. `minimum` and `maximum` are in MiB for memory and in minutes for walltime. A profile has at most one option
    of each of these kinds.
    """

    title: str = ""
    help: str = ""
    kind: str = "text"
    default: Any = None
    minimum: int | None = None
    maximum: int | None = None
    values: tuple[str, ...] = ()
    pattern: str = ""


class ResourcesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[profile.resources]`: what every job of the profile requests, unless an option does.

    `memory` is per node, like `4G` or `512M`; `walltime` is `[D-]HH:MM:SS`. `extra` has further options of the
    cluster's scheduler by its own names, such as `{exclusive = "", licenses = "matlab:1"}` for sbatch. Each kind of
    cluster says which ones it takes.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    reservation: str = ""
    constraint: str = ""
    gpu: str = ""
    gpus: Annotated[int, Meta(ge=0)] | None = None
    cores: Annotated[int, Meta(ge=1)] | None = None
    memory: str = ""
    walltime: str = ""
    nodes: Annotated[int, Meta(ge=1)] | None = None
    signal: Annotated[int, Meta(ge=0)] = 60
    """Seconds before the time limit at which the server's page and log show a warning; 0: no warning."""
    warning_signal: Annotated[str, Meta(pattern="^[A-Z0-9]*$")] = ""
    """The signal that the app gets then, such as `USR1`, so that it can save. Empty: none (Jupyter exits on `TERM`)."""
    extra: dict[str, str] = field(default_factory=dict)


class SetupConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[profile.setup]`: makes the app available on the node, in this order."""

    modules: tuple[str, ...] = ()
    """Modules for `module load`."""
    prologue: str = ""
    """Lines of shell code."""
    conda: str = ""
    """The name or path of an environment, which is activated."""
    venv: str = ""
    """The folder of a virtual environment, which is put first in the PATH."""
    image: str = ""
    """An Apptainer image (a .sif file) in which the app runs."""
    binds: tuple[str, ...] = ()
    """Paths of the node that the image can use, in addition to the home, working and job folders."""


class ProfileConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[profile]]`: an entry of the form.

    `app`: `jupyter` (a Jupyter server; the hub sends its token) or `web` (any web app). `command`: the app's argv, in
    which {socket}, {port}, {base_path}, {base_path_no_slash}, {user} and {option_NAME} are filled in. An app whose
    command contains {socket} gets a unix socket with mode 0600; with {port} it gets a port in its own network
    namespace. Empty: JupyterLab.
    """

    name: Name
    title: str = ""
    description: str = ""
    cluster: str | tuple[str, ...]
    """The cluster that servers run on. With a list, the form has a field for the cluster; the first is the default."""
    app: str = "jupyter"
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    default_path: str = "lab"
    """The path below the server's own that browsers open when it is ready."""
    strip_prefix: bool = False
    """For apps without a base path: the hub removes the server's path from requests and adds it to redirects.

    The app gets it in X-Forwarded-Prefix.
    """
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may send requests to the server with a token (CORS), as `https://host`; `*`: any."""
    shared_node_port: bool = False
    """For commands with {port}: the app listens on a loopback port of the node instead of its own network namespace.

    Every user of the node can then use the app, with the rights of its owner.
    """
    ssh: bool = False
    """Whether users may connect to their running servers by SSH (`towpath connect`), with no port open anywhere.

    That is a shell, files and editors as their own account, also for an app that has no terminal.
    """
    option: dict[str, OptionConfig] = field(default_factory=dict)
    resources: ResourcesConfig = ResourcesConfig()
    setup: SetupConfig = SetupConfig()

    @property
    def clusters(self) -> tuple[str, ...]:
        """The clusters that servers can run on; there is at least one."""
        return (self.cluster,) if isinstance(self.cluster, str) else self.cluster


class HookConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[hook]]`: what the controller runs before a submit, when a server is ready, and after its end.

    `kind`: `executables` (programs in a folder), or a plug-in's (docs/plug-ins.md).
    """

    kind: str
    events: tuple[str, ...] = ("before-submit", "ready", "ended")
    """The events at which it runs."""
    timeout: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """Seconds that one run may take."""
    required: bool = True
    """Whether a server is not started if the hook fails before its submit."""
    auth_state: bool = False
    """Whether it gets what the user's sign-in left (`auth_state` of the provider)."""
    options: Any = None
    """The table `[hook.<kind>]`, as the Struct that the kind describes (`state.plugins.hooks`)."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration. Without `auth`, the hub is for the one user of this machine."""

    gateway: GatewayConfig = GatewayConfig()
    state: StateConfig = StateConfig()
    auth: AuthConfig | None = None
    role: tuple[RoleConfig, ...] = ()
    service: tuple[ServiceConfig, ...] = ()
    audit: AuditConfig = AuditConfig()
    limits: LimitsConfig = LimitsConfig()
    cluster: tuple[ClusterConfig, ...] = (ClusterConfig(name="local", kind="local"),)
    hook: tuple[HookConfig, ...] = ()
    profile: tuple[ProfileConfig, ...] = (
        ProfileConfig(
            name="jupyterlab",
            title="JupyterLab",
            cluster="local",
            description="Notebooks, terminals and files on this machine.",
        ),
    )

    def profile_named(self, name: str) -> ProfileConfig | None:
        """Return the profile with this name, or None; `""` is the first."""
        if name == "":
            return self.profile[0] if self.profile else None
        return next((profile for profile in self.profile if profile.name == name), None)
