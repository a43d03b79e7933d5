"""Defaults for each kind of provider.

Owns issuers, endpoints, scopes and the claims with name and groups. Does not know how they are used. An
admin's own value for a key takes precedence.

Sources: the providers' documentation of OpenID Connect and OAuth 2, as of November 2026.
"""

from typing import Final

from msgspec import Struct


class Lookup(Struct, frozen=True, kw_only=True):
    """Groups from a list in the provider's API, such as GitHub's organisations.

    `path`: relative to the API's URL. A group's name is `parts` (claims of each entry, dots for nesting), joined
    with a colon.
    """

    path: str
    parts: tuple[str, ...]


class Preset(Struct, frozen=True, kw_only=True):
    """One kind of provider.

    `issuer` empty: the configuration sets it. `issuers`: further values of `iss` in its ID tokens.
    `openid` False: OAuth 2 only, without discovery and ID token; `authorize` and `exchange` are paths
    under `site`, and the user comes from `profile` under `api` (`own_api` under `site` for a
    self-hosted installation). `subject`: the claim that never changes for an account. `public`: anyone can create an
    account there. `hints`: parameters of the authorization request, each with the required claim whose value it
    passes on. `extra`: further parameters. `other`: the `prompt` with which a user can choose another account.
    """

    title: str
    issuer: str = ""
    issuers: tuple[str, ...] = ()
    openid: bool = True
    site: str = ""
    authorize: str = ""
    exchange: str = ""
    api: str = ""
    own_api: str = ""
    profile: str = ""
    lookups: tuple[Lookup, ...] = ()
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"
    groups_claim: str = ""
    subject: str = "sub"
    public: bool = False
    hints: tuple[tuple[str, str], ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    other: str = "login"


GROUPS: Final = "groups"
"""The claim for the groups that lookups find."""

PRESETS: Final[dict[str, Preset]] = {
    # Keycloak, Entra ID, Okta and all others with discovery.
    "oidc": Preset(title="Campus account"),
    # OAuth 2 only. Groups: `org` for each organisation, `org:team` for each team (both need the scope read:org).
    "github": Preset(
        title="GitHub",
        openid=False,
        site="https://github.com",
        authorize="/login/oauth/authorize",
        exchange="/login/oauth/access_token",
        api="https://api.github.com",
        own_api="/api/v3",
        profile="/user",
        lookups=(
            Lookup(path="/user/orgs?per_page=100", parts=("login",)),
            Lookup(path="/user/teams?per_page=100", parts=("organization.login", "slug")),
        ),
        scopes=("read:user", "read:org"),
        name_claim="login",
        groups_claim=GROUPS,
        subject="id",
        public=True,
        other="select_account",
    ),
    # `groups` of userinfo lists the full paths of all groups of the user.
    "gitlab": Preset(
        title="GitLab",
        issuer="https://gitlab.com",
        scopes=("openid", "profile", "email"),
        groups_claim=GROUPS,
        public=True,
    ),
    # `hd` is the Workspace domain of the account. An address that ends with the domain does not prove it.
    "google": Preset(
        title="Google",
        issuer="https://accounts.google.com",
        issuers=("accounts.google.com",),
        name_claim="email",
        public=True,
        hints=(("hd", "hd"),),
        extra=(("access_type", "offline"), ("prompt", "consent")),
        other="select_account",
    ),
    # `idp` is the entity id of the institution where the user signed in; `eppn` is the user's name there.
    "cilogon": Preset(
        title="CILogon",
        issuer="https://cilogon.org",
        scopes=("openid", "profile", "email", "org.cilogon.userinfo"),
        name_claim="eppn",
        public=True,
        hints=(("selected_idp", "idp"),),
        other="select_account",
    ),
    # `identity_provider` is the UUID of the institution of the identity that the user signed in with.
    "globus": Preset(
        title="Globus",
        issuer="https://auth.globus.org",
        public=True,
    ),
    # `sub` is the ORCID iD, the only unique name.
    "orcid": Preset(
        title="ORCID",
        issuer="https://orcid.org",
        scopes=("openid",),
        name_claim="sub",
        public=True,
    ),
}
