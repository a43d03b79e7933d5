"""Settings: where they are read from, which takes precedence, and that all errors are reported at once."""

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.config.tables import ClusterConfig, Config, ProfileConfig
from state.errors import ConfigError
from state.offer.app_ports import gets_socket_options, listens_on_port, shares_port
from state.plugins.launchers import kind_of, needs_certificates, without_isolation
from state.settings.checks import checked
from state.settings.loader import load

SHIPPED = Path(__file__).resolve().parents[2] / "gateway" / "commands" / "towpath.toml"

BAD = """
[gateway]
prot = 8000
port = "x"
base_path = "hub"
trusted_proxies = ["10.0.0.0/8", "proxy"]
[auth]
admins = ["Root"]
[[auth.provider]]
name = "g"
kind = "github"
[[cluster]]
name = "a"
kind = "lsf"
[[cluster]]
name = "a"
kind = "local"
tick = 0
[[profile]]
name = "p"
cluster = "b"
command = ["x", "{sokket}", "{"]
[profile.option.n]
kind = "integer"
minimum = 3
default = 1
[profile.option.m]
kind = "colour"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(folder, text="", **environment):
    path = folder / "towpath.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(None, folder / "data", environment=environment)
    return {fault.key: fault for fault in caught.value.faults}, str(caught.value)


def test_without_a_file_the_one_machine_mode_is_used(folder):
    found = load(None, folder / "data", environment={})
    if not Path("/etc/towpath/towpath.toml").exists():
        assert found.config_path is None
        assert found.config == Config()
    assert found.redis_url == ""


def test_the_file_of_the_argument_takes_precedence(folder):
    (folder / "towpath.toml").write_text("gateway.port = 1\n")
    (folder / "other.toml").write_text("gateway.port = 2\n")
    assert load(None, folder / "data", environment={}).config.gateway.port == 1
    found = load("other.toml", folder / "data", environment={})
    assert (found.config.gateway.port, found.config_path) == (2, folder / "other.toml")


def test_the_environment_overrides_scalar_keys_and_errors_name_the_variable(folder):
    (folder / "towpath.toml").write_text("[gateway]\nport = 1\nworkers = 2\n")
    given_ = {"TOWPATH_GATEWAY_PORT": "9", "TOWPATH_STATE_REDIS_URL": "unix:///x", "TOWPATH_OTHER": "1", "PATH": "/"}
    found = load(None, folder / "data", environment=given_)
    assert (found.config.gateway.port, found.config.gateway.workers, found.redis_url) == (9, 2, "unix:///x")
    assert found.environment == given_
    by_key, text = faults(folder, TOWPATH_GATEWAY_PORT="nine", TOWPATH_GATEWAY_PROT="1")
    assert set(by_key) == {"gateway.port", "gateway.prot"}
    assert "environment variable TOWPATH_GATEWAY_PORT" in text


def test_the_data_directory_is_created_for_its_owner_only(folder):
    (folder / "towpath.toml").write_text("")
    given_ = {"TOWPATH_DATA_DIR": str(folder / "b"), "XDG_STATE_HOME": str(folder / "c")}
    assert load(None, folder / "a", environment=given_).data_dir == folder / "a"
    assert load(None, None, environment=given_).data_dir == folder / "b"
    del given_["TOWPATH_DATA_DIR"]
    made = load(None, None, environment=given_).data_dir
    assert made == folder / "c" / "towpath"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    (folder / "file").write_text("")
    with pytest.raises(ConfigError, match="data directory"):
        load(None, folder / "file" / "x", environment={})


def test_a_secret_can_be_in_a_file_next_to_the_configuration(folder):
    (folder / "towpath.toml").write_text('[state]\nredis_url_file = "url"\n')
    (folder / "url").write_text("redis://:secret@127.0.0.1/\n")
    assert load(None, folder / "data", environment={}).redis_url == "redis://:secret@127.0.0.1/"
    nearer = {"TOWPATH_STATE_REDIS_URL": "unix:///x"}
    assert load(None, folder / "data", environment=nearer).redis_url == "unix:///x"
    by_key, _ = faults(folder, '[state]\nredis_url_file = "none"\n')
    assert set(by_key) == {"state.redis_url_file"}
    (folder / "url").write_text("http://x\n")
    by_key, text = faults(folder, '[state]\nredis_url_file = "url"\n')
    assert set(by_key) == {"state.redis_url_file"}
    assert "http://x" not in text


@pytest.mark.parametrize(
    ("text", "key", "new"),
    [
        ("[auth.provider.oidc]\nholds = 60\n", "auth.provider[1].oidc.holds", "max_session_age"),
        (
            "[[auth.provider]]\nname = 'q'\nkind = 'pam'\n[auth.provider.pam]\nleast_uid = 1000\n",
            "auth.provider[2].pam.least_uid",
            "min_uid",
        ),
        ("same_people = true\n", "auth.provider[1].same_people", "shared_names"),
        (
            "[[cluster]]\nname = 's'\nkind = 'slurm'\n[cluster.slurm]\nleast_uid = 1\n",
            "cluster[1].slurm.least_uid",
            "min_uid",
        ),
    ],
)
def test_an_old_key_is_an_error_that_names_the_new_one(folder, text, key, new):
    by_key, _ = faults(folder, "[auth]\n[[auth.provider]]\nname = 'p'\nkind = 'oidc'\n" + text)
    assert f"now called {new}" in str(by_key[key])


def test_all_errors_are_reported_at_once_with_file_and_key(folder):
    by_key, text = faults(folder, BAD)
    assert set(by_key) == {
        "gateway.prot", "gateway.port", "gateway.base_path", "gateway.trusted_proxies", "auth.admins",
        "auth.provider[1].kind", "cluster", "cluster[1].kind", "cluster[2].isolation", "cluster[2].tick", "profile[1].cluster",
        "profile[1].command", "profile[1].option.n.default", "profile[1].option.m.kind",
    }  # fmt: skip
    assert "Did you mean port?" in text
    assert all(line.startswith(f"{folder}/towpath.toml: ") for line in text.splitlines())


FAR = """
[gateway]
public_url = "http://hub.example.org"
[[cluster]]
name = "lake"
kind = "slurm"
[[profile]]
name = "lab"
cluster = "lake"
app = "jupyterhub"
"""


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[gateway]\nhost = '0.0.0.0'\n", "gateway.host", "without [auth]"),
        ("[gatewya]\n", "gatewya", "Did you mean gateway?"),
        ("gateway = 3\n", "gateway", "table"),
        ("[gateway]\nport = 70000\n", "gateway.port", "65535"),
        ("[gateway]\npublic_url = 'hub'\n", "gateway.public_url", "https://"),
        ("[gateway]\nbase_path = '/a/../b/'\n", "gateway.base_path", "plain path"),
        ("[state]\nredis_url = 'x'\n", "state.redis_url", "redis://"),
        (FAR, "profile[1].app", "an https public_url or internal_url"),
        ("[state]\nredis_url = 'unix:///x'\nredis_url_file = 'y'\n", "state.redis_url_file", "one of the two"),
        ("[[cluster]]\nkind = 'local'\n", "cluster[1].name", "missing"),
        ("[cluster]\nkind = 'local'\n", "cluster", "[[cluster]]"),
        ("[[profile]]\nname = 'p'\ncluster = 'local'\napp = 'web'\n", "profile[1].command", "needs a command"),
        ("[[profile]]\nname = 'p'\ncluster = 'local'\ncommand = ['x']\n", "profile[1].command", "{socket}"),
        ("[[profile]]\nname = 'p'\ncluster = 'local'\nenvironment = {'A=B' = 'x'}\n", "profile[1].environment", "A=B"),
        ("[[profile]]\nname = 'P p'\ncluster = 'local'\n", "profile[1].name", "matching regex"),
    ],
)
def test_an_error_says_what_is_wrong_and_where(folder, text, key, words):
    by_key, _ = faults(folder, text)
    assert words in str(by_key[key])


SHARED = "[[cluster]]\nname = 'local'\nkind = 'local'\nisolation = 'none'\n"
PROFILE = "[[profile]]\nname = 'p'\ncluster = 'local'\n"
SIGN_IN = f"[auth]\nallowed_users = ['ann']\n[[auth.provider]]\nname = 't'\nkind = 'test'\n{SHARED}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gateway]\nhost = '0.0.0.0'\n", "gateway.host"),
        ("[gateway]\nhost = '192.0.2.7'\n", "gateway.host"),
        ("[gateway]\nhost = 'hub.example.org'\n", "gateway.host"),
        ("[gateway]\npublic_url = 'https://hub.example.org'\n", "public_url"),
        ("[gateway]\ntrusted_proxies = ['127.0.0.1']\n", "trusted_proxies"),
    ],
)
def test_a_sign_in_without_passwords_is_rejected_where_others_can_connect(folder, text, words):
    by_key, _ = faults(folder, text + SIGN_IN)
    assert words in str(by_key["auth.provider[1].kind"])
    assert "this machine only" in str(by_key["auth.provider[1].kind"])


def test_a_sign_in_without_passwords_is_for_listed_users_on_loopback(folder):
    for host in ("127.0.0.1", "localhost", "::1", "127.77.0.1"):
        (folder / "towpath.toml").write_text(f"[gateway]\nhost = '{host}'\n{SIGN_IN}")
        assert load(None, folder / "data", environment={}).config.auth.allowed_users == ("ann",)
    (folder / "towpath.toml").write_text("[gateway]\npublic_url = 'http://127.0.0.1:8000'\n" + SIGN_IN)
    assert load(None, folder / "data", environment={}).config.auth.provider[0].kind == "test"
    by_key, _ = faults(folder, SIGN_IN.replace("allowed_users = ['ann']", ""))
    assert "both are empty" in str(by_key["auth.provider[1].kind"])
    (folder / "towpath.toml").write_text(SIGN_IN)
    with pytest.raises(ConfigError, match="this machine only"):
        load(None, folder / "data", environment={"TOWPATH_GATEWAY_HOST": "0.0.0.0"})


@pytest.mark.parametrize("text", [SIGN_IN, SIGN_IN.replace(SHARED, "")])
def test_several_users_under_one_account_are_rejected_unless_accepted(folder, text):
    by_key, told = faults(folder, text.replace("isolation = 'none'\n", ""))
    assert set(by_key) == {"cluster[1].isolation"}
    assert "the hub's own account" in told
    assert 'isolation = "none"' in told
    assert 'Set run_as = "user" in [cluster.local]' in told
    (folder / "towpath.toml").write_text(SIGN_IN)
    config = load(None, folder / "data", environment={}).config
    assert [cluster.name for cluster in without_isolation(config)] == ["local"]


def test_one_user_on_their_own_machine_needs_no_isolation(folder):
    for isolation in ("", "isolation = 'none'\n"):
        (folder / "towpath.toml").write_text(SHARED.replace("isolation = 'none'\n", isolation) + PROFILE)
        assert without_isolation(load(None, folder / "data", environment={}).config) == []


AS_USERS = SIGN_IN.replace("isolation = 'none'\n", "[cluster.local]\nrun_as = 'user'\n")


def test_servers_that_run_as_their_users_are_isolated_and_prove_themselves_by_certificates(folder):
    (folder / "towpath.toml").write_text(f"[gateway]\nreport_port = 8001\n{AS_USERS}")
    config = load(None, folder / "data", environment={}).config
    assert without_isolation(config) == []
    assert needs_certificates(config)
    kind = kind_of(config.cluster[0])
    assert (kind.endpoints, kind.runs_here, kind.one_machine) == ({"tls", "reverse"}, False, True)
    assert kind.option_kinds == {"cores", "memory", "gpu", "gpus"}
    plain = kind_of(ClusterConfig(name="here", kind="local"))
    assert (plain.endpoints, plain.runs_here, plain.one_machine) == ({"unix", "tcp"}, True, False)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (AS_USERS, "gateway.report_port", "any user of this machine could take"),
        (f"[gateway]\ninternal_url = 'http://127.0.0.1:8000'\n{AS_USERS}", "gateway.report_port", "needs TLS"),
        (AS_USERS.replace("[cluster.local]", "isolation = 'none'\n[cluster.local]"), "cluster[1].isolation", "Remove"),
        (AS_USERS.replace("'user'", "'users'"), "cluster[1].local.run_as", "hub, user"),
        (AS_USERS + "become = 'su'\n", "cluster[1].local.become", "setuid, sudo"),
        (AS_USERS + "min_uid = 0\n", "cluster[1].local.min_uid", "1"),
        (AS_USERS + "python = '/opt/my python'\n", "cluster[1].local.python", "absolute path"),
        (AS_USERS + "folder = 'jobs'\n", "cluster[1].local.folder", "absolute path"),
        (AS_USERS + "cgroup = 'hub'\n", "cluster[1].local.cgroup", "absolute path"),
        (SHARED + "[cluster.local]\nmin_uid = 500\n" + PROFILE, "cluster[1].local.min_uid", 'run_as = "user"'),
        (AS_USERS + PROFILE + "app = 'jupyterhub'\n", "profile[1].app", "https"),
        (AS_USERS + PROFILE + "[profile.option.p]\nkind = 'partition'\n", "profile[1].option", "cannot request"),
    ],
)
def test_servers_as_their_users_are_configured_without_contradictions(folder, text, key, words):
    by_key, _ = faults(folder, text)
    assert words in str(by_key[key])


@pytest.mark.parametrize(
    ("kind", "isolation", "words"),
    [("slurm", "none", "runs each server as its user"), ("local", "full", "'full' is not a known value")],
)
def test_isolation_is_set_only_on_clusters_without_it(folder, kind, isolation, words):
    text = (
        f"[gateway]\ninternal_url = 'https://x'\n[[cluster]]\nname = 'c'\nkind = '{kind}'\nisolation = '{isolation}'\n"
    )
    by_key, _ = faults(folder, text)
    assert words in str(by_key["cluster[1].isolation"])


@pytest.mark.parametrize(
    ("app", "command", "more", "key", "words"),
    [
        ("web", '["board", "{socket}"]', "shared_node_port = true", "shared_node_port", "Remove this key"),
        ("jupyter", "[]", "shared_node_port = true", "shared_node_port", "Remove this key"),
        ("jupyterhub", '["single", "--port={port}"]', "", "command", "cannot reach the hub"),
    ],
)
def test_the_network_of_a_port_fits_the_command(folder, app, command, more, key, words):
    text = f"[[profile]]\nname = 'p'\ncluster = 'local'\napp = '{app}'\ncommand = {command}\n{more}\n"
    by_key, _ = faults(folder, text)
    assert words in str(by_key[f"profile[1].{key}"])


@pytest.mark.parametrize(
    ("app", "command", "shared", "listens", "appended"),
    [
        ("web", ("board", "{port}"), False, True, False),
        ("web", ("board", "{port}"), True, True, False),
        ("web", ("board", "{socket}"), False, False, False),
        ("jupyter", (), False, False, False),
        ("jupyterhub", (), False, False, False),
        ("jupyterhub", ("single",), False, False, True),
        ("jupyterhub", ("single",), True, True, False),
        ("jupyterhub", ("single", "--sock={socket}"), False, False, False),
    ],
)
def test_apps_that_listen_on_a_port(app, command, shared, listens, appended):
    profile = ProfileConfig(name="p", cluster="local", app=app, command=command, shared_node_port=shared)
    assert listens_on_port(profile) is listens
    assert gets_socket_options(profile) is appended
    assert shares_port(profile) is (listens and shared)


LOGIN = "client = 'ssh'\n[cluster.slurm.ssh]\n"
NODE = "[[cluster.slurm.ssh.login_node]]\nname = 'login1'\naddress = '192.0.2.1'\nport = 2222\n"
TWO = "[[cluster]]\nname = 's'\nkind = 'slurm'\n[[cluster]]\nname = 'l'\nkind = 'local'\n[[profile]]\nname = 'p'\n"


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("cluster = []", "cluster", "at least one"),
        ("cluster = ['s', 'x']", "cluster", "no [[cluster]] is named 'x'"),
        ("cluster = ['s', 's']", "cluster", "used twice"),
        ("cluster = 5", "cluster", "expected"),
        ("cluster = ['l', 's']\n[profile.option.cluster]\nkind = 'text'", "option.cluster", "Rename this option"),
        ("cluster = ['s', 'l']\n[profile.option.p]\nkind = 'partition'", "option", "the cluster l has no scheduler"),
        ("cluster = ['l', 's']\n[profile.resources.extra]\nuid = 'root'", "resources.extra.uid", ""),
    ],
)
def test_each_cluster_of_a_profile_is_checked(folder, text, key, words):
    by_key, _ = faults(folder, TWO + text)
    assert words in str(by_key[f"profile[1].{key}"])


def test_a_profile_may_name_one_cluster_or_several(folder):
    for text, clusters in (("'s'", ("s",)), ("['s']", ("s",)), ("['s', 'l']", ("s", "l"))):
        (folder / "towpath.toml").write_text(f"{TWO}cluster = {text}\n")
        assert load(None, folder / "data", environment={}).config.profile[0].clusters == clusters


SLURM = "[[cluster]]\nname = 's'\nkind = 'slurm'\n[[profile]]\nname = 'p'\ncluster = 's'\n"


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[profile.option.m]\nkind = 'memory'\ndefault = '4'\n", "option.m.default", "with its unit"),
        ("[profile.option.m]\nkind = 'memory'\ndefault = 4096\n", "option.m.default", "with its unit"),
        ("[profile.option.t]\nkind = 'walltime'\ndefault = '8:00'\n", "option.t.default", "08:00:00"),
        ("[profile.option.t]\nkind = 'walltime'\ndefault = '8h'\nmaximum = 60\n", "option.t.default", "1 hour"),
        ("[profile.option.t]\nkind = 'walltime'\nvalues = ['soon']\n", "option.t.values", "soon"),
        ("[profile.option.a]\nkind = 'account'\nvalues = ['']\n", "option.a.values", "name"),
        ("[profile.option.q]\nkind = 'qos'\ndefault = '--x'\n", "option.q.default", "letters"),
        ("[profile.option.c]\nkind = 'cores'\ndefault = 0\n", "option.c.default", "At least 1"),
        ("[profile.option.a]\nkind = 'gpus'\n[profile.option.b]\nkind = 'gpus'\n", "option", "two options"),
        ("[profile.resources]\nmemory = 'lots'\n", "resources.memory", "lots"),
        ("[profile.resources]\nwalltime = '90'\n", "resources.walltime", "90"),
        ("[profile.resources]\naccount = '-x'\n", "resources.account", "letters"),
        ('[profile.resources]\npartition = "a\\nb"\n', "resources.partition", "letters"),
        ("[profile.resources.extra]\n'Wrap' = 'x'\n", "resources.extra", "long name"),
        ('[profile.resources.extra]\nlicenses = "a\\nb"\n', "resources.extra.licenses", "one line"),
        ("[profile.setup]\nmodules = ['-x']\n", "setup.modules", "dash"),
        ('[profile.setup]\nvenv = "/a\\n/b"\n', "setup.venv", "one line"),
        ("[profile.setup]\nconda = 'a'\nvenv = '/b'\n", "setup.venv", "one of the two"),
    ],
)
def test_requests_to_slurm_in_a_profile_are_checked_at_startup(folder, text, key, words):
    by_key, _ = faults(folder, SLURM + text)
    assert words in str(by_key[f"profile[1].{key}"])


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("client = 'slurmctld'", "client", "cli, ssh, rest, pyslurm"),
        ("client = 'ssh'", "ssh.login_node", "at least one"),
        ("client = 'cli'\n[cluster.slurm.ssh]\nmonitor_user = 'm'", "ssh", "does not use this table"),
        (LOGIN + "credentials = 'key'", "ssh.key_file", "credentials = key needs this"),
        (LOGIN + "credentials = 'password'", "ssh.credentials", "certificate, command, key, agent"),
        (LOGIN + "known_hosts = ['known']", "ssh.known_hosts", "absolute path"),
        (LOGIN + "python = '/usr/bin/my python'", "ssh.python", "letters, digits"),
        (LOGIN + NODE + NODE, "ssh.login_node", "used twice"),
        (LOGIN + "[[cluster.slurm.ssh.login_node]]\nname = '-oProxyCommand=x'", "ssh.login_node[1].name", "matching"),
        (LOGIN + "monitor_user = 'x;y'", "ssh.monitor_user", "matching"),
        ("submit_as = 'su'", "submit_as", "setuid, sudo"),
        (
            "client = 'rest'\nsubmit_as = 'sudo'\nrest_url = 'unix:///s'\nrest_key_file = '/k'",
            "submit_as",
            "only the client cli",
        ),
        ("client = 'rest'\nrest_key_file = '/k'", "rest_url", "needs the URL"),
        ("client = 'rest'\nrest_key_file = '/k'\nrest_url = 'ftp://x'", "rest_url", "unix:///path"),
        ("client = 'rest'\nrest_key_file = '/k'\nrest_url = 'unix://x'", "rest_url", "unix:///path"),
        (
            "client = 'rest'\nrest_key_file = '/k'\nrest_url = 'http://slurm.example:6820'",
            "rest_url",
            "read the tokens",
        ),
        ("client = 'rest'\nrest_url = 'https://slurm.example'", "rest_key_file", "one of"),
        (
            "client = 'rest'\nrest_url = 'unix:///s'\nrest_key_file = '/k'\nrest_token_file = '/t'",
            "rest_key_file",
            "one of",
        ),
        ("rest_url = 'unix:///s'", "rest_url", "does not use"),
        ("conf = 'slurm.conf'", "conf", "absolute path"),
        ("python = 'python3'", "python", "absolute path"),
        ("python = ''", "python", "absolute path"),
        ("node_folder = 'jobs'", "node_folder", "~/"),
        ("min_uid = 500", "min_uid", ""),
    ],
)
def test_the_settings_for_slurm_are_checked(folder, text, key, words):
    head = "[[cluster]]\nname = 's'\nkind = 'slurm'\n[cluster.slurm]\n"
    by_key, _ = faults(folder, f"{head}{text}\n[[profile]]\nname = 'p'\ncluster = 's'\n")
    assert words in str(by_key[f"cluster[1].slurm.{key}"])


def test_valid_settings_for_slurm(folder):
    for text in (
        "",
        "submit_as = 'sudo'\nconf = '/etc/slurm/slurm.conf'\nnode_folder = '/scratch/towpath'",
        "client = 'rest'\nrest_url = 'unix:///run/restd'\nrest_token_file = '/etc/towpath/token'",
        "client = 'rest'\nrest_url = 'https://slurm.example:6820'\nrest_key_file = '/etc/towpath/jwt.key'",
        "client = 'rest'\nrest_url = 'http://127.0.0.1:6820'\nrest_key_file = '/etc/towpath/jwt.key'",
        "client = 'pyslurm'\nnode_folder = '~/jobs'\nmin_uid = 5000",
        LOGIN + "credentials = 'key'\nkey_file = '/etc/towpath/key'\n" + NODE + NODE.replace("login1", "login2"),
    ):
        head = "[[cluster]]\nname = 's'\nkind = 'slurm'\n[cluster.slurm]\n"
        (folder / "towpath.toml").write_text(f"{head}{text}\n[[profile]]\nname = 'p'\ncluster = 's'\n")
        assert load(None, folder / "data", environment={}).config.cluster[0].kind == "slurm"


def test_a_slurm_table_on_another_kind_of_cluster_is_an_error(folder):
    by_key, _ = faults(folder, "[[cluster]]\nname = 'l'\nkind = 'local'\n[cluster.slurm]\nclient = 'rest'\n")
    assert "no such table" in str(by_key["cluster[1].slurm"])


def test_a_profile_cannot_request_resources_without_a_scheduler(folder):
    for text, key in (
        ("[profile.option.g]\nkind = 'gpus'\n", "option"),
        ("[profile.resources]\ncores = 2\n", "resources"),
    ):
        by_key, _ = faults(folder, "[[profile]]\nname = 'p'\ncluster = 'local'\n" + text)
        assert "has no scheduler" in str(by_key[f"profile[1].{key}"])


def test_an_option_with_contradictory_limits_is_an_error(folder):
    head = "[[profile]]\nname = 'p'\ncluster = 'local'\n[profile.option.x]\n"
    for text, key in (
        ("kind = 'integer'\nminimum = 3\nmaximum = 2\n", "minimum"),
        ("kind = 'choice'\n", "values"),
        ("kind = 'choice'\nvalues = ['a']\ndefault = 'b'\n", "default"),
        ("pattern = '('\n", "pattern"),
        ("values = ['a']\n", "values"),
    ):
        by_key, _ = faults(folder, head + text)
        assert list(by_key) == [f"profile[1].option.x.{key}"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[gateway\nport = 1\n", "line 1, column 9"), (b"a = \xff", "not UTF-8"), (b"a = 1\na = 2\n", "line 2")],
)
def test_invalid_toml_is_reported_with_its_position(folder, content, words):
    (folder / "towpath.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(None, folder / "data", environment={})
    assert words in str(caught.value)
    assert len(caught.value.faults) == 1


def test_a_configuration_file_from_the_command_line_must_exist(folder):
    with pytest.raises(ConfigError, match="no such file"):
        load("missing.toml", folder / "data", environment={})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(folder, folder / "data", environment={})


def test_init_writes_the_default_configuration(folder):
    assert load(SHIPPED, folder / "data", environment={}).config == Config()


LEAVES = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.dates())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["gateway", "state", "auth", "cluster", "profile", "option", "name", "kind", "port", "x"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["gateway", "state", "auth", "cluster", "profile", "x"]), TREES, max_size=4))
def test_any_tree_is_a_configuration_or_a_list_of_errors(raw):
    found = []
    config = checked(raw, "f", {}, found)
    assert (config is None) is bool(found)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[audit]\nfile = "audit.jsonl"', "audit.file"),
        ('[audit]\nsyslog = "/dev/log"', "audit.syslog"),
        ('[audit]\nsyslog = "tcp://127.0.0.1:514"', "audit.syslog"),
        ('[audit]\nsyslog = "udp://:514"', "audit.syslog"),
        ('[audit]\nsyslog = "unix://host/dev/log"', "audit.syslog"),
        ("[audit]\nentries = 10", "audit.entries"),
        ("[audit]\ndays = 0", "audit.days"),
        ('[gateway]\nuser_domain = "hub.example.org"', "gateway.user_domain"),
        ('[gateway]\npublic_url = "https://h.org"\nuser_domain = "https://hub.example.org"', "gateway.user_domain"),
        ('[gateway]\npublic_url = "https://h.org"\nuser_domain = "Hub.example.org"', "gateway.user_domain"),
        ('[gateway]\npublic_url = "https://h.org"\nuser_domain = ".example.org"', "gateway.user_domain"),
    ],
)
def test_audit_destinations_and_user_domains_are_complete(folder, text, key):
    assert key in faults(folder, text + "\n")[0]


def test_the_audit_can_go_to_a_socket_or_over_udp(folder):
    for url in ("unix:///dev/log", "udp://127.0.0.1", "udp://[::1]:5514", "udp://log.example.org:514"):
        (folder / "towpath.toml").write_text(f'[audit]\nfile = "/var/log/audit.jsonl"\nsyslog = "{url}"\n')
        assert load(None, folder / "data", environment={}).config.audit.syslog == url
