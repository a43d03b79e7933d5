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
    """The URL that jobs use to reach the hub. Empty: https://report_host:report_port where that is set, else
    http://host:port."""
    report_host: str = ""
    """Address of a listener for jobs' reports alone, with TLS by the hub's own authority. Empty: `host`."""
    report_port: Port = 0
    """Its port; 0: no such listener. Clusters whose jobs run on other machines need it, or an https internal_url."""
    outage_grace: Annotated[int, Meta(ge=0)] = 600
    """Seconds for which known routes and sessions are served while Redis is away; after that 503."""
    message_limit: Annotated[int, Meta(ge=1024)] = 128 * 1024 * 1024
    """Largest WebSocket message in bytes, either way; more ends the connection with close code 1009."""


class StateConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[state]`: Redis. An empty URL: `towpath serve` starts an embedded Valkey in the data directory.

    URLs: redis://, rediss:// (TLS), unix://; redis+cluster:// for a Redis Cluster, redis+sentinel://HOSTS/MASTER for
    servers under Sentinel (`state.sentinel`); rediss+... for either with TLS.
    """

    redis_url: str = ""
    redis_url_file: str = ""


class ProviderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[auth.provider]]`: a way to sign in. `kind`: `test` (a name without a password; on loopback only)."""

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


class SlurmConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cluster.slurm]`: how the controller speaks to Slurm."""

    client: str = "cli"
    """`cli` (sbatch, squeue, ...), `rest` (slurmrestd) or `pyslurm` (the extra, in a process of its own)."""
    submit_as: str = "setuid"
    """How a job becomes its user's, with `cli`: `setuid` (the controller is root) or `sudo` (deploy/sudoers)."""
    conf: str = ""
    """slurm.conf for the clients (SLURM_CONF); empty: their own default."""
    bin_dir: str = ""
    """Folder of sbatch and its sisters; empty: found on the PATH."""
    rest_url: str = ""
    """slurmrestd: http://host:port, https://host:port or unix:///path."""
    rest_key_file: str = ""
    """Slurm's JWT key (jwt_hs256.key): a token per user is made with it, for a few minutes each."""
    rest_token_file: str = ""
    """Or the token of an operator (SlurmUser or root), who submits for others."""
    rest_user: str = "root"
    """Whose name goes with the operator's token, and asks for all jobs."""
    timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds that one call may take."""
    catalog_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """Partitions, limits and associations that are older (seconds) are asked for anew when somebody looks at them."""
    python: str = "/usr/bin/python3"
    """The interpreter (3.6 or newer) that runs the starter on the nodes."""
    least_uid: Annotated[int, Meta(ge=1000)] = 1000
    """Accounts with a smaller user id are the system's, and have no jobs."""
    node_folder: str = ""
    """Where a job keeps its files, on the node. Empty: `~/.towpath/jobs`."""


class ClusterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[cluster]]`: somewhere jobs run. `kind`: `local` (this machine) or `slurm`."""

    name: Name
    kind: str
    start_window: Annotated[int, Meta(ge=1)] = 300
    """Seconds that a running job has until its app answers. Waiting in a queue has no limit."""
    tick: Annotated[float, Meta(gt=0)] = 1.0
    """The unit of the pauses between looks at all jobs of the cluster, in seconds, and the least of them."""
    slurm: SlurmConfig = SlurmConfig()


class OptionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[profile.option.NAME]`: a field of the form.

    `kind` is text, integer, boolean or choice, which fill in placeholders and nothing else; or what the field asks of
    the scheduler: partition, account, qos, reservation, constraint, gpu (a type), gpus (how many), cores, memory,
    walltime, nodes. Those offer what the cluster's catalog and the person's rights allow, `values` and `maximum` narrow
    it further. `minimum` and `maximum` of memory are in MiB, of walltime in minutes. A kind is there once in a profile.
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
    """`[profile.resources]`: what every job of the profile asks for, where no option asks for it.

    `memory` as `4G` or `512M` per node, `walltime` as `[D-]HH:MM:SS`. `sbatch` holds further options of sbatch by their
    long names, such as `{exclusive = "", licenses = "matlab:1"}`; only those of `batch.slurm.grammar.ALLOWED`.
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
    """Seconds before the walltime's end at which the server's page and log say so; 0: no warning."""
    warning_signal: Annotated[str, Meta(pattern="^[A-Z0-9]*$")] = ""
    """What the app gets then, such as `USR1`, so that it can save. Empty: nothing (Jupyter ends at `TERM`)."""
    sbatch: dict[str, str] = field(default_factory=dict)


class SetupConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[profile.setup]`: what makes the app available on the node, in this order."""

    modules: tuple[str, ...] = ()
    """`module load` these."""
    prologue: str = ""
    """Lines of shell by the admin."""
    conda: str = ""
    """An environment's name or path, activated."""
    venv: str = ""
    """A virtual environment's folder, put in front of the PATH."""
    image: str = ""
    """An Apptainer image (a .sif file), in which the app runs."""
    binds: tuple[str, ...] = ()
    """What of the node the image sees besides home, working folder and the job's own folder."""


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
    strip_prefix: bool = False
    """For an app that knows no base path: the server's path is taken off what it is asked, and put back in front of
    what it redirects to; it is told in X-Forwarded-Prefix."""
    option: dict[str, OptionConfig] = field(default_factory=dict)
    resources: ResourcesConfig = ResourcesConfig()
    setup: SetupConfig = SetupConfig()


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
