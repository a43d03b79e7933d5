"""From a record to a job: command, environment, secrets."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from batch.contract import Passport, Resources, Setup
from batch.jobs.job_builder import fill, job_spec, report_urls, with_secrets
from state.config.addresses import base_path
from state.config.tables import (
    ClusterConfig,
    Config,
    GatewayConfig,
    OptionConfig,
    ProfileConfig,
    ResourcesConfig,
    SetupConfig,
)
from state.settings.loader import load
from tests.batch.rig import fresh

OWN = {
    "PATH": "/bin",
    "HOME": "/home/alice",
    "LANG": "C",
    "LC_ALL": "C.UTF-8",
    "VIRTUAL_ENV": "/venv",
    "HUB_PASSWORD": "x",
    "TOWPATH_STATE_REDIS_URL": "redis://:pw@h",
    "TZ": "UTC",
}


def spec(profile=None, server=None, config=None, **more):
    profile = profile or ProfileConfig(name="lab", cluster="local")
    record = with_secrets(server or fresh(), profile, token="report-token", secret="app-secret")
    return job_spec(record, profile, config or Config(), token="report-token", own=OWN, **more), record


def test_only_harmless_variables_of_the_hub_reach_the_job():
    job, _ = spec()
    assert {name for name in job.environment if name in OWN} == {"PATH", "HOME", "LANG", "LC_ALL", "TZ"}
    assert "pw" not in repr(job.environment)


def test_a_jupyter_app_gets_its_token_in_the_environment_only():
    job, record = spec()
    assert job.environment["JUPYTER_TOKEN"] == "app-secret"
    assert record.credential == "token app-secret"
    assert "app-secret" not in " ".join(job.command)
    assert set(job.secrets) == {"report-token", "app-secret"}
    assert record.report_hash == hashlib.sha256(b"report-token").hexdigest()


def test_another_web_app_gets_no_credential():
    job, record = spec(ProfileConfig(name="web", cluster="local", app="web", command=("serve", "{port}")))
    assert record.credential == ""
    assert "JUPYTER_TOKEN" not in job.environment
    assert job.command == ("serve", "{port}")


def test_an_existing_credential_is_kept():
    profile = ProfileConfig(name="lab", cluster="local")
    record = replace(fresh(), credential="token first")
    assert with_secrets(record, profile, token="t", secret="second").credential == "token first"


def test_jupyterhubs_variables_are_set_without_an_api_token():
    config = Config(gateway=GatewayConfig(base_path="/jupyter/"))
    job, _ = spec(server=fresh("a@b.org", "lab"), config=config)
    assert job.environment["JUPYTERHUB_USER"] == "a@b.org"
    assert job.environment["JUPYTERHUB_SERVER_NAME"] == "lab"
    assert job.environment["JUPYTERHUB_BASE_URL"] == "/jupyter/"
    assert job.environment["JUPYTERHUB_SERVICE_PREFIX"] == "/jupyter/user/a@b.org/lab/"
    assert job.base_path == "/jupyter/user/a@b.org/lab/"
    assert not any("API_TOKEN" in name for name in job.environment)


def test_a_command_has_its_base_path_with_and_without_the_last_slash(tmp_path):
    file = tmp_path / "towpath.toml"
    file.write_text("""
