"""Whether a provider can be reached and is the one that is meant, for `towpath check`.

Owns: the questions, and the answers in words. Refuses to know how they are printed. Nobody is signed in.
"""

from gateway.auth.oidc.door import ALGORITHMS
from gateway.auth.oidc.errors import AwayError, UnbelievableError
from gateway.auth.oidc.presets import PRESETS
from gateway.auth.oidc.provider import OidcProvider


async def probe(provider: OidcProvider) -> tuple[bool, str]:
    """Whether it is as it should be, and a line on it: what to register there, or what is wrong."""
    engine, preset = provider.engine, PRESETS[provider.given.preset]
    try:
        facts = await engine.facts()
        keys = await engine.keys()
    except AwayError as error:
        return False, f"does not answer: {error}"
    except UnbelievableError as error:
        return False, f"answers, but is not to be used: {error}"
    said = [f"redirect URI to register: {provider.redirect_uri}"]
    if preset.openid:
        usable = sorted({key.algorithm or "?" for key in keys})
        if not keys:
            return False, f"answers, but publishes no key that this hub can use ({', '.join(ALGORITHMS)})"
        said.insert(0, f"{facts.issuer} answers, {len(keys)} keys ({', '.join(usable)})")
        if facts.end_session and provider.given.sign_out:
            said.append(f"address after signing out: {provider.signed_out}")
        if facts.backchannel:
            hub = provider.signed_out.rpartition("/")[0]
            said.append(f"back-channel logout: {hub}/backchannel-logout/{provider.config.name}")
        if facts.challenges and "S256" not in facts.challenges:
            said.append("it does not say that it checks PKCE (S256)")
    else:
        said.insert(0, f"{facts.issuer} is known by its preset, and was not asked")
    if provider.config.allow_all and preset.public and not provider.given.required_claims:
        said.append("everybody in the world who has an account there may enter")
    return True, "; ".join(said)
