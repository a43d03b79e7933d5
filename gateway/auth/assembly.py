"""Creates the configured providers, except those of kind `oidc` and `test`."""

from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.auth.cookies import KNOWN_NAME, CookieJar
from gateway.auth.header import HeaderProof
from gateway.auth.naming import hub_name
from gateway.auth.plugin import PluginProof, open_authenticator
from gateway.auth.proof import Proof
from gateway.auth.throttle import ThrottledProof, ThrottleLimits
from gateway.tunnel.options import Network
from portal.site.sign_in import Provider
from state.config.tables import AuthConfig, HeaderConfig, LdapConfig, PamConfig, ProviderConfig
from state.names import as_listed
from state.plugins import authenticators
from state.settings.files import logo_name
from state.store.tries import Tries

TITLES: Final = {"header": "the campus portal", "ldap": "Sign in", "pam": "Sign in with your account"}
"""Default titles of the ways to sign in."""


def by_password(provider: ProviderConfig, config: AuthConfig, tries: Tries, jar: CookieJar) -> Proof:
    """Create a provider with name and password, with limits on failures. `jar`: a jar of the hub's pages."""
    shown = _shown(provider, "password")
    name_of = _rule(provider, config)
    proof: Proof
    if provider.kind == "ldap":
        from gateway.auth.ldap.directory import Directory  # noqa: PLC0415 - each hub loads its own kinds
        from gateway.auth.ldap.provider import LdapProof  # noqa: PLC0415

        proof = LdapProof(shown, Directory(provider.ldap or LdapConfig()), name_of)
    else:
        from gateway.auth.pam import PamProof  # noqa: PLC0415

        proof = PamProof(shown, provider.pam or PamConfig(), name_of)
    return ThrottledProof(proof, tries, ThrottleLimits(config.throttle), jar.another(KNOWN_NAME))


def by_header(provider: ProviderConfig, config: AuthConfig, *, proxies: tuple[Network, ...]) -> HeaderProof:
    """Create a provider for a portal's header."""
    return HeaderProof(
        _shown(provider, "link"),
        provider.header or HeaderConfig(),
        _rule(provider, config),
        proxies=proxies,
    )


def by_plugin(
    provider: ProviderConfig,
    config: AuthConfig,
    tries: Tries,
    jar: CookieJar,
    *,
    proxies: tuple[Network, ...],
    hub_url: str,
) -> Proof:
    """Return the provider of another package's kind; failed passwords count there too."""
    kind = authenticators.kind_of(provider)
    opened = open_authenticator(provider, kind, proxies=proxies, hub_url=hub_url)
    proof = PluginProof(_shown(provider, kind.form, kind.title), kind, opened, _rule(provider, config))
    if kind.form != "password":
        return proof
    return ThrottledProof(proof, tries, ThrottleLimits(config.throttle), jar.another(KNOWN_NAME))


def _shown(provider: ProviderConfig, form: str, title: str = "") -> Provider:
    title = provider.title or title or TITLES[provider.kind]
    return Provider(name=provider.name, title=title, note=provider.note, form=form, logo=logo_name(provider))


def _rule(provider: ProviderConfig, config: AuthConfig) -> Callable[[str], str]:
    """Return the function that converts this provider's names to the hub's."""
    table = {as_listed(name): local_name for name, local_name in provider.names.items()}
    return partial(hub_name, provider=provider, providers=config.provider, table=table)