[[profile]]
name = "web"
cluster = "local"
app = "web"
command = ["serve", "{socket}", "--base={base_path}", "--root={base_path_no_slash}"]
environment = { ROOT = "{base_path_no_slash}" }
""")
    profile = load(file, tmp_path / "data").config.profile[0]
    for name, path in (("", "/user/a@b.org"), ("lab", "/user/a@b.org/lab")):
        job, _ = spec(profile, fresh("a@b.org", name))
        assert job.command[2:] == (f"--base={path}/", f"--root={path}")
        assert job.environment["ROOT"] == path


def hub_app(server=None, config=None):
    """Build the job of a JupyterHub app."""
    server = server or fresh()
    profile = ProfileConfig(name="lab", cluster=server.cluster, app="jupyterhub", environment={"JUPYTERHUB_DEBUG": "1"})
    record = with_secrets(server, profile, token="report-token", secret="unused", api_token="api-token")
    job = job_spec(record, profile, config or Config(), token="report-token", own=OWN, api_token="api-token")
    return job, record


def test_a_jupyterhub_app_gets_all_variables_of_jupyterhub():
    config = Config(gateway=GatewayConfig(base_path="/jupyter/", public_url="https://hub.example.org/jupyter/"))
    job, record = hub_app(fresh("a@b.org", "lab"), config)
    told = {name: value for name, value in job.environment.items() if name.startswith(("JUPYTERHUB_", "JPY_"))}
    access = '["access:servers!server=a@b.org/lab", "access:servers!user=a@b.org"]'
    assert told == {
        "JPY_API_TOKEN": "api-token",
        "JUPYTERHUB_ACTIVITY_URL": "http://127.0.0.1:8000/jupyter/hub/api/users/a@b.org/activity",
        "JUPYTERHUB_ADMIN_ACCESS": "1",
        "JUPYTERHUB_API_TOKEN": "api-token",
        "JUPYTERHUB_API_URL": "http://127.0.0.1:8000/jupyter/hub/api",
        "JUPYTERHUB_BASE_URL": "/jupyter/",
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-a%40b.org-lab",
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "0",
        "JUPYTERHUB_DEBUG": "1",
        "JUPYTERHUB_DEFAULT_URL": "/lab",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": access,
        "JUPYTERHUB_OAUTH_CALLBACK_URL": "/jupyter/user/a@b.org/lab/oauth_callback",
        "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES": "[]",
        "JUPYTERHUB_OAUTH_SCOPES": access,
        "JUPYTERHUB_PUBLIC_HUB_URL": "https://hub.example.org/jupyter/hub/",
        "JUPYTERHUB_PUBLIC_URL": "https://hub.example.org/jupyter/user/a@b.org/lab/",
        "JUPYTERHUB_SERVER_NAME": "lab",
        "JUPYTERHUB_SERVICE_PREFIX": "/jupyter/user/a@b.org/lab/",
        "JUPYTERHUB_SERVICE_URL": "/jupyter/user/a@b.org/lab/",
        "JUPYTERHUB_USER": "a@b.org",
    }
    assert record.token_hash == hashlib.sha256(b"api-token").hexdigest()
    assert record.credential == ""
    assert "api-token" in job.secrets
    assert "api-token" not in " ".join(job.command)


def test_a_jupyterhub_app_gets_the_origin_of_its_owner():
    gateway = GatewayConfig(public_url="https://hub.example.org", user_domain="hub.example.org")
    told = hub_app(config=Config(gateway=gateway))[0].environment
    assert told["JUPYTERHUB_HOST"] == "https://hub.example.org"
    assert told["JUPYTERHUB_PUBLIC_URL"] == "https://alice.hub.example.org/user/alice/"
    assert told["JUPYTERHUB_PUBLIC_HUB_URL"] == "https://hub.example.org/hub/"
    assert told["JUPYTERHUB_OAUTH_CALLBACK_URL"] == "https://alice.hub.example.org/user/alice/oauth_callback"
    assert told["JUPYTERHUB_SERVICE_PREFIX"] == "/user/alice/"


def test_a_jupyterhub_app_on_another_machine_uses_the_hubs_external_address():
    def url(**gateway):
        config = Config(gateway=GatewayConfig(**gateway), cluster=(ClusterConfig(name="lake", kind="slurm"),))
        return hub_app(replace(fresh(), cluster="lake"), config)[0].environment["JUPYTERHUB_API_URL"]

    assert url(public_url="https://hub.example.org") == "https://hub.example.org/hub/api"
    assert url(public_url="https://hub.example.org", report_port=8443) == "https://hub.example.org/hub/api"
    assert url(public_url="https://a.example", internal_url="https://b.example:9") == "https://b.example:9/hub/api"


def test_a_jupyterhub_app_gets_the_limits_that_a_scheduler_enforces():
    config = Config(cluster=(ClusterConfig(name="lake", kind="slurm"),))
    resources = ResourcesConfig(memory="2G", cores=4)
    profile = ProfileConfig(name="lab", cluster="lake", app="jupyterhub", resources=resources)
    job = job_spec(replace(fresh(), cluster="lake"), profile, config, token="t", own=OWN, api_token="a")
    told = {name: value for name, value in job.environment.items() if name.startswith(("MEM_", "CPU_"))}
    assert told == {
        "MEM_LIMIT": "2147483648",
        "MEM_GUARANTEE": "2147483648",
        "CPU_LIMIT": "4.0",
        "CPU_GUARANTEE": "4.0",
    }
    assert not [name for name in hub_app()[0].environment if name.startswith(("MEM_", "CPU_"))]


def test_the_command_is_filled_in_once():
    profile = ProfileConfig(
        name="x",
        cluster="local",
        command=("run", "--as={user}", "{option_size}", "{socket}", "{what}"),
        environment={"SIZE": "{option_size}"},
    )
    job, _ = spec(profile, replace(fresh(), choices={"size": "{user} {base_path}", "fast": True}))
    assert job.command == ("run", "--as=alice", "{user} {base_path}", "{socket}", "{what}")
    assert job.environment["SIZE"] == "{user} {base_path}"


def test_a_profile_cannot_override_the_hubs_variables():
    profile = ProfileConfig(name="x", cluster="local", environment={"JUPYTERHUB_USER": "root", "TOWPATH_USER": "root"})
    job, _ = spec(profile)
    assert job.environment["JUPYTERHUB_USER"] == job.environment["TOWPATH_USER"] == "alice"


def test_only_jupyterlab_gets_the_option_to_allow_root():
    assert "--allow-root" in spec(as_root=True)[0].command
    web = ProfileConfig(name="web", cluster="local", command=("serve",))
    assert spec(web, as_root=True)[0].command == ("serve",)


def test_jobs_report_to_an_address_that_they_can_reach():
    def urls(**gateway):
        return report_urls(Config(gateway=GatewayConfig(**gateway)))

    assert urls() == ("http://127.0.0.1:8000/hub/api/towpath/report",)
    assert urls(host="0.0.0.0", port=9) == ("http://127.0.0.1:9/hub/api/towpath/report",)
    assert urls(host="::1") == ("http://[::1]:8000/hub/api/towpath/report",)
    assert urls(internal_url="https://hub:1/", base_path="/j/") == ("https://hub:1/j/hub/api/towpath/report",)


@settings(deadline=None)
@given(st.text("/ab", max_size=8))
def test_a_base_path_has_a_slash_at_both_ends(raw):
    path = base_path(Config(gateway=GatewayConfig(base_path=raw)))
    assert path.startswith("/")
    assert path.endswith("/")
    assert path.count("/") == 1 or path.strip("/")


@settings(deadline=None)
@given(st.text(), st.dictionaries(st.sampled_from(["user", "option_a"]), st.text()))
def test_text_without_placeholders_stays_unchanged(text, values):
    plain = text.replace("{", "(")
    assert fill(plain, values) == plain


# --- on a cluster


CLUSTER = Config(
    gateway=GatewayConfig(host="10.0.0.1", report_host="10.0.0.2", report_port=8443, base_path="/j/"),
    cluster=(ClusterConfig(name="local", kind="local"), ClusterConfig(name="hpc", kind="slurm")),
)


def elsewhere(profile=None, choices=None, **more):
    record = replace(fresh(), cluster="hpc", choices=choices or {})
    return spec(profile or ProfileConfig(name="lab", cluster="hpc"), record, CLUSTER, **more)[0]


def test_a_job_on_another_machine_gets_none_of_the_hubs_environment():
    job = elsewhere(as_root=True)
    assert not set(job.environment) & set(OWN)
    assert "--allow-root" not in job.command
    assert "--ServerApp.root_dir={home}" in job.command
    assert job.directory == "~/"
    assert job.environment["JUPYTER_TOKEN"] == "app-secret"


def test_a_job_on_another_machine_reports_to_the_listener_for_reports():
    assert elsewhere().hub_urls == ("https://10.0.0.2:8443/j/hub/api/towpath/report",)

    def urls(**gateway):
        return report_urls(Config(gateway=GatewayConfig(**gateway)), elsewhere=True, hostname="hub.example")

    assert urls(host="0.0.0.0", report_port=1) == ("https://hub.example:1/hub/api/towpath/report",)
    assert urls(report_host="::", report_port=1) == ("https://hub.example:1/hub/api/towpath/report",)
    assert urls(report_host="fd00::1", report_port=1) == ("https://[fd00::1]:1/hub/api/towpath/report",)
    assert urls(internal_url="https://h", report_port=1) == ("https://h/hub/api/towpath/report",)
    assert urls() == ("http://127.0.0.1:8000/hub/api/towpath/report",)


def test_only_a_job_on_another_machine_has_a_passport_for_its_walltime():
    asked = []

    def passport(attempt, walltime):
        asked.append((attempt, walltime))
        return Passport(name=attempt, certificate="", key="", authority="")

    profile = ProfileConfig(name="lab", cluster="hpc", resources=ResourcesConfig(walltime="01:00:00"))
    job = elsewhere(profile, passport=passport)
    assert asked == [(job.attempt, 3600)]
    assert job.passport.name == job.attempt
    assert spec(passport=passport)[0].passport is None


def test_choices_take_precedence_over_the_profile():
    kinds = (
        "partition",
        "account",
        "qos",
        "reservation",
        "constraint",
        "gpu",
        "gpus",
        "cores",
        "memory",
        "walltime",
        "nodes",
    )
    profile = ProfileConfig(
        name="lab",
        cluster="hpc",
        resources=ResourcesConfig(
            partition="cpu", cores=1, memory="1G", walltime="00:10:00", signal=30, extra={"tmp": "1G", "exclusive": ""}
        ),
        option={f"my_{kind}": OptionConfig(kind=kind) for kind in kinds},
    )
    picked = {
        "my_partition": "gpu",
        "my_account": "physics",
        "my_qos": "gpuq",
        "my_reservation": "class",
        "my_constraint": "fast",
        "my_gpu": "a100",
        "my_gpus": 2,
        "my_cores": 8,
        "my_memory": "16G",
        "my_walltime": "1-02:00:00",
        "my_nodes": 2,
    }
    assert elsewhere(profile, picked).resources == Resources(
        partition="gpu",
        account="physics",
        qos="gpuq",
        reservation="class",
        constraint="fast",
        gpu_type="a100",
        gpus=2,
        cores=8,
        memory=16 * 2**30,
        walltime=26 * 3600,
        nodes=2,
        signal=30,
        more=(("exclusive", ""), ("tmp", "1G")),
    )
    left = elsewhere(profile, dict.fromkeys(picked, ""))
    assert (left.resources.partition, left.resources.cores, left.resources.memory) == ("cpu", 1, 2**30)
    assert elsewhere(profile, {**picked, "my_gpus": 0}).resources.gpu_type == ""


def test_placeholders_are_filled_into_names_and_paths_but_never_into_the_admins_shell_code():
    setup = SetupConfig(
        modules=("python/{option_v}",),
        prologue="echo {option_v}",
        venv="/envs/{user}",
        image="",
        binds=("/d/{option_v}",),
    )
    profile = ProfileConfig(name="lab", cluster="hpc", setup=setup, option={"v": OptionConfig()})
    assert elsewhere(profile, {"v": "$(id)"}).setup == Setup(
        modules=("python/$(id)",), prologue="echo {option_v}", venv="/envs/alice", binds=("/d/$(id)",)
    )


def test_a_submit_says_whether_it_may_be_a_second_one():
    assert elsewhere().again
    assert not elsewhere(again=False).again
