"""Sign-in: JupyterHub with oauthenticator's generic class, and Towpath, with the same provider.

Owns the setup of each hub and the load. Does not know how a hub is started (`tests.bench.jupyterhub`,
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
USERS = 2000


class SignsIn(Protocol):
    """A hub whose users sign in with the provider. `start` and `stop` as in Target."""

    name: str
    port: int
    entry: str
    cookie: str

    async def start(self) -> None:
        """Start it."""

    async def stop(self) -> None:
        """Stop it."""


class Provider:
    """`tests/bench/idp.py` in its own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.child: Child | None = None

    @property
    def issuer(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it listens."""
        command = [BENCH_PYTHON, str(HERE / "idp.py"), str(self.port)]
        self.child = Child(command, self.folder / "idp.log", environment=bench_environment())
        await self.child.until_listening(self.port)

    async def stop(self) -> None:
        """Stop it."""
        if self.child:
            await self.child.stop()


class JupyterHubByOAuth(JupyterHub):
    """JupyterHub with OAuth. Its entry is after `/hub/login`, which would only redirect to it."""

    entry = "/hub/oauth_login"
    cookie = "jupyterhub-hub-login"

    def __init__(self, folder: Path, issuer: str) -> None:
        super().__init__(folder)
        self._issuer = issuer

    def environment(self) -> dict[str, str]:
        """See JupyterHub."""
        return {**super().environment(), "BENCH_ISSUER": self._issuer, "BENCH_CLIENT": CLIENT, "BENCH_SECRET": SECRET}


class TowpathByOidc(Towpath):
    """Towpath with the provider as the only way to sign in."""

    entry = "/hub/login"

    def __init__(self, name: str, folder: Path, *, workers: int, issuer: str) -> None:
        super().__init__(name, folder, workers=workers)
        self._issuer = issuer

    @property
    def cookie(self) -> str:
        """The name of the session's cookie."""
        return f"{COOKIE}.{self.port}"

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
        """Start it without signing in."""
        await self.launch()


async def measure(hub: SignsIn, seconds: float) -> dict[str, float]:
    """Return rate (round trips/s), p50 and p99."""
    return await loads.sign_in(hub.port, hub.entry, hub.cookie, connections=CONNECTIONS, users=USERS, seconds=seconds)
