"""A controller as a process, with its own store and data directory, and small apps as servers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from batch.contract_suite.jobs import fresh
from batch.contract_suite.jobs import processes_by_attempt as by_attempt
from state.records.lifecycle import PROGRESS, renew
from state.records.models import Event, Server, Status
from state.store.all import Store
from tests.batch.apps import app

__all__ = ["ROOT", "Rig", "ask", "by_attempt", "fresh"]

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


async def ask(store: Store, server: Server) -> Server:
    """Save the intent, as the web side does."""
    old = await store.servers.get(server.user, server.name)
    record = renew(old, server) if old else server
    event = Event(
        attempt=server.attempt,
        time=time.time(),
        status=Status.REQUESTED,
        message="Requested.",
        progress=PROGRESS[Status.REQUESTED],
    )
    return await store.servers.save(record, event=event)
