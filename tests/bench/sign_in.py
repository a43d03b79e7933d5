"""Signing in: JupyterHub with oauthenticator's generic class and Towpath, both against one provider.

Owns: how each hub is set up for it, and the load. Refuses to know how a hub is started (`tests.bench.jupyterhub`,
`tests.bench.towpath`).
"""

from pathlib import Path
from typing import Protocol

from tests.bench import loads
from tests.bench.jupyterhub import JupyterHub
from tests.bench.process import BENCH_PYTHON, HERE, Child, bench_environment
from tests.bench.towpath import COOKIE, Towpath
from tests.ports import free_port

CLIENT = "bench"
SECRET = "a secret of the benchmark's"
CONNECTIONS = 16
PEOPLE = 2000


class SignsIn(Protocol):
    """A hub to which people sign in by the provider. `start` and `stop` as in Target."""

    name: str
    port: int
    entry: str
    cookie: str

    async def start(self) -> None:
        """Up."""

    async def stop(self) -> None:
        """Down."""


class Provider:
    """`tests/bench/idp.py`, a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.child: Child | None = None

    @property
    def issuer(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Up when it listens."""
        command = [BENCH_PYTHON, str(HERE / "idp.py"), str(self.port)]
        self.child = Child(command, self.folder / "idp.log", environment=bench_environment())
        await self.child.until_listening(self.port)

    async def stop(self) -> None:
        """Down."""
        if self.child:
            await self.child.stop()


class JupyterHubByOAuth(JupyterHub):
    """Its entry is past `/hub/login`, which would only redirect to it."""

    entry = "/hub/oauth_login"
    cookie = "jupyterhub-hub-login"

    def __init__(self, folder: Path, issuer: str) -> None:
        super().__init__(folder)
        self._issuer = issuer

    def environment(self) -> dict[str, str]:
        """See JupyterHub."""
        return {**super().environment(), "BENCH_ISSUER": self._issuer, "BENCH_CLIENT": CLIENT, "BENCH_SECRET": SECRET}


class TowpathByOidc(Towpath):
    """With a provider as its only way in."""

    entry = "/hub/login"
    cookie = COOKIE

    def __init__(self, name: str, folder: Path, *, workers: int, issuer: str) -> None:
        super().__init__(name, folder, workers=workers)
        self._issuer = issuer

    def configuration(self) -> str:
        """See Towpath."""
        shared = 'kind = "local"\nisolation = "none"'
        plain = super().configuration().replace('kind = "local"', shared)
        return f"""{plain}
[auth]
[[auth.provider]]
name = "campus"
kind = "oidc"
allow_all = true
[auth.provider.oidc]
issuer = "{self._issuer}"
client_id = "{CLIENT}"
client_secret = "{SECRET}"
groups_claim = "groups"
"""

    async def start(self) -> None:
        """Up; nobody is signed in."""
        await self.launch()


async def measure(hub: SignsIn, seconds: float) -> dict[str, float]:
    """Rate (round trips a second), p50, p99."""
    return await loads.sign_in(hub.port, hub.entry, hub.cookie, connections=CONNECTIONS, people=PEOPLE, seconds=seconds)
