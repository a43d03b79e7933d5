"""JupyterHub 6.1 as a Hub. Its configuration is `jupyterhub_config.py`."""

import secrets
from pathlib import Path

from tests.bench import web
from tests.bench.process import BENCH_PYTHON, HERE, BenchError, Child, base_python
from tests.ports import free_port


class JupyterHub:
    """See `hubs.Hub`."""

    name = "jupyterhub"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.token = secrets.token_hex(32)
        self.child: Child | None = None
        self.took = 0.0

    @property
    def address(self) -> str:
        """See Hub."""
        return f"http://127.0.0.1:{self.port}"

    def authorization(self) -> dict[str, str]:
        """See Hub."""
        return {"Authorization": f"token {self.token}"}

    def start_body(self) -> bytes:
        """See Hub."""
        return b"{}"

    async def start(self) -> None:
        """Start it and wait until the hub answers through its proxy; `took` is the time in seconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.child = Child(
            self.command(), self.folder / "jupyterhub.log", environment=self.environment(), folder=self.folder
        )
        await self.child.until_listening(self.port)
        for _ in range(20000):
            self.child.check()
            if (await web.request("GET", f"{self.address}/hub/health")).status == 200:
                self.took = self.child.age()
                return
            await self.child.pause()
        raise BenchError("JupyterHub does not answer")

    def command(self) -> list[str]:
        """Return its argv."""
        return [BENCH_PYTHON, "-m", "jupyterhub", "-f", str(HERE / "jupyterhub_config.py")]

    def environment(self) -> dict[str, str]:
        """Return the environment variables that its configuration reads."""
        return {
            "BENCH_FOLDER": str(self.folder),
            "BENCH_PORT": str(self.port),
            "BENCH_HUB_PORT": str(free_port()),
            "BENCH_PROXY_API_PORT": str(free_port()),
            "BENCH_CHP": str(HERE / "node_modules/.bin/configurable-http-proxy"),
            "BENCH_STUB": f"{base_python()} -I -S {HERE / 'stub.py'}",
            "BENCH_TOKEN": self.token,
        }

    async def stop(self) -> None:
        """See Hub. JupyterHub stops its proxy and its users' servers itself."""
        if self.child:
            await self.child.stop()
