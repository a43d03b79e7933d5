"""The start of a gateway, from exec to its first answer, beside the same of another checkout of Towpath.

Both run with this environment's interpreter and packages, on one store, without routes, in turn. Only the code differs.
"""

import asyncio
import sys
import time
from pathlib import Path

from tests.bench import web
from tests.bench.process import PATIENCE, ROOT, BenchError, Child
from tests.bench.towpath import redis_url
from tests.ports import free_port

SCENARIO = "gateway-start"
NOW = "towpath"
BEFORE = "before"


class GatewayStart:
    """Starts `towpath gateway` of a checkout, with one worker."""

    def __init__(self, name: str, checkout: Path, folder: Path, url: str) -> None:
        self.name = name
        self.checkout = checkout
        self.folder = folder
        self.url = url

    async def measure(self) -> dict[str, float]:
        """Return the seconds from exec until GET /hub/health was answered with 200."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "towpath.toml"
        config.write_text(f'[state]\nredis_url = "{self.url}"\n')
        port = free_port()
        command = [
            *(sys.executable, "-m", "gateway", "gateway", "--config", str(config), "--data-dir", str(self.folder / "data")),
            *("--port", str(port), "--workers", "1"),
        ]  # fmt: skip
        environment = {"PYTHONPATH": str(self.checkout)}
        child = Child(command, self.folder / "gateway.log", environment=environment, folder=self.folder)
        try:
            while not await answers(f"http://127.0.0.1:{port}/hub/health"):
                child.check()
                if child.age() > PATIENCE:
                    raise BenchError(f"{self.name} does not answer:\n{child.output()[-2000:]}")
                await asyncio.sleep(0.002)
            return {"time": child.age()}
        finally:
            await child.stop()


async def answers(url: str) -> bool:
    """Return whether the gateway answers with 200."""
    try:
        return (await web.request("GET", url, {})).status == 200
    except (OSError, EOFError):
        return False


class GatewayStore:
    """A Valkey for the gateways, as `towpath serve` runs one."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "store"
        self.child: Child | None = None

    async def start(self) -> str:
        """Start it; return its URL."""
        from gateway.serve import valkey

        self.data.mkdir(mode=0o700, parents=True)
        self.child = Child(valkey.command(self.data), self.data / "valkey.log")
        deadline = time.perf_counter() + PATIENCE
        while not Path(f"{self.data}/valkey.sock").exists():
            self.child.check()
            if time.perf_counter() > deadline:
                raise BenchError("Valkey does not start")
            await asyncio.sleep(0.01)
        return redis_url(self.data)

    async def stop(self) -> None:
        """Stop it."""
        if self.child is not None:
            await self.child.stop()


def checkout(path: Path) -> Path:
    """Check that this is a checkout of Towpath. Raises BenchError."""
    if not (path / "gateway/worker.py").is_file():
        raise BenchError(f"{path} is not a checkout of Towpath. Make one with: git worktree add {path} COMMIT")
    return path.resolve()


def targets(before: Path, folder: Path, url: str) -> list[GatewayStart]:
    """Return both gateways. Bytecode of both is compiled by the first round, which is not measured."""
    return [
        GatewayStart(NOW, ROOT, folder / "gateway-now", url),
        GatewayStart(BEFORE, checkout(before), folder / "gateway-before", url),
    ]
