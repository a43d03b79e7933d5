"""Opens the configured providers, by what their kinds say."""

from collections.abc import Callable
from functools import partial
from importlib import import_module

from gateway.auth.cookies import KNOWN_NAME, CookieJar
from gateway.auth.naming import hub_name
from gateway.auth.plugin import PluginProof, open_authenticator
from gateway.auth.proof import Proof, ProofContext
from gateway.auth.throttle import ThrottledProof, ThrottleLimits
from gateway.tunnel.options import Network
from portal.site.sign_in import Provider
from state.config.tables import AuthConfig, ProviderConfig
from state.names import as_listed
from state.plugins.authenticators import AuthenticatorKind, kind_of
from state.settings.files import logo_name
from state.store.tries import Tries


def open_providers(
    auth: AuthConfig, hub_url: str, tries: Tries, proxies: tuple[Network, ...], *, jar: CookieJar
) -> dict[str, Proof]:
    """Open each [[auth.provider]], by name. `hub_url`: the public URL. `jar`: a jar of the hub's pages.

    Failed passwords are counted for every kind with a form for them.
    """
    found: dict[str, Proof] = {}
    for provider in auth.provider:
        kind = kind_of(provider)
        context = ProofContext(
            auth=auth, hub_url=hub_url, proxies=proxies, shown=_shown(provider, kind), name_of=_rule(provider, auth)
        )
        proof = _open(provider, kind, context)
        if kind.form == "password":
            proof = ThrottledProof(proof, tries, ThrottleLimits(auth.throttle), jar.another(KNOWN_NAME))
        found[provider.name] = proof
    return found


def _open(provider: ProviderConfig, kind: AuthenticatorKind, context: ProofContext) -> Proof:
    if kind.proof:
        module, _, name = kind.proof.partition(":")
        proof: Proof = getattr(import_module(module), name)(provider, context)  # each hub loads its own kinds
        return proof
    opened = open_authenticator(provider, kind, proxies=context.proxies, hub_url=context.hub_url)
    return PluginProof(context.shown, kind, opened, context.name_of)


def _shown(provider: ProviderConfig, kind: AuthenticatorKind) -> Provider:
    title = provider.title or kind.title
    return Provider(name=provider.name, title=title, note=provider.note, form=kind.form, logo=logo_name(provider))


def _rule(provider: ProviderConfig, config: AuthConfig) -> Callable[[str], str]:
    """Return the function that converts this provider's names to the hub's."""
    table = {as_listed(name): local_name for name, local_name in provider.names.items()}
    return partial(hub_name, provider=provider, providers=config.provider, table=table)
