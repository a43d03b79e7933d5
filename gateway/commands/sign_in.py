"""What `towpath check` asks of the ways to sign in: does the directory answer, may the hub ask PAM.

Owns: these probes. Nobody's password is tried. Refuses to know how people sign in.
"""

import asyncio
import os
import pwd
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from gateway.auth.addresses import away, hub_url
from gateway.auth.ldap.directory import Directory
from gateway.auth.oidc.probe import probe as oidc_probe
from gateway.auth.pam import command
from gateway.serve.findings import Finding
from state.config.tables import AuthConfig, LdapConfig, PamConfig, ProviderConfig
from state.settings.loader import Settings

PAM_FOLDERS: Final = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))
SUDO_SECONDS: Final = 10


async def probe(settings: Settings) -> list[Finding]:
    """A row, or some, for each provider that can be asked without a person."""
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
    """What one that signs people in on pages of its own says that it is."""
    asked = away(provider, auth, hub)
    try:
        good, text = await oidc_probe(asked)
    finally:
        await asked.close()
    return [Finding(part, good=good, text=text, passing=True)]


async def _ldap(part: str, config: LdapConfig) -> AsyncIterator[Finding]:
    if config.tls != "verified":
        how = "WITHOUT TLS" if config.tls == "none" else "WITHOUT CHECKING WHO IT IS"
        yield Finding(
            part,
            good=True,
            doubt=True,
            text=f"passwords go to the directory {how} (tls = {config.tls!r}): whoever can stand in between reads them",
        )
    try:
        told = await Directory(config).probe()
    except (ValueError, OSError) as error:
        yield Finding(part, good=False, text=str(error))
        return
    whom = f"and knows {config.bind_dn}" if config.bind_dn else "and is asked by nobody in particular"
    for url, wrong in told:
        yield Finding(part, good=not wrong, text=f"{url} {wrong or f'answers {whom}'}", passing=True)


def _pam(part: str, config: PamConfig) -> Iterator[Finding]:
    if not any((folder / config.service).is_file() for folder in PAM_FOLDERS):
        where = " or ".join(str(folder / config.service) for folder in PAM_FOLDERS)
        yield Finding(part, good=False, text=f"there is no {where}: PAM would take its service `other`")
        return
    text = f"PAM, service {config.service}"
    if config.sudo:
        argv = command(config)
        yield Finding(part, good=_may_sudo(argv), text=f"{text}, by: {' '.join(argv)}")
    elif os.geteuid() != 0:
        name = pwd.getpwuid(os.geteuid()).pw_name
        yield Finding(
            part,
            good=True,
            doubt=True,
            text=f"{text}; without root PAM checks no password but that of {name}: set sudo = true (docs/sign-in.md)",
        )
    else:
        yield Finding(part, good=True, text=text)


def _may_sudo(argv: tuple[str, ...]) -> bool:
    """Whether sudo would run it without a password (sudo(8), -l)."""
    asked = [argv[0], "-n", "-l", *argv[3:]]
    try:
        done = subprocess.run(  # noqa: S603 - the helper's own argv, which is only asked about
            asked, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SUDO_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
