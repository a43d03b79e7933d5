"""The kind `oidc`: OpenID Connect or OAuth 2 at a provider's own pages, and the table that describes the provider."""

from typing import Annotated, Final

from msgspec import Meta, Struct, field

from gateway.auth.kinds.secrets import PLACEHOLDERS, guessable
from state.config.tables import Config, ProviderConfig
from state.config.urls import is_private, is_web_url
from state.plugins.authenticators import AuthenticatorKind
from state.plugins.options import Say

PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "oidc": (),
    "github": (),
    "gitlab": (),
    "google": (),
    "cilogon": ("idp",),
    "globus": (),
    "orcid": (),
}
"""The presets of kind `oidc`, and the claims that `required_claims` must restrict for each (`gateway.auth.oidc`)."""
OWN_URL: Final = ("github", "gitlab")
GROUPS_KNOWN: Final = ("github", "gitlab")
"""The presets that report groups without a groups claim."""
RESERVED: Final = frozenset(
    {
        *("client_id", "client_secret", "code_challenge", "code_challenge_method", "nonce", "redirect_uri", "request"),
        *("request_uri", "response_mode", "response_type", "scope", "state"),
    }
)
LASTING: Final = ("github", "google")
"""Presets whose tokens are valid until they are revoked. Others need the scope `offline_access` for this."""
SECRET_MIN: Final = 12


class OidcConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.oidc]`: a provider with OpenID Connect or OAuth 2."""

    preset: str = "oidc"
    """`oidc` (Keycloak, Entra ID, Okta and others), `github`, `gitlab`, `google`, `cilogon`, `globus`, `orcid`."""
    issuer: str = ""
    """The provider's URL, exactly as in its discovery document. Empty: the preset's."""
    client_id: str = ""
    client_secret: str = ""
    client_secret_file: str = ""
    client_auth: str = ""
    """How the hub authenticates: `basic` or `post`. Empty: as in the discovery document, else `basic`."""
    scopes: tuple[str, ...] = ()
    """Empty: the preset's."""
    name_claim: str = ""
    """The claim with the username. Empty: the preset's. `email` is used only if `email_verified` is true."""
    groups_claim: str = ""
    """The claim that lists a user's groups, such as `groups` or `realm_access.roles`. Empty: the preset's, if any.

    If the provider leaves the claim out, the user is in no group.
    """
    groups_separator: Annotated[str, Meta(max_length=3)] = ""
    """The separator of groups in a claim that is a single string, such as `,`. Empty: the string is one group."""
    required_claims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Users can sign in only if each of these claims has one of its values."""
    allowed_claims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Users with one of these values in one of these claims may sign in."""
    admin_claims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Users with one of these values in one of these claims are admins."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Further parameters of the authorization request, such as `prompt` or `acr_values`. Empty ones are left out."""
    url: str = ""
    """The URL of your own GitHub Enterprise or GitLab. Empty: github.com, gitlab.com."""
    refresh: Annotated[int, Meta(ge=0)] = 300
    """Seconds between checks of whether a user may still sign in; 0: never."""
    max_session_age: Annotated[int, Meta(ge=0)] = 24 * 3600
    """Seconds that a session lasts if the provider cannot be asked again; 0: as long as other sessions."""
    leeway: Annotated[int, Meta(ge=0, le=300)] = 30
    """Tolerated difference of clocks, in seconds."""
    timeout: Annotated[float, Meta(gt=0, le=60)] = 10.0
    """Seconds to wait for an answer."""
    ca_file: str = ""
    """A file with the certificate authority of the provider. Empty: those that this machine trusts."""
    proxy: str = ""
    """The HTTP proxy to the provider, such as http://proxy.example.edu:3128."""
    sign_out: bool = True
    """Whether signing out of the hub also signs out of the provider."""
    plain_callback: bool | None = None
    """Whether the redirect URI is JupyterHub's `/hub/oauth_callback` instead of `/hub/oauth_callback/NAME`.

    Unset: true if it is the only provider of this kind.
    """


def check(options: OidcConfig, path: str, say: Say) -> None:
    """Report all errors in the table of a provider."""
    if options.preset not in PRESETS:
        say(f"{path}.preset", f"{options.preset!r} is not a preset. Use one of: {', '.join(PRESETS)}.")
        return
    _addresses(options, path, say)
    _secret(options, path, say)
    if options.scopes and options.preset != "github" and "openid" not in options.scopes:
        say(f"{path}.scopes", "openid is missing. Add it: without it, the provider does not identify the user.")
    for key in sorted(RESERVED & options.parameters.keys()):
        say(f"{path}.parameters", f"the hub sets {key} itself. Remove it.")
    _claims(options, path, say)


def _addresses(options: OidcConfig, path: str, say: Say) -> None:
    if options.preset == "oidc" and not options.issuer:
        say(f"{path}.issuer", "this key is missing. Set the URL of the provider.")
    if options.issuer and not is_private(options.issuer):
        say(f"{path}.issuer", f"{options.issuer!r} is not an https URL (or an http URL of this machine).")
    if options.url and (options.preset not in OWN_URL or not is_private(options.url)):
        say(f"{path}.url", f"this must be an https URL, and is for {' and '.join(OWN_URL)} only.")
    if options.proxy and not is_web_url(options.proxy):
        say(f"{path}.proxy", f"{options.proxy!r} is not a URL such as http://proxy.example.edu:3128.")


def _secret(options: OidcConfig, path: str, say: Say) -> None:
    if not options.client_id:
        say(f"{path}.client_id", "this key is missing. Set the client id that the provider issued to this hub.")
    if options.client_secret and options.client_secret_file:
        say(f"{path}.client_secret_file", "client_secret is set too. Keep one of the two.")
    elif not options.client_secret_file:
        for fault in secret_faults(options.client_secret, options.client_id):
            say(f"{path}.client_secret", fault)
    if options.client_auth not in ("", "basic", "post"):
        say(
            f"{path}.client_auth",
            f"{options.client_auth!r} is not a method of client authentication. Use basic or post.",
        )


def _claims(options: OidcConfig, path: str, say: Say) -> None:
    for key in ("required_claims", "allowed_claims", "admin_claims"):
        for claim, values in getattr(options, key).items():
            if not values or not all(values):
                say(f"{path}.{key}", f"{claim} has no values, so nobody could sign in by it. Add a value.")
    for claim in PRESETS[options.preset]:
        if claim not in options.required_claims:
            say(
                f"{path}.required_claims",
                f"{options.preset} serves many institutions, and each of them could assert any name. Set"
                f" {claim} to the institutions that you trust.",
            )


def check_config(config: Config, provider: ProviderConfig, path: str, say: Say) -> None:
    """Report that several providers want the one redirect URI without a name."""
    del path
    providers = config.auth.provider if config.auth is not None else ()
    plain = [one for one in providers if isinstance(one.options, OidcConfig) and one.options.plain_callback]
    if len(plain) > 1 and provider is plain[0]:
        names = " and ".join(one.name for one in plain)
        say("auth.provider", f"only one provider can have plain_callback, but {names} have it.")


def secret_faults(secret: str, client_id: str) -> list[str]:
    """Return messages on why a client secret cannot be used."""
    if not secret:
        return ["the client secret is missing. Set it, or set client_secret_file."]
    if secret.lower() in PLACEHOLDERS or secret == client_id:
        return ["this is a placeholder. Set the secret that the provider issued to this hub."]
    if guessable(secret, SECRET_MIN):
        return ["this can be guessed. Set the secret that the provider issued to this hub."]
    return []


def secret_fault(key: str, secret: str, options: OidcConfig) -> str:
    """Return what is wrong with a secret from a file; `""`: nothing."""
    return next(iter(secret_faults(secret, options.client_id)), "") if key == "client_secret" else ""


def groups_fault(options: OidcConfig) -> tuple[str, str] | None:
    """Return the key that has to be set so that groups are known; None: they are."""
    if options.groups_claim or options.preset in GROUPS_KNOWN:
        return None
    return "groups_claim", "groups are used, but no claim is set that lists them. Set this key."


KIND: Final = AuthenticatorKind(
    name="oidc",
    proof="gateway.auth.oidc.opening:open_oidc",
    options=OidcConfig,
    check=check,
    check_config=check_config,
    needs_table=True,
    form="link",
    refresh=lambda options: options.refresh,
    max_session_age=lambda options: options.max_session_age if options.refresh else 0,
    lasting=lambda options: "offline_access" in options.scopes or options.preset in LASTING,
    admits=lambda options: bool(options.allowed_claims or options.admin_claims),
    rules_on_admins=lambda options: bool(options.admin_claims),
    groups_fault=groups_fault,
    secret_fault=secret_fault,
    probe="gateway.auth.oidc.probe:probe",
)
