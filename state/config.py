"""The configuration as a value: typed, frozen, checked whole.

Owns: the tables and keys of `towpath.toml`, their defaults and limits, and the one message that lists all
faults. Refuses to know files and the environment (`state.settings` reads those) and what the values are for.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

Port = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9](-?[a-z0-9])*$", max_length=30)]


class GatewayConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[gateway]`: the door."""

    public_url: str = ""
    """The URL that browsers use, when an edge proxy stands in front. Empty: http://host:port."""
    host: str = "127.0.0.1"
    port: Port = 8000
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    """Worker processes; 0: one per core, at most 4."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose Forwarded / X-Forwarded-* headers are believed."""
    base_path: str = "/"
    internal_url: str = ""
    """The URL that jobs use to reach the hub. Empty: http://host:port."""
    outage_grace: Annotated[int, Meta(ge=0)] = 600
    """Seconds for which known routes and sessions are served while Redis is away; after that 503."""
    message_limit: Annotated[int, Meta(ge=1024)] = 128 * 1024 * 1024
    """Largest WebSocket message in bytes, either way; more ends the connection with close code 1009."""


class StateConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[state]`: Redis. An empty URL: `towpath serve` starts an embedded Valkey in the data directory.

    URLs: redis://, rediss://, unix://, and redis+cluster:// for a Redis Cluster.
    """

    redis_url: str = ""
    redis_url_file: str = ""


class ProviderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[auth.provider]]`: a way to sign in."""

    name: Name
    kind: str


class AuthConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth]`: who may enter. Without this table the hub is for the one person at this machine."""

    admins: tuple[str, ...] = ()
    allowed_users: tuple[str, ...] = ()
    allowed_groups: tuple[str, ...] = ()
    provider: tuple[ProviderConfig, ...] = ()
    session_lifetime: Annotated[int, Meta(ge=60)] = 14 * 24 * 3600
    """Seconds after the last use at which a session ends."""


class ClusterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[cluster]]`: somewhere jobs run."""

    name: Name
    kind: str
    start_window: Annotated[int, Meta(ge=1)] = 300
    """Seconds that a running job has until its app answers. Waiting in a queue has no limit."""
    tick: Annotated[float, Meta(gt=0)] = 1.0
    """Seconds between two looks at all jobs of the cluster."""


class OptionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[profile.option.NAME]`: a field of the form. `kind`: text, integer, boolean or choice."""

    title: str = ""
    help: str = ""
    kind: str = "text"
    default: Any = None
    minimum: int | None = None
    maximum: int | None = None
    values: tuple[str, ...] = ()
    pattern: str = ""


class ProfileConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[profile]]`: what the form offers.

    `app`: `jupyter` (a Jupyter server; the hub sends its token) or `web` (any web app). `command`: the
    app's argv, where {socket}, {port}, {base_path}, {user} and {option_NAME} are filled in; an app whose
    command names {socket} gets a 0600 unix socket, one that names {port} a free loopback port.
    Empty: JupyterLab.
    """

    name: Name
    title: str = ""
    description: str = ""
    cluster: str
    app: str = "jupyter"
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    default_path: str = "lab"
    """Where a browser is sent under the server's path when it is ready."""
    option: dict[str, OptionConfig] = field(default_factory=dict)


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. `auth` None: the one-machine mode."""

    gateway: GatewayConfig = GatewayConfig()
    state: StateConfig = StateConfig()
    auth: AuthConfig | None = None
    cluster: tuple[ClusterConfig, ...] = (ClusterConfig(name="local", kind="local"),)
    profile: tuple[ProfileConfig, ...] = (
        ProfileConfig(
            name="jupyterlab",
            title="JupyterLab",
            cluster="local",
            description="Notebooks, terminals and files on this machine.",
        ),
    )

    def profile_named(self, name: str) -> ProfileConfig | None:
        """The profile of that name, or None; `""` is the first."""
        if name == "":
            return self.profile[0] if self.profile else None
        return next((profile for profile in self.profile if profile.name == name), None)
