"""The checks of sign-in providers in `towpath check`: whether a directory answers, whether the hub may use PAM.

Owns these probes. They do not try any user's password. Does not know how users sign in.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from gateway.auth.addresses import hub_url, oidc_provider
from gateway.serve.findings import Finding
from state.account import account_name
from state.config.tables import AuthConfig, LdapConfig, PamConfig, ProviderConfig
from state.settings.loader import Settings

PAM_FOLDERS: Final = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))
SUDO_SECONDS: Final = 10


async def probe(settings: Settings) -> list[Finding]:
    """Return the findings of every provider that can be checked without a user's sign-in."""
    auth = settings.config.auth
    if auth is None:
        return []
    hub = hub_url(settings.config)
    rows = await asyncio.gather(*(_probe(provider, auth, hub) for provider in auth.provider))
    return [finding for found in rows for finding in found]


async def _probe(provider: ProviderConfig, auth: AuthConfig, hub: str) -> list[Finding]:
    part = f"sign-in {provider.name}"
    match provider.kind:
        case "oidc":
            return await _oidc(part, provider, auth, hub)
        case "ldap":
            return [finding async for finding in _ldap(part, provider.ldap or LdapConfig())]
        case "pam":
            return list(_pam(part, provider.pam or PamConfig()))
        case _:
            return []


async def _oidc(part: str, provider: ProviderConfig, auth: AuthConfig, hub: str) -> list[Finding]:
    """Read the provider's metadata and keys."""
    from gateway.auth.oidc.probe import probe as oidc_probe  # noqa: PLC0415 - only the kinds that the hub has

    client = oidc_provider(provider, auth, hub)
    try:
        good, text = await oidc_probe(client)
    finally:
        await client.close()
    return [Finding(part, good=good, text=text, passing=True)]


async def _ldap(part: str, config: LdapConfig) -> AsyncIterator[Finding]:
    if config.tls != "verified":
        how = "WITHOUT TLS" if config.tls == "none" else "WITHOUT CHECKING ITS CERTIFICATE"
        yield Finding(
            part,
            good=True,
            doubt=True,
            text=f"passwords go to the directory {how} (tls = {config.tls!r}): the network can read them",
        )
    try:
        from gateway.auth.ldap.directory import Directory  # noqa: PLC0415

        servers = await Directory(config).probe()
    except (ValueError, OSError) as error:
        yield Finding(part, good=False, text=str(error))
        return
    bound = f"the hub can bind as {config.bind_dn}" if config.bind_dn else "the hub binds anonymously"
    for url, fault in servers:
        yield Finding(part, good=not fault, text=f"{url} {fault or f'answers; {bound}'}", passing=True)


def _pam(part: str, config: PamConfig) -> Iterator[Finding]:
    if not any((folder / config.service).is_file() for folder in PAM_FOLDERS):
        where = " or ".join(str(folder / config.service) for folder in PAM_FOLDERS)
        yield Finding(part, good=False, text=f"{where} does not exist: PAM would use its service `other`")
        return
    text = f"PAM, service {config.service}"
    if config.sudo:
        from gateway.auth.pam import command  # noqa: PLC0415

        argv = command(config)
        yield Finding(part, good=_may_sudo(argv), text=f"{text}, with: {' '.join(argv)}")
    elif os.geteuid() != 0:
        name = account_name()
        yield Finding(
            part,
            good=True,
            doubt=True,
            text=f"{text}; without root, PAM checks only the password of {name}: set sudo = true (docs/sign-in.md)",
        )
    else:
        yield Finding(part, good=True, text=text)


def _may_sudo(argv: tuple[str, ...]) -> bool:
    """Return whether sudo would run the command without a password (sudo(8), `-l`)."""
    listing = [argv[0], "-n", "-l", *argv[3:]]
    try:
        done = subprocess.run(  # noqa: S603 - `sudo -l` with the helper's own argv
            listing, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SUDO_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
