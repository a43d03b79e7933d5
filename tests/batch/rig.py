"""A controller as a process, with its own store and data directory, and small apps as servers."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from state.records.lifecycle import PROGRESS, renew
from state.records.models import Event, Server, Status, Target
from state.store.all import Store
from tests.batch.apps import app

ROOT = Path(__file__).parents[2]


class Rig:
    """The controller, its store and its jobs."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        commands: dict[str, tuple[str, ...]] | None = None,
        hub_url: str = "http://127.0.0.1:9",
        start_window: int = 120,
    ) -> None:
        self.url = url
        self.data_dir = folder / "data"
        self.config = folder / "towpath.toml"
        profiles = {"stub": app(), **(commands or {})}
        text = [
            f'[gateway]\ninternal_url = "{hub_url}"\n',
            f'[[cluster]]\nname = "local"\nkind = "local"\ntick = 0.2\nstart_window = {start_window}\n',
        ]
        for name, command in profiles.items():
            text.append(f'[[profile]]\nname = "{name}"\ncluster = "local"\ncommand = {json.dumps(list(command))}\n')
        self.config.write_text("\n".join(text))
        self.processes: list[subprocess.Popen] = []
        self.log = folder / "controller.log"

    def start(self, *, holder: str = "test", fault: str = "") -> subprocess.Popen:
        environment = {**os.environ, "TOWPATH_STATE_REDIS_URL": self.url, "TOWPATH_FAULT": fault}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "batch",
                    "controller",
                    "--config",
                    str(self.config),
                    "--data-dir",
                    str(self.data_dir),
                    "--holder",
                    holder,
                ],
                cwd=ROOT,
                env=environment,
                stderr=log,
                stdout=log,
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for job in self.jobs():
            for pid in self.pids(job):
                os.kill(pid, signal.SIGKILL)

    def jobs(self) -> list[str]:
        folder = self.data_dir / "jobs"
        return [path.name for path in folder.iterdir() if path.is_dir()] if folder.exists() else []

    def pids(self, attempt: str) -> list[int]:
        """Return every process that runs an app of this attempt, found by its environment."""
        return by_attempt().get(attempt, [])


def by_attempt() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            for variable in variables:
                if variable.startswith(b"TOWPATH_ATTEMPT="):
                    found.setdefault(variable.decode().partition("=")[2], []).append(int(entry.name))
    return found


def fresh(user: str = "alice", name: str = "", *, profile: str = "stub") -> Server:
    return Server(
        user=user,
        name=name,
        target=Target.READY,
        status=Status.REQUESTED,
        attempt=secrets.token_hex(16),
        profile=profile,
        cluster="local",
        requested=time.time(),
    )


async def ask(store: Store, server: Server) -> Server:
    """Save the intent, as the web side does."""
    old = await store.servers.get(server.user, server.name)
    record = renew(old, server) if old else server
    event = Event(
        attempt=server.attempt,
        time=time.time(),
        status=Status.REQUESTED,
        message="Asked for.",
        progress=PROGRESS[Status.REQUESTED],
    )
    return await store.servers.save(record, event=event)
