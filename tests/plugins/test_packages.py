"""Two small packages, a launcher and an authenticator, installed beside the wheel in a clean environment, and run there."""

import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
from hub import STUB_APP, eventually

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".venv-uv/bin/uv"
HERE = Path(__file__).parent


def uv(*words, **more):
    subprocess.run([UV, *words], check=True, env={**os.environ, "UV_NO_CONFIG": "1"}, **more)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The folder of programs of an environment with the wheels of Towpath and of the two packages, and what they need."""
    folder = tmp_path_factory.mktemp("clean")
    wheels = folder / "wheels"
    for source in ("", "towpath_moon", "towpath_badge"):
        copy = ROOT
        if source:
            copy = Path(shutil.copytree(HERE / source, folder / source))
        builder = ("--no-build-isolation", "--python", ROOT / ".venv/bin/python")
        uv("build", "--quiet", "--wheel", *builder, "--out-dir", wheels, cwd=copy)
    python = folder / "venv/bin/python"
    uv("venv", "--quiet", "--python", Path(os.path.realpath(ROOT / ".venv/bin/python")), folder / "venv")
    into = ("--quiet", "--python", python)
    uv("pip", "sync", *into, "--require-hashes", ROOT / "requirements/test.lock")
    uv("pip", "install", *into, "--no-deps", "--offline", *sorted(wheels.glob("*.whl")))
    return python.parent


def environment():
    """Nothing leads to this checkout."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TOWPATH", "COV"))}


