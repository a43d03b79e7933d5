"""Checks for `towpath check` whether the servers of a directory answer, and whether the hub can bind there.

No user's password is tried.
"""

from gateway.auth.contract import Probed
from gateway.auth.kinds.ldap import LdapConfig
from gateway.auth.ldap.directory import Directory
from state.config.tables import AuthConfig, ProviderConfig


async def probe(provider: ProviderConfig, auth: AuthConfig, hub_url: str) -> list[Probed]:
    """Ask each server."""
    del auth, hub_url
    config: LdapConfig = provider.options or LdapConfig()
    found = []
    if config.tls != "verified":
        how = "WITHOUT TLS" if config.tls == "none" else "WITHOUT CHECKING ITS CERTIFICATE"
        text = f"passwords go to the directory {how} (tls = {config.tls!r}): the network can read them"
        found.append(Probed(good=True, doubt=True, text=text))
    try:
        servers = await Directory(config).probe()
    except (ValueError, OSError) as error:
        return [*found, Probed(good=False, text=str(error))]
    bound = f"the hub can bind as {config.bind_dn}" if config.bind_dn else "the hub binds anonymously"
    answers = [(not fault, f"{url} {fault or f'answers; {bound}'}") for url, fault in servers]
    return [*found, *(Probed(good=good, text=text, passing=True) for good, text in answers)]
