"""The configuration as a value: typed, frozen, checked whole.

Owns: the tables and keys of `towpath.toml`, their defaults and limits, and the one message that lists all
faults. Refuses to know files and the environment (`state.settings.loader` reads those) and what the values are for.
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
    user_domain: str = ""
    """A domain under which each person's servers have a host of their own (alice.DOMAIN). Empty: one host for all."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose Forwarded / X-Forwarded-* headers are believed."""
    base_path: str = "/"
    internal_url: str = ""
    """The URL that jobs use to reach the hub. Empty: https://report_host:report_port where that is set, else
    http://host:port."""
    tls_certificate: str = ""
    """A TLS certificate with its chain (PEM), for a hub without an edge. Read again when it changes. Empty: no TLS."""
    tls_key: str = ""
    """The certificate's key (PEM). Empty: it is in the same file."""
    tls_host: str = ""
    """The address that the TLS listener and the redirect listen on. Empty: all addresses of the machine."""
    tls_port: Port = 443
    redirect_port: Port = 0
    """The port of plain HTTP that redirects browsers to `public_url`; 0: none. Needs `tls_certificate`."""
    report_host: str = ""
    """Address of a listener for jobs' reports alone, with TLS by the hub's own authority. Empty: `host`."""
    report_port: Port = 0
    """Its port; 0: no such listener. Clusters whose jobs run on other machines need it, or an https internal_url."""
    outage_grace: Annotated[int, Meta(ge=0)] = 600
    """Seconds for which known routes and sessions are served while Redis is away; after that 503."""
    message_limit: Annotated[int, Meta(ge=1024)] = 128 * 1024 * 1024
    """Largest WebSocket message in bytes, either way; more ends the connection with close code 1009."""
    progress_timeout: Annotated[int, Meta(ge=1)] = 60
    """Seconds for which a client may send nothing of a request's body, or read nothing of a response or a WebSocket,
    while the hub waits for it; after that its connection is closed."""
    connections_per_app: Annotated[int, Meta(ge=1)] = 512
    """Most requests that each worker process carries to one server or service at the same time."""
    connections_per_client: Annotated[int, Meta(ge=1)] = 128
    """Most of these for one user, or for one address that is not signed in; more of them wait for each other."""
    websockets_per_app: Annotated[int, Meta(ge=1)] = 2048
    """Most WebSockets that each worker process carries to one server or service."""
    websockets_per_client: Annotated[int, Meta(ge=1)] = 256
    """Most of these for one user, or for one address that is not signed in."""
    connections_per_address: Annotated[int, Meta(ge=0)] = 4096
    """Most connections that each worker process accepts from one address (IPv6: one /64); 0: no limit. Those from
    trusted_proxies are not counted."""


class StateConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[state]`: Redis. An empty URL: `towpath serve` starts an embedded Valkey in the data directory.

    URLs: redis://, rediss:// (TLS), unix://; redis+cluster:// for a Redis Cluster, redis+sentinel://HOSTS/MASTER for
    servers under Sentinel (`state.redis.sentinel`); rediss+... for either with TLS.
    """

    redis_url: str = ""
    redis_url_file: str = ""


class OidcConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.oidc]`: a provider that speaks OpenID Connect or OAuth 2."""

    preset: str = "oidc"
    """`oidc` (Keycloak, Entra ID, Okta and their like), `github`, `gitlab`, `google`, `cilogon`, `globus`, `orcid`."""
    issuer: str = ""
    """Its URL, exactly as its discovery document has it. Empty: the preset's."""
    client_id: str = ""
    client_secret: str = ""
    client_secret_file: str = ""
    client_auth: str = ""
    """How the hub proves itself to it: `basic` or `post`. Empty: as its discovery document says, else `basic`."""
    scopes: tuple[str, ...] = ()
    """Empty: the preset's."""
    name_claim: str = ""
    """The claim that is somebody's name. Empty: the preset's. `email` counts only with `email_verified`."""
    groups_claim: str = ""
    """The claim that lists a user's groups, such as `groups` or `realm_access.roles`. Empty: the preset's, if any.
    Absent from the provider's answer, it means that the user is in no group."""
    groups_separator: Annotated[str, Meta(max_length=3)] = ""
    """What separates groups in a claim that is one text, such as `,`. Empty: such a text is one group."""
    required_claims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Nobody enters, whatever else lets them in, unless each of these claims has one of its values."""
    allowed_claims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Whoever has one of these values in one of these claims may enter."""
    admin_claims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """And is an admin."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Further parameters of the authorization request, such as `prompt` or `acr_values`; an empty one is left away."""
    url: str = ""
    """For github and gitlab: the URL of an installation of one's own. Empty: github.com, gitlab.com."""
    refresh: Annotated[int, Meta(ge=0)] = 300
    """Seconds between two questions whether somebody may still enter; 0: never asked again."""
    holds: Annotated[int, Meta(ge=0)] = 24 * 3600
    """Seconds that a sign-in holds where the provider gives nothing to ask again with; 0: as long as the session."""
    leeway: Annotated[int, Meta(ge=0, le=300)] = 30
    """Seconds by which its clock and ours may differ."""
    timeout: Annotated[float, Meta(gt=0, le=60)] = 10.0
    """Seconds that it may take to answer."""
    ca_file: str = ""
    """The authority that its certificate is of. Empty: those that this machine trusts."""
    proxy: str = ""
    """The HTTP proxy through which it is reached, such as http://proxy.example.edu:3128."""
    sign_out: bool = True
    """Whether signing out of the hub signs out there too."""
    plain_callback: bool | None = None
    """Whether its redirect URI is `/hub/oauth_callback`, as JupyterHub's is, rather than `/hub/oauth_callback/NAME`.
    Left away: yes where it is the only provider of its kind."""


class PamConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.pam]`: accounts of the hub's machine, by PAM."""

    service: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] = "login"
    """The file in /etc/pam.d: its phases auth and account are asked."""
    groups: bool = True
    """Whether the account's Unix groups are the person's groups here."""
    sudo: bool = False
    """Run the helper by sudo (deploy/sudoers/towpath-pam): without root, PAM checks no other account's password."""
    timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds that PAM may take."""
    least_uid: Annotated[int, Meta(ge=1)] = 1000
    """Accounts with a smaller user id are the system's, and do not sign in."""
    refresh: Annotated[int, Meta(ge=0)] = 900
    """Seconds between two looks at the account of somebody who is in; 0: never. Each is a process."""


class LdapConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.ldap]`: a directory (Active Directory, OpenLDAP, 389, FreeIPA).

    Either `user_base`: the person is searched for; or `user_dn`: the name says which entry they are.
    """

    servers: tuple[str, ...] = ()
    """ldaps://HOST[:PORT], or ldap://HOST[:PORT] where TLS begins by StartTLS; asked in this order."""
    tls: str = "verified"
    """`verified`; `unverified`: whoever answers is believed to be the server; `none`: on this machine alone."""
    ca_file: str = ""
    """The authority that the servers' certificates are of. Empty: those that this machine trusts."""
    bind_dn: str = ""
    """As whom the hub searches. Empty: as nobody."""
    bind_password: str = ""
    bind_password_file: str = ""
    user_base: str = ""
    """Below which entry people are, such as ou=people,dc=example,dc=edu."""
    user_filter: str = "(uid={name})"
    """Which entry is meant by a name that was typed. It must be exactly one. For Active Directory:
    (&(objectClass=user)(sAMAccountName={name}))."""
    user_dn: str = ""
    """Instead of a search: uid={name},ou=people,dc=example,dc=edu; or for Active Directory {name}@ad.example.edu."""
    name_attribute: str = "uid"
    """Whose one value is the person's name here. Empty: what they have typed."""
    groups: str = "none"
    """How their groups are found: `search` (by `group_filter`), `member_of` (an attribute of entries), or `none`."""
    group_base: str = ""
    """Below which entry groups count."""
    group_filter: str = "(member={dn})"
    """Which groups somebody is in, by the entry's {dn} or by {name}: (memberUid={name}) for posixGroup."""
    group_name: str = "cn"
    """The attribute that is a group's name here."""
    nested_groups: bool = True
    """Whether members of a group are in the groups that it is a member of."""
    refresh: Annotated[int, Meta(ge=0)] = 300
    """Seconds between two looks at the entry of somebody who is in; 0: never."""
    timeout: Annotated[float, Meta(gt=0, le=60)] = 10.0
    """Seconds that one server may take."""


class HeaderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.header]`: a portal's own proxy in front of the hub says in a header who has signed in there.

    It is believed only when the request comes straight from `gateway.trusted_proxies`, with the secret.
    """

    header: str = "X-Remote-User"
    """Holds the person's name."""
    secret: str = ""
    secret_file: str = ""
    """What the proxy sends too, so that nobody else who can connect from its address is believed."""
    secret_header: str = "X-Towpath-Portal"  # noqa: S105 - its name
    """Holds the secret."""
    groups_header: str = ""
    """Holds the person's groups. Empty: the portal says none."""
    groups_separator: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    sign_out_url: str = ""
    """Where a browser goes after signing out of the hub, to sign out of the portal."""


class ProviderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[auth.provider]]`: a way to sign in, and who may enter by it.

    `kind`: `oidc`, `ldap`, `pam`, `header`, or `test` (a name without a password; on loopback only). Names in these
    lists are the hub's: what the provider says, put through `strip_domain`, `names` and `prefix`
    (`gateway.auth.naming`).
    """

    name: Name
    kind: str
    title: str = ""
    """What its button says."""
    note: str = ""
    """A sentence beside it."""
    logo: str = ""
    """A picture for its button: an .svg or .png file, which the hub serves."""
    allowed_users: tuple[str, ...] = ()
    allowed_groups: tuple[str, ...] = ()
    allow_all: bool = False
    """Whether everybody may enter whom the provider vouches for."""
    admins: tuple[str, ...] = ()
    admin_groups: tuple[str, ...] = ()
    strip_domain: str = ""
    """`alice@this.domain` is `alice`; names of other domains stay whole."""
    names: dict[str, str] = field(default_factory=dict)
    """The provider's name → the hub's, for those for whom no rule does."""
    names_file: str = ""
    """The same in a file: two names a line."""
    prefix: str = ""
    """What its people's names begin with here, so that they are nobody else's."""
    same_people: bool = False
    """Whether its names are the same people as those of the other providers that say so too."""
    bound_names: bool = True
    """Whether a name stays with the account at the provider that had it first (its `sub`, its number)."""
    end_tokens: bool = True
    """Whether the API tokens of somebody end when the provider vouches for them no more."""
    oidc: OidcConfig | None = None
    header: HeaderConfig | None = None
    ldap: LdapConfig | None = None
    pam: PamConfig | None = None


class ThrottleConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.throttle]`: failed sign-ins that cost no waiting, until some are forgotten again (docs/sign-in.md)."""

    tries: Annotated[int, Meta(ge=1)] = 5
    """At one name from one address."""
    tries_per_name: Annotated[int, Meta(ge=10)] = 30
    """At one name from all addresses together."""
    tries_per_address: Annotated[int, Meta(ge=1)] = 30
    """From one address, at all names together."""


class AuthConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth]`: who may enter. Without this table the hub is for the one person at this machine."""

    admins: tuple[str, ...] = ()
    allowed_users: tuple[str, ...] = ()
    allowed_groups: tuple[str, ...] = ()
    provider: tuple[ProviderConfig, ...] = ()
    session_lifetime: Annotated[int, Meta(ge=60)] = 14 * 24 * 3600
    """Seconds after the last use at which a session ends."""
    token_lifetime_max: Annotated[int, Meta(ge=0)] = 0
    """Seconds that an API token may live at most; one without an expiry gets this. 0: no limit."""
    throttle: ThrottleConfig = ThrottleConfig()


class RoleConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[role]]`: scopes by a name, and who has them. `user` and `server` change what every user and server has."""

    name: Name
    description: str = ""
    scopes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class ServiceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[service]]`: a program that calls the API in its own name, or signs people in by the hub."""

    name: Name
    url: str = ""
    """Where it answers: then it is reached at /services/NAME/. Empty: it only calls."""
    api_token_file: str = ""
    """The file with its API token, which is also its OAuth client's secret: 32 characters or more."""
    admin: bool = False
    """Whether it may do all that an admin may."""
    scopes: tuple[str, ...] = ()
    oauth_redirect_uris: tuple[str, ...] = ()
    """Where people may be sent back to after they have signed in to it by the hub."""
    oauth_scopes: tuple[str, ...] = ()
    """What the tokens that it gets of people may hold at most, beside who they are."""
    oauth_no_confirm: bool = False
    """People are not asked whether they want to sign in to it."""
    info: dict[str, Any] = field(default_factory=dict)
    display: bool = True
    """Whether people see it in a menu."""


class AuditConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[audit]`: how long what people did is kept in the store, and where else the leading controller writes it."""

    entries: Annotated[int, Meta(ge=1000, le=1_000_000)] = 200_000
    """How many are kept at most."""
    days: Annotated[int, Meta(ge=1)] = 365
    """How long they are kept at most."""
    file: str = ""
    """A file to which each is appended as a line of JSON; empty: none."""
    syslog: str = ""
    """Where each is sent as an RFC 5424 message: unix:///dev/log or udp://host:514; empty: nowhere."""


class LimitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: how much of each the hub keeps. One more is refused with a sentence; what is there stays."""

    users: Annotated[int, Meta(ge=1)] = 100_000
    groups: Annotated[int, Meta(ge=1)] = 5000
    services: Annotated[int, Meta(ge=1)] = 200
    """Those that were added by the API."""
    groups_per_user: Annotated[int, Meta(ge=1)] = 500
    servers_per_user: Annotated[int, Meta(ge=1)] = 100
    """Named servers, running or not."""
    tokens_per_user: Annotated[int, Meta(ge=10)] = 1000
    """API tokens of a user, or of a service. Those that apps and services got by a sign-in count, too: of these the
    oldest of the same app end."""
    sessions_per_user: Annotated[int, Meta(ge=2)] = 100
    """Browsers that are signed in at once: with one more the oldest session ends."""
    shares_per_user: Annotated[int, Meta(ge=1)] = 1000
    """Shares of one user's servers."""
    share_codes_per_user: Annotated[int, Meta(ge=1)] = 100
    """Links to share one user's servers that have not ended."""


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


class SshHostConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[cluster.ssh.host]]`: a machine of the pool."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=253)]
    """Its name, as known_hosts and users have it."""
    address: str = ""
    """Where the hub connects. Empty: its name."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 22
    max_servers: Annotated[int, Meta(ge=0)] = 0
    """How many servers may run on it at once; 0: no limit."""


class SshConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cluster.ssh]`: hosts without a scheduler."""

    host: tuple[SshHostConfig, ...] = ()
    known_hosts: tuple[str, ...] = ("/etc/ssh/ssh_known_hosts",)
    """Files with the host keys or host authorities (`@cert-authority`) that are trusted. No other host is."""
    credentials: str = "certificate"
    """How the hub logs in: `certificate` (of its own SSH authority), `command`, `key` or `agent`."""
    certificate_command: tuple[str, ...] = ()
    """With `command`: a program and its arguments. It gets a public key on standard input and prints a certificate."""
    certificate_seconds: Annotated[int, Meta(ge=30, le=86400)] = 300
    """For how long a certificate can be used to log in. Connections outlive it."""
    key_file: str = ""
    """With `key`: a private key that all accounts accept (0600)."""
    agent_socket: str = ""
    """With `agent`: the socket of an SSH agent."""
    monitor_user: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_.-]*$", max_length=32)] = "towpath"
    """The account by which the hub looks at load and processes. It needs no rights and no home."""
    min_uid: Annotated[int, Meta(ge=1)] = 1000
    """Accounts with a smaller user id are the system's, and have no servers."""
    servers_per_user: Annotated[int, Meta(ge=0)] = 0
    """How many servers of one user may run on the pool at once; 0: no limit."""
    way_in: str = "direct"
    """How gateways reach an app: `direct` (mutual TLS to the starter, on a port of the host)."""
    python: str = "/usr/bin/python3"
    """The interpreter (3.6 or newer) on the hosts."""
    folder: str = "~/.towpath"
    """Where a job keeps its files, on the host."""
    timeout: Annotated[float, Meta(gt=0, le=300)] = 20.0
    """Seconds that connecting, and each command, may take."""


class ClusterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[cluster]]`: somewhere jobs run. `kind`: `local` (this machine), `slurm` or `ssh`."""

    name: Name
    kind: str
    start_window: Annotated[int, Meta(ge=1)] = 300
    """Seconds that a running job has until its app answers. Waiting in a queue has no limit."""
    tick: Annotated[float, Meta(gt=0)] = 1.0
    """The unit of the pauses between looks at all jobs of the cluster, in seconds, and the least of them."""
    isolation: str = ""
    """`none` accepts that the servers of all users run under the hub's own account. Needed on a `local` cluster of a
    hub with `[auth]`, refused on a cluster that runs servers as their users."""
    slurm: SlurmConfig = SlurmConfig()
    ssh: SshConfig = SshConfig()


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
    long names, such as `{exclusive = "", licenses = "matlab:1"}`; only those of
    `batch.launchers.slurm.grammar.ALLOWED`.
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
    app's argv, where {socket}, {port}, {base_path}, {base_path_no_slash}, {user} and {option_NAME} are filled in. An
    app whose command names {socket} gets a 0600 unix socket; one that names {port} gets a port in a network of its own.
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
    shared_node_port: bool = False
    """For an app whose command names {port}: it listens on a loopback port of the node, without a network of its own.
    Every user of the node can open the app there, with all that its user may do in it."""
    option: dict[str, OptionConfig] = field(default_factory=dict)
    resources: ResourcesConfig = ResourcesConfig()
    setup: SetupConfig = SetupConfig()


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. `auth` None: the one-machine mode."""

    gateway: GatewayConfig = GatewayConfig()
    state: StateConfig = StateConfig()
    auth: AuthConfig | None = None
    role: tuple[RoleConfig, ...] = ()
    service: tuple[ServiceConfig, ...] = ()
    audit: AuditConfig = AuditConfig()
    limits: LimitsConfig = LimitsConfig()
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