def test_the_launcher_passes_the_contracts_suite_in_its_own_test_run(clean, tmp_path):
    (tmp_path / "suite").mkdir()
    shutil.copy(HERE / "towpath_moon/suite/moon_contract.py", tmp_path / "suite/test_moon.py")  # not in our own run
    (tmp_path / "suite/pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\nfilterwarnings = error\n")
    done = subprocess.run(
        [clean / "python", "-m", "pytest", "-q", "--strict-markers", "."],
        cwd=tmp_path / "suite",
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b11 passed", done.stdout), done.stdout
    assert "skipped" not in done.stdout


def test_a_failing_launcher_is_explained_by_the_suite(clean, tmp_path):
    """A launcher that loses its jobs fails, and the failure shows the values, though the suite is no test module."""
    (tmp_path / "test_bad.py").write_text(
        "import pytest\n"
        "from batch.contract_suite import ContractCluster, LauncherContract\n"
        "from towpath_moon.launcher import MoonLauncher\n"
        "class Forgetful(MoonLauncher):\n"
        "    async def poll(self, known=()):\n"
        "        return {}\n"
        "class TestForgetful(LauncherContract):\n"
        "    @pytest.fixture\n"
        "    def cluster(self, tmp_path):\n"
        "        return ContractCluster(lambda: Forgetful('moon', tmp_path))\n"
    )
    done = subprocess.run(
        [clean / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "same_jobs_in_one_call", "."],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    assert "assert set() ==" in done.stdout, done.stdout


class PluginHub:
    """A hub of the clean environment, with both plug-ins in its configuration."""

    def __init__(self, clean, folder):
        self.clean = clean
        self.folder = folder
        self.register = folder / "register"
        self.register.write_text("alice s3cret-of-alice staff,physics\n")
        self.secret = folder / "gate-secret"
        self.secret.write_text("of-the-gate\n")
        self.secret.chmod(0o600)
        (folder / "stub.py").write_text(STUB_APP)
        (folder / "auth-state-key").write_text("0123456789abcdef0123456789abcdef\n")
        (folder / "auth-state-key").chmod(0o600)
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.config = folder / "towpath.toml"
        self.config.write_text(f"""
[auth]
auth_state_key_file = "auth-state-key"
[[auth.provider]]
name = "badges"
kind = "badge"
auth_state = true
allowed_groups = ["staff"]
[auth.provider.badge]
register = "{self.register}"

[[auth.provider]]
name = "gates"
kind = "gate"
prefix = "g-"
allow_all = true
[auth.provider.gate]
secret_file = "gate-secret"

[[cluster]]
name = "surface"
kind = "moon"
isolation = "none"
tick = 0.1
[cluster.moon]
crater = "{folder}/crater"

[[profile]]
name = "stub"
cluster = "surface"
app = "web"
command = ["{clean}/python", "{folder}/stub.py", "{{socket}}"]

[[hook]]
kind = "badge_token"
auth_state = true
[hook.badge_token]
variable = "SITE_TOKEN"
""")
        self.output = []

    def arguments(self):
        return ["--config", str(self.config), "--data-dir", str(self.folder / "data")]

    def command(self, name, *more):
        return subprocess.run(
            [self.clean / "towpath", name, *self.arguments(), *more],
            env=environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
        )

    def start(self):
        self.process = subprocess.Popen(
            [self.clean / "towpath", "serve", *self.arguments(), "--port", str(self.port)],
            env=environment(),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready = threading.Event()

        def read():
            for line in self.process.stdout:
                self.output.append(line.rstrip())
                if line.startswith("Towpath is ready at"):
                    ready.set()
            ready.set()

        self.reader = threading.Thread(target=read)
        self.reader.start()
        if not ready.wait(60) or self.process.poll() is not None:
            self.stop()
            raise AssertionError("\n".join(self.output))
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.reader.join(10)
        self.process.stdout.close()

    def client(self):
        return httpx.Client(
            base_url=self.origin, headers={"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}, timeout=30
        )

    def sign_in(self, client, name, password):
        return client.post("/hub/login", data={"provider": "badges", "username": name, "password": password})


@pytest.fixture(scope="module")
def hub(clean, tmp_path_factory):
    hub = PluginHub(clean, tmp_path_factory.mktemp("hub")).start()
    yield hub
    hub.stop()


def test_check_and_version_know_the_plug_ins(hub):
    done = hub.command("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "surface" in done.stdout


def test_a_faulty_option_of_a_plug_in_is_found_with_the_rest(hub, tmp_path):
    text = hub.config.read_text().replace('register = "', 'regster = "').replace(f"{hub.folder}/crater", "crater")
    (tmp_path / "towpath.toml").write_text(text)
    done = subprocess.run(
        [hub.clean / "towpath", "check", "--config", tmp_path / "towpath.toml", "--data-dir", tmp_path / "data"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "auth.provider[1].badge.regster: there is no such key. Did you mean register?" in done.stderr
    assert "cluster[1].moon.crater: 'crater' is not an absolute path." in done.stderr


def test_a_user_signs_in_with_the_plug_in_and_works_on_its_cluster(hub):
    with hub.client() as client:
        page = client.get("/hub/login").text
        assert "Sign in with your badge" in page
        assert hub.sign_in(client, "alice", "wrong").status_code in (401, 403)
        assert hub.sign_in(client, "alice", "s3cret-of-alice").status_code in (302, 303)
        token = hub.command("token", "alice").stdout.strip().splitlines()[-1]
        api = {"Authorization": f"token {token}"}
        user = client.get("/hub/api/users/alice", headers=api).json()
        assert user["groups"] == ["physics", "staff"]
        assert client.post("/hub/api/users/alice/server", headers=api).status_code in (201, 202)

        def model():
            return client.get("/hub/api/users/alice", headers=api).json()["servers"].get("")

        eventually(lambda: (model() or {}).get("ready"), what="the server")
        pid = client.get("/user/alice/", follow_redirects=True).json()["pid"]
        assert b"SITE_TOKEN=token-of-alice" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert list((hub.folder / "crater").iterdir())
        client.delete("/hub/api/users/alice/server", headers=api)
        eventually(lambda: not (model() or {}).get("pending") and not (model() or {}).get("ready"), what="its end")


def test_a_hook_in_python_refuses_with_a_sentence(hub):
    hub.register.write_text(hub.register.read_text() + "broke s3cret-of-broke staff\n")
    with hub.client() as client:
        assert hub.sign_in(client, "broke", "s3cret-of-broke").status_code in (302, 303)
        token = hub.command("token", "broke").stdout.strip().splitlines()[-1]
        api = {"Authorization": f"token {token}"}
        client.post("/hub/api/users/broke/server", headers=api)
        eventually(lambda: "Your allocation is used up." in client.get("/hub/home").text, what="the sentence")


def test_an_account_that_is_gone_ends_its_session(hub):
    hub.register.write_text(hub.register.read_text() + "bob s3cret-of-bob staff\n")
    with hub.client() as client:
        assert hub.sign_in(client, "bob", "s3cret-of-bob").status_code in (302, 303)
        assert client.get("/hub/home").status_code == 200
        hub.register.rename(hub.folder / "away")  # no answer ends nothing
        eventually(lambda: True)
        assert client.get("/hub/home").status_code == 200
        (hub.folder / "away").rename(hub.register)
        hub.register.write_text("alice s3cret-of-alice staff,physics\n")
        eventually(lambda: client.get("/hub/home").status_code != 200, what="the end of the session")


@pytest.mark.parametrize("name", ["hang", "bug"])
def test_a_plug_in_that_hangs_or_fails_signs_nobody_in(hub, name):
    with hub.client() as client:
        answer = hub.sign_in(client, name, "x")
        assert answer.status_code == 503
        assert "does not answer" in answer.text
        assert client.get("/hub/home").status_code != 200
    eventually(lambda: any("A sign-in plug-in failed. provider=badges" in line for line in hub.output), what="the log")


def test_a_link_of_a_plug_in_proves_by_the_request(hub):
    with hub.client() as client:
        headers = {"X-Gate-User": "carol", "X-Gate-Secret": "of-the-gate", "Sec-Fetch-Site": "none"}
        refused = client.get("/hub/login/gates", headers={**headers, "X-Gate-Secret": "guess"})
        assert "Come through the gate." in refused.text
        assert client.get("/hub/login/gates", headers=headers).status_code in (302, 303)
        assert "g-carol" in client.get("/hub/home").text
