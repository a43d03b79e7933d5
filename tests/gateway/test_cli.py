"""The command line, as a process: its words, its exit codes, no traceback."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from msgspec import NODEFAULT
from msgspec.structs import replace

from tests.batch.test_isolation import NO_NAMESPACES

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def towpath(tmp_path):
    def run(*arguments, **environment):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TOWPATH_")}
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**clean, "PYTHONPATH": str(ROOT), "TOWPATH_DATA_DIR": str(tmp_path / "data"), **environment},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def test_version_names_the_distribution(towpath):
    assert towpath("version").stdout.startswith("towpath 0.")


def test_init_writes_a_configuration_that_check_finds_good_and_keeps_an_existing_one(towpath, tmp_path):
    assert towpath("init").returncode == 0
    done = towpath("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    again = towpath("init")
    assert again.returncode == 1
    assert "already exists" in again.stderr


def test_every_key_that_init_shows_is_a_key_at_its_default(towpath, tmp_path):
    """Uncomment all of it: still valid, and the same configuration as none."""
    import re

    from state.plugins.launchers import options_of
    from state.settings.loader import load

    towpath("init", "all.toml")
    text = (tmp_path / "all.toml").read_text()
    shown = re.sub(
        r"(?m)^# (\[?[a-z_.]+\]? ?=? ?.*)$",
        lambda match: match.group(1) if re.match(r"(\[[a-z.]+\]|[a-z_]+ = )", match.group(1)) else match.group(0),
        text,
    )
    shown = shown.replace("[auth]\n", "").replace("admins = []", "").replace("allowed_users = []", "")
    shown = re.sub(r"(?m)^(allowed_groups|session_lifetime|token_lifetime_max|auth_state_key_file).*$", "", shown)
    shown = re.sub(r"(?s)\[profile\.option\.threads\].*", "", shown)
    tomllib.loads(shown)
    (tmp_path / "shown.toml").write_text(shown)
    (tmp_path / "none.toml").write_text("")
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    given = load(tmp_path / "shown.toml", None, environment=environment).config
    none = load(tmp_path / "none.toml", None, environment=environment).config
    assert given.gateway == none.gateway
    assert given.state == none.state
    (cluster,) = none.cluster  # the shown table has the options of `local`
    assert given.cluster == (replace(cluster, options=options_of(cluster)),)
    assert given.profile == none.profile


def test_the_provider_that_init_shows_has_every_key_at_its_default(towpath, tmp_path):
    from msgspec.structs import fields

    from gateway.auth.kinds.oidc import OidcConfig
    from state.config.tables import ProviderConfig

    towpath("init", "all.toml")
    text = (tmp_path / "all.toml").read_text()
    shown = text[text.index('kind = "oidc"') :]
    for kind, unset in (
        (ProviderConfig, {"name", "kind", "options"}),
        (OidcConfig, {"plain_callback"}),
    ):
        for field in fields(kind):
            if field.name in unset:
                continue
            given = re.search(rf"(?m)^#   {field.name} = (.*?)(?:\s+#.*)?$", shown)
            if field.name == "client_secret":
                assert "client_secret =" in shown
            elif field.name in {"title", "client_secret_file"}:
                assert given, field.name
            else:
                assert given, field.name
                default = field.default if field.default_factory is NODEFAULT else field.default_factory()
                value = tomllib.loads(f"x = {given[1]}")["x"]
                assert (tuple(value) if isinstance(value, list) else value) == default, field.name


def test_the_slurm_cluster_that_init_shows_has_every_key_at_its_default(towpath, tmp_path):
    from msgspec.structs import fields

    from batch.launchers.slurm.kind import LoginNodesConfig, SlurmConfig

    towpath("init", "all.toml")
    text = (tmp_path / "all.toml").read_text()
    block = text[text.index("#   [[cluster]]") : text.index("\n\n", text.index("#   [[cluster]]"))]
    shown = tomllib.loads(block.replace("#   ", ""))["cluster"][0]
    assert shown["kind"] == "slurm"
    login = shown["slurm"].pop("ssh")
    assert shown["slurm"] == {field.name: field.default for field in fields(SlurmConfig) if field.name != "ssh"}
    (node,) = login.pop("login_node")
    assert node == {"name": "login1", "address": "", "port": 22}
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in login.items()} == {
        field.name: field.default for field in fields(LoginNodesConfig) if field.name != "login_node"
    }


def test_the_service_that_init_shows_has_every_key_that_a_service_needs_at_its_default(towpath, tmp_path):
    from msgspec.structs import fields

    from state.config.tables import ServiceConfig

    towpath("init", "all.toml")
    text = (tmp_path / "all.toml").read_text()
    block = text[text.index("#   [[service]]") : text.index("\n\n", text.index("#   [[service]]"))]
    shown = tomllib.loads(block.replace("#   ", ""))["service"][0]
    defaults = {
        field.name: field.default if field.default_factory is NODEFAULT else field.default_factory()
        for field in fields(ServiceConfig)
        if field.name in shown
    }
    assert shown.pop("name") == "wiki"
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in shown.items()} == {
        key: value for key, value in defaults.items() if key != "name"
    }


def test_every_field_and_resource_that_init_shows_is_good_on_a_slurm_cluster(towpath, tmp_path):
    import re

    from state.settings.loader import load

    towpath("init", "all.toml")
    text = (
        (tmp_path / "all.toml").read_text().replace('name = "local"\nkind = "local"', 'name = "local"\nkind = "slurm"')
    )
    part = text.index("# [profile.option.partition]")
    shown = re.sub(
        r"(?m)^# (.*)$",
        lambda match: match.group(1) if re.match(r"(\[[a-z.]+\]|[a-z_]+ = )", match.group(1)) else match.group(0),
        text[part:],
    )
    (tmp_path / "shown.toml").write_text(text[:part] + shown)
    profile = load(tmp_path / "shown.toml", None, environment={"XDG_STATE_HOME": str(tmp_path)}).config.profile[0]
    assert profile.option["memory"].default == "4G"
    assert profile.resources.cores == 2
    assert profile.setup.modules == ()


SEVERAL = "[auth]\nallowed_users = ['ann']\n[[auth.provider]]\nname = 'test'\nkind = 'test'\n"
HERE = "[[cluster]]\nname = 'local'\nkind = 'local'\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "hub.example.org"])
def test_a_sign_in_without_passwords_is_served_on_loopback_alone(towpath, tmp_path, host):
    (tmp_path / "towpath.toml").write_text(SEVERAL + HERE + "isolation = 'none'\n")
    done = towpath("serve", "--host", host)
    assert done.returncode == 2
    assert "on this machine only" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["serve", "gateway", "controller", "check"])
def test_a_hub_of_several_users_does_not_start_on_a_cluster_without_isolation(towpath, tmp_path, command):
    (tmp_path / "towpath.toml").write_text(SEVERAL + HERE)
    done = towpath(command)
    assert done.returncode == (1 if command == "check" else 2)
    assert "run under the hub's own account" in done.stderr
    assert 'isolation = "none"' in done.stderr
    assert 'run_as = "user"' in done.stderr


def test_check_explains_a_cluster_without_isolation(towpath, tmp_path):
    (tmp_path / "towpath.toml").write_text(SEVERAL + HERE + "isolation = 'none'\n")
    done = towpath("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"WARN  cluster local +No isolation: .*Every user can read the files of all others", done.stdout)
    assert 'Set run_as = "user" in [cluster.local]' in done.stdout


PORT = "[[profile]]\nname = 'board'\ncluster = 'local'\napp = 'web'\ncommand = ['board', '{port}']\n"


def test_check_says_that_other_users_of_the_node_can_open_an_app_whose_port_is_shared(towpath, tmp_path):
    (tmp_path / "towpath.toml").write_text(PORT + "shared_node_port = true\n")
    done = towpath("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"WARN  profile board +shared_node_port is set: .*every user of its node can open it", done.stdout)


def test_check_says_that_this_machine_cannot_isolate_an_app_with_a_port(towpath, tmp_path):
    (tmp_path / "towpath.toml").write_text(PORT)
    assert towpath("check").returncode == 0
    done = subprocess.run(
        [*NO_NAMESPACES, sys.executable, "-m", "gateway", "check", "--data-dir", str(tmp_path / "data"), "--config", "towpath.toml"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(
        r"FAIL  cluster local +This machine does not let the hub give an app a network .*: board\.", done.stdout
    )


def test_check_reports_all_faults_at_once_with_file_and_key(towpath, tmp_path):
    (tmp_path / "towpath.toml").write_text(
        '[gateway]\nprot = 1\nport = "x"\nbase_path = "x"\n[[profile]]\nname = "a"\ncluster = "nowhere"\n'
    )
    done = towpath("check")
    assert done.returncode == 1
    for key in ("gateway.prot", "gateway.port", "gateway.base_path", "nowhere"):
        assert key in done.stderr, done.stderr
    assert "towpath.toml" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serve", "--host", "0.0.0.0"), "[auth]"),
        (("serve", "--host", "192.0.2.1"), "[auth]"),
        (("serve", "--port", "70000"), "--port"),
        (("serve", "--workers", "0"), "--workers"),
        (("gateway",), "redis_url"),
        (("token", "alice", "--expires-in", "0"), "--expires-in"),
        (("nonsense",), "nonsense"),
        ((), "COMMAND"),
        (("serve", "--config", "missing.toml"), "missing.toml"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_what_to_do(towpath, arguments, words):
    done = towpath(*arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr


def test_a_token_without_a_running_hub_says_how_to_start_it(towpath):
    done = towpath("token", "alice")
    assert (done.returncode, done.stdout) == (1, "")
    assert "towpath serve" in done.stderr


def test_a_wrong_variable_name_in_the_environment_is_reported(towpath):
    done = towpath("serve", TOWPATH_GATEWAY_PORT="no")
    assert done.returncode == 2
    assert "TOWPATH_GATEWAY_PORT" in done.stderr


def test_serve_says_that_it_waits_for_a_redis_that_is_not_there_and_ends_on_sigterm(tmp_path):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TOWPATH_")}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={
            **clean,
            "PYTHONPATH": str(ROOT),
            "TOWPATH_DATA_DIR": str(tmp_path / "data"),
            "TOWPATH_STATE_REDIS_URL": "unix:///nonexistent/socket",
        },
    ) as serve:
        try:
            assert "Waiting for the state store" in serve.stderr.readline()
            serve.terminate()
            assert "Traceback" not in serve.communicate(timeout=60)[1]
            assert serve.returncode == 1
        finally:
            serve.kill()
