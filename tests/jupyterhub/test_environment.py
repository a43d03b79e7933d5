"""The environment of a single-user server, compared with the one from JupyterHub 6.1's Spawner."""

import ast
import json
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from batch.jobs.job_builder import job_spec, with_secrets
from state.config.tables import ClusterConfig, Config, GatewayConfig, ProfileConfig, ResourcesConfig
from tests.batch.rig import fresh
from tests.hub import ROOT
from tests.jupyterhub.apps import BIN
from tests.jupyterhub.named import LIMITS, NEVER, OTHERWISE, PROFILES, SAME

pytestmark = pytest.mark.timeout(120)
EVERY = {*SAME, *OTHERWISE, *LIMITS, *PROFILES, *NEVER}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The environment from JupyterHub, by server name."""
    script = Path(__file__).with_name("environment.py")
    command = [BIN / "python", script, tmp_path_factory.mktemp("jupyterhub")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("ENVIRONMENT ")]
    return json.loads(found.removeprefix("ENVIRONMENT "))


def ours(name, kind, given):
    """Return the environment of the same server's job on a cluster of a kind. `given`: from the profile."""
    gateway = GatewayConfig(
        base_path="/jupyter/", public_url="https://hub.example.org/jupyter/", internal_url="http://127.0.0.1:8000"
    )
    config = Config(gateway=gateway, cluster=(ClusterConfig(name="there", kind=kind),))
    asks = ResourcesConfig(memory="2G", cores=4)
    profile = ProfileConfig(name="lab", cluster="there", app="jupyterhub", resources=asks, environment=given)
    server = replace(fresh("a@b.org", name), cluster="there")
    record = with_secrets(server, profile, token="report-token", secret="unused", api_token="api-token")
    return job_spec(record, profile, config, token="report-token", own={}, api_token="api-token").environment


def in_the_source():
    """Return the names that `Spawner.get_env` sets, from the source of the installed JupyterHub."""
    (source,) = BIN.parent.glob("lib/python3*/site-packages/jupyterhub/spawner.py")
    functions = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.FunctionDef)]
    first = next(node for node in functions if node.name == "get_env")  # the base class's
    places = [node for node in ast.walk(first) if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "env"]
    return {node.slice.value for node in places if isinstance(node.slice, ast.Constant)}


def test_the_tables_list_exactly_the_variables_that_jupyterhub_sets(theirs):
    kept = set(theirs["kept"])
    assert in_the_source() | kept == EVERY
    assert EVERY & theirs["lab"].keys() == EVERY - kept


@pytest.mark.parametrize("name", ["", "lab"])
@pytest.mark.parametrize("kind", ["local", "slurm"])
def test_every_variable_has_jupyterhubs_value_except_for_intended_differences(theirs, name, kind):
    said = {one: theirs[name].get(one, "jupyterhub.singleuser") for one in PROFILES}
    there = ours(name, kind, said)
    same = {*SAME, *PROFILES, *(LIMITS if kind == "slurm" else ())}
    expected = theirs[name] | said
    assert {one: there.get(one) for one in same} == {one: expected[one] for one in same}
    assert EVERY & there.keys() == same | set(OTHERWISE)
    assert there["JUPYTERHUB_HOST"] == ""  # the servers have the hub's origin
    # the node fills in the address
    assert theirs[name]["JUPYTERHUB_SERVICE_URL"] == "http://127.0.0.1:1234" + there["JUPYTERHUB_SERVICE_URL"]


def test_a_profile_cannot_override_the_hubs_variables():
    taken = {*SAME, *OTHERWISE}
    there = ours("lab", "slurm", dict.fromkeys(taken, "mine"))
    assert not [one for one in taken if there[one] == "mine"]


def test_every_variable_is_documented():
    text = (ROOT / "docs" / "jupyterhub.md").read_text()
    shortened = {one: one.removeprefix("JUPYTERHUB") for one in EVERY}
    assert [one for one, short in shortened.items() if f"`{one}`" not in text and f"`{short}`" not in text] == []
