"""What is known of each kind of provider: data, no code.

Owns: issuers, endpoints, scopes and the claims that hold a name and groups, with the documents that they come from.
Refuses to know how any of it is used. An admin's own value for a key always comes first.
"""

from typing import Final

from msgspec import Struct


class Lookup(Struct, frozen=True, kw_only=True):
    """Groups from a list that the provider's API gives (GitHub's organisations, for one).

    `path`: under the API's URL. A group's name is made of `parts` (claims of each entry, a dot goes deeper), joined
    with a colon.
    """

    path: str
    parts: tuple[str, ...]


class Preset(Struct, frozen=True, kw_only=True):
    """One kind of provider.

    `issuer` empty: the configuration names it. `issuers`: further values of `iss` that its ID tokens may have.
    `openid` False: OAuth 2 alone, so there is no discovery and no ID token; `authorize`, `token` and `api` are its
    URLs, and who somebody is comes from `profile` under `api`. `needs`: claims that `required_claims` must restrict.
    `hints`: parameters of the authorization request and the required claim that they tell the provider of.
    `subject`: the claim that never changes for a person.
    """

    title: str
    issuer: str = ""
    issuers: tuple[str, ...] = ()
    openid: bool = True
    authorize: str = ""
    token: str = ""
    api: str = ""
    profile: str = ""
    lookups: tuple[Lookup, ...] = ()
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"
    groups_claim: str = ""
    subject: str = "sub"
    needs: tuple[str, ...] = ()
    hints: tuple[tuple[str, str], ...] = ()
    extra: tuple[tuple[str, str], ...] = ()


PRESETS: Final[dict[str, Preset]] = {
    # Keycloak, Entra ID, Okta and whatever else a campus runs: all by discovery.
    "oidc": Preset(title="Campus account"),
}
