"""The passes with which gateways reach apps on hosts: the way there, whom to trust, and certificates for forwarding.

Owns what is in a pass. Whether a gateway may have one is the controller's to decide.
"""

import time
from collections.abc import Callable
from typing import Final

from batch.authority.ssh import expires
from batch.contract import LauncherError
from batch.launchers.ssh.kind import SshConfig, SshHostConfig, SshJumpConfig
from batch.launchers.ssh.native_id import Place
from batch.launchers.ssh.requests import TELL_ADMINS
from batch.ssh.credentials import Credentials
from batch.ssh.errors import CredentialsError
from batch.ssh.keys import KnownHosts, check_forwarding_certificate
from state.errors import TowpathError
from state.records.ssh import SshHop, SshPass

PASS_SECONDS: Final = 12 * 3600
"""Seconds for which a pass is valid. Gateways renew it at half of that, so a controller may be away for hours."""


class PassMaker:
    """Makes passes to the hosts of one pool."""

    def __init__(
        self,
        config: SshConfig,
        credentials: Credentials,
        known_hosts: Callable[[], KnownHosts],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._known_hosts = known_hosts
        self._clock = clock

    async def make(self, place: Place, public_key: str) -> SshPass:
        """Return a pass to sockets of the account at this place, for a gateway with this key. Raises LauncherError."""
        host = next((host for host in self._config.host if host.name == place.host), None)
        if host is None:
            raise LauncherError("The host of this server is not in the pool any more.", transient=False, code="host")
        now, jump = self._clock(), self._config.jump
        certificates: dict[str, str] = {}
        try:
            known = self._known_hosts()
            way: list[tuple[SshHostConfig | SshJumpConfig, str]] = [(host, place.account)]
            if jump is not None:
                way.insert(0, (jump, jump.user or place.account))
            hops = [
                SshHop(
                    name=each.name,
                    address=each.address or each.name,
                    port=each.port,
                    user=user,
                    host_keys=known.lines(each.name, each.port),
                    certificate=await self._certificate(user, public_key, certificates),
                )
                for each, user in way
            ]
            ends = min(expires(certificate) for certificate in certificates.values())
        except (CredentialsError, TowpathError) as error:
            message = f"The hub has no certificate with which to reach {place.host}."
            raise LauncherError(message, transient=True, code="credentials", hint=TELL_ADMINS) from error
        return SshPass(hops=tuple(hops), issued=now, expires=ends)

    async def _certificate(self, user: str, public_key: str, made: dict[str, str]) -> str:
        """Return the certificate for an account, made once for a pass."""
        if user not in made:
            certificate = await self._credentials.forwarding(public_key, user, seconds=PASS_SECONDS)
            check_forwarding_certificate(certificate, public_key, user)
            made[user] = certificate
        return made[user]
