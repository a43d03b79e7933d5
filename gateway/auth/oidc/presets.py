"""What is known of each kind of provider: data, no code.

Owns: issuers, endpoints, scopes and the claims that hold a name and groups. Refuses to know how any of it is used. An
admin's own value for a key always comes first.

Sources: the providers' own pages on OpenID Connect and OAuth 2, as of November 2026.
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
    `openid` False: OAuth 2 alone, so there is no discovery and no ID token; `authorize` and `exchange` are paths
    under `site`, and who somebody is comes from `profile` under `api` (which is `own_api` under `site` for an
    installation of one's own). `subject`: the claim that never changes for a person. `public`: anybody can have an
    account there. `hints`: parameters of the authorization request, and the required claim that each tells the
    provider of. `extra`: further parameters. `other`: the `prompt` that lets somebody pick another account.
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
"""The claim in which what lookups find is put."""

PRESETS: Final[dict[str, Preset]] = {
    # Keycloak, Entra ID, Okta and whatever else a campus runs: all by discovery.
    "oidc": Preset(title="Campus account"),
    # OAuth 2 alone. Groups: `org` for each organisation, `org:team` for each team (both need the scope read:org).
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
    # `groups` of userinfo lists the full paths of all groups that somebody is a member of.
    "gitlab": Preset(
        title="GitLab",
        issuer="https://gitlab.com",
        scopes=("openid", "profile", "email"),
        groups_claim=GROUPS,
        public=True,
    ),
    # `hd` is the Workspace domain of the account: an address that ends in the domain is no proof of it.
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
    # `idp` is the entity id of the institution that somebody signed in at; `eppn` their name there.
    "cilogon": Preset(
        title="CILogon",
        issuer="https://cilogon.org",
        scopes=("openid", "profile", "email", "org.cilogon.userinfo"),
        name_claim="eppn",
        public=True,
        hints=(("selected_idp", "idp"),),
        other="select_account",
    ),
    # `identity_provider` is the UUID of the institution of the identity that somebody signed in with.
    "globus": Preset(
        title="Globus",
        issuer="https://auth.globus.org",
        public=True,
    ),
    # `sub` is the ORCID iD; there is no other name that is theirs alone.
    "orcid": Preset(
        title="ORCID",
        issuer="https://orcid.org",
        scopes=("openid",),
        name_claim="sub",
        public=True,
    ),
}
