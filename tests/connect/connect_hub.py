"""A hub whose servers accept SSH, and the client of `towpath connect` in a home of its own."""

import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import secret_scan

from portal.client import towpath_connect
from tests.hub import Hub, eventually, stub_config

ROLE = '\n[[role]]\nname = "user"\nscopes = ["self", "shares!user", "read:users:name", "read:groups:name"]\n'
CLIENT = Path(towpath_connect.__file__)
SSHD_FOLDER = Path("/run/sshd")
OURS = 0o711


@contextlib.contextmanager
def sshd_folder():
    """The folder that sshd needs where it runs as root, which packages make at boot.

    Several processes of one run use it. The last one removes it: each holds a lock on it. The mode says that it is ours.
    """
    if os.geteuid() != 0:
        yield
        return
    while True:
        with contextlib.suppress(FileExistsError):
            SSHD_FOLDER.mkdir(mode=OURS)
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(SSHD_FOLDER, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if SSHD_FOLDER.exists() and os.fstat(fd).st_ino == SSHD_FOLDER.stat().st_ino:
                break
            os.close(fd)
    try:
        yield
    finally:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_mode & 0o777 == OURS:
                SSHD_FOLDER.rmdir()
        os.close(fd)


def hub_config(folder: Path, *, more: str = "") -> str:
    """Two users, a profile with SSH (`stub`), and one without (`plain`)."""
    config = stub_config(folder)
    config = config.replace('default_path = "hello"', 'default_path = "hello"\nssh = true', 1)
    plain = config[config.index("[[profile]]") :].split("[[profile]]")[1]
    plain = "[[profile]]" + plain.replace('name = "stub"', 'name = "plain"').replace("ssh = true", "")
    return f'[gateway]\nshare_on_one_host = true\n[auth]\nallowed_users = ["alice", "bob"]\n[[auth.provider]]\nname = "test"\nkind = "test"\n{ROLE}{config}\n{plain}\n{more}'


class Client:
    """A laptop: a home with its own ~/.ssh/config and sign-ins."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.hub = hub
        self.folder = folder
        self.sign_ins = folder / "sign-ins"
        self.config = folder / "config"
        folder.mkdir(parents=True, exist_ok=True)

    def environment(self):
        return {**os.environ, "TOWPATH_CONNECT_DIR": str(self.sign_ins), "HOME": str(self.folder)}

    def run(self, *words, check=True, program=(sys.executable, str(CLIENT)), **more):
        done = subprocess.run(
            [*program, *words], capture_output=True, text=True, env=self.environment(), timeout=120, **more
        )
        if check:
            assert done.returncode == 0, (done.stdout, done.stderr)
        return done

    def begin_login(self, *more):
        """Start `login`; return the process and the code that it shows."""
        process = subprocess.Popen(
            [sys.executable, str(CLIENT), "login", self.hub.origin, "--no-browser", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )
        line = process.stdout.readline()
        found = re.search(r"Open (\S+) .* code  (\S+)", line)
        assert found, (line, process.stderr.read() if process.poll() is not None else "")
        return process, found[2], found[1]

    def login(self, browser):
        """Sign in, approved in the browser."""
        process, code, _ = self.begin_login()
        shown = browser.post("/hub/device", data={"code": code})
        assert shown.status_code == 200, shown.text
        assert "Approve it only if you started it yourself" in shown.text
        answer = browser.post("/hub/device", data={"code": code, "decision": "approve"})
        assert "Approved." in answer.text
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, (out, error)
        secret_scan.add_secret(self.token(), "the client's token")
        return self

    def token(self):
        return json.loads((self.sign_ins / "towpath.json").read_text())["token"]

    def write_config(self):
        return self.run("config", "--file", str(self.config))

    def ssh(self, *words, program="ssh", **more):
        """Run OpenSSH's client (or scp, sftp) with the written configuration."""
        return self.run(*words, program=(program, "-F", str(self.config), "-o", "BatchMode=yes"), **more)

    def popen(self, *words, **more):
        """Start OpenSSH's client; the caller ends it."""
        return subprocess.Popen(
            ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment(), **more,
        )  # fmt: skip


class ConnectHub(Hub):
    """A hub of `hub_config`."""

    def start_for(self, api, user, name="", profile="stub"):
        """Start a server of a user and wait until it is ready."""
        where = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        answer = api.post(where, json={"profile": profile})
        assert answer.status_code in (201, 202), answer.text
        return eventually(lambda: self.server_of(api, user, name), what="the server to be ready")

    def server_of(self, api, user, name=""):
        found = api.get(f"/users/{user}").json()["servers"].get(name)
        return found if found and found["ready"] else None
