"""Known flaws of other sign-in modules, each test named after the flaw (table: docs/security.md)."""

import base64
import json
import time

import pytest

from gateway.auth.admission import decide
from gateway.auth.kinds.oidc import OidcConfig
from gateway.auth.oidc.engine import ProviderAccount
from gateway.auth.oidc.errors import InvalidResponseError
from gateway.auth.oidc.protocol import public_keys, signed, verified
from gateway.auth.oidc.provider import OidcProvider
from portal.site.sign_in import RefusedError
from state.config.tables import AuthConfig, ProviderConfig


def provider(*, oidc=None, **rules):
    given = OidcConfig(issuer="https://idp.example.edu", client_id="hub", client_secret="x" * 32, **(oidc or {}))
    config = ProviderConfig(name="campus", kind="oidc", options=given, **rules)
    return OidcProvider(
        config,
        (config,),
        redirect_uri="https://hub.example.org/hub/oauth_callback",
        signed_out="https://hub.example.org/hub/signed-out",
    )


def enters(provider, **claims):
    """Return whether a user with these claims can sign in."""
    try:
        proven = provider.proven(ProviderAccount(subject="1", claims={"sub": "1", **claims}))
    except RefusedError:
        return False
    return decide(AuthConfig(), provider.config, proven, ()).allowed


def test_cve_2026_33175_ghsa_rrvg_cxh4_qhrv_an_unverified_address_is_not_accepted_as_a_name():
    by_mail = provider(
        oidc={"name_claim": "email"}, allowed_users=("alice@example.edu",), admins=("alice@example.edu",)
    )
    assert enters(by_mail, email="alice@example.edu", email_verified=True)
    for vouched in (False, None, "false", 0, "yes", [], "True "):
        assert not enters(by_mail, email="alice@example.edu", email_verified=vouched)
    assert not enters(by_mail, email="alice@example.edu")


IDPS = {"required_claims": {"identity_provider": ("campus-a",)}}


@pytest.mark.parametrize(
    "way",
    [
        {"allow_all": True},
        {"allowed_users": ("alice",)},
        {"admins": ("alice",)},
        {"allowed_groups": ("physics",)},
        {"admin_groups": ("physics",)},
    ],
)
def test_ghsa_gprj_3p75_f996_the_identity_provider_is_checked_for_every_rule(way):
    """Globus: no rule lets in an account of another identity provider."""
    one = provider(oidc={**IDPS, "groups_claim": "groups"}, **way)
    claims = {"preferred_username": "alice", "groups": ["physics"]}
    assert enters(one, **claims, identity_provider="campus-a")
    for other in ("campus-b", "", None, ["campus-b"], "campus-a.evil.example", "CAMPUS-A"):
        assert not enters(one, **claims, identity_provider=other)
    assert not enters(one, **claims)


@pytest.mark.parametrize("admit", [{"allowed_claims": {"groups": ("x",)}}, {"admin_claims": {"groups": ("x",)}}])
def test_ghsa_gprj_3p75_f996_the_identity_provider_is_checked_for_claim_rules_too(admit):
    one = provider(oidc={**IDPS, **admit})
    assert enters(one, preferred_username="alice", groups=["x"], identity_provider="campus-a")
    assert not enters(one, preferred_username="alice", groups=["x"], identity_provider="campus-b")


def test_ghsa_55m3_44xf_hg4h_a_hosted_domain_is_the_claim_hd_and_not_the_end_of_an_address():
    google = provider(oidc={"name_claim": "email", "required_claims": {"hd": ("example.edu",)}}, allow_all=True)
    assert enters(google, email="alice@example.edu", email_verified=True, hd="example.edu")
    assert not enters(google, email="mallory@example.edu", email_verified=True)
    assert not enters(google, email="mallory@example.edu", email_verified=True, hd="evil.example")
    assert not enters(google, email="mallory@example.edu", email_verified=True, hd="sub.example.edu")


def test_cve_2022_31027_ghsa_r7v4_jwx9_wx43_allowed_identity_providers_are_compared_with_the_claim_idp():
    """CILogon: an address in the right domain, asserted by an identity provider that is not on the list."""
    cilogon = provider(
        oidc={"name_claim": "email", "required_claims": {"idp": ("https://idp.example.edu/shibboleth",)}},
        allow_all=True,
    )
    good = {"email": "alice@example.edu", "email_verified": True}
    assert enters(cilogon, **good, idp="https://idp.example.edu/shibboleth")
    assert not enters(cilogon, **good, idp="https://github.com/login/oauth")
    assert not enters(cilogon, **good, idp="https://idp.example.edu/shibboleth/x")
    assert not enters(cilogon, **good)


def test_ghsa_384w_5v3f_q499_without_a_rule_no_user_can_sign_in():
    assert not enters(provider(), preferred_username="alice")
    assert not enters(provider(oidc={"groups_claim": "groups"}), preferred_username="alice", groups=["admin"])


def test_cve_2018_7206_groups_are_compared_by_their_full_name():
    """GitLab: a group whose name contains or begins with the allowed one is another group."""
    one = provider(oidc={"groups_claim": "groups"}, allowed_groups=("physics",))
    assert enters(one, preferred_username="alice", groups=["chemistry", "physics"])
    for groups in (
        ["physics-guests"],
        ["xphysics"],
        ["Physics"],
        "physicsx",
        {"physics": 1},
        None,
        ["physics\n"],
        [["physics"]],
    ):
        assert not enters(one, preferred_username="alice", groups=groups)


def _part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "HS512", "", None, "RS256"])
def test_ltiauthenticator_an_unsigned_id_token_is_rejected(algorithm):
    """No algorithm, an HMAC with the public key as its secret, or an invalid signature."""
    from joserfc.jwk import RSAKey

    pair = RSAKey.generate_key(2048, parameters={"kid": "k1", "use": "sig", "alg": "RS256"})
    keys = public_keys({"keys": [pair.as_dict(private=False)]})
    assert len(keys) == 1
    claims = {"iss": "https://idp.example.edu", "sub": "1", "aud": "hub", "exp": int(time.time()) + 60, "nonce": "n"}
    for kid in ("k1", "k2", ""):
        for signature in ("", "AAAA"):
            token = f"{_part({'alg': algorithm, 'kid': kid, 'typ': 'JWT'})}.{_part(claims)}.{signature}"
            with pytest.raises(InvalidResponseError):
                verified(signed(token), keys, ["RS256"])


def test_ltiauthenticator_a_token_signed_with_another_key_is_rejected():
    from joserfc import jwt
    from joserfc.jwk import RSAKey

    ours = RSAKey.generate_key(2048, parameters={"kid": "k1"})
    theirs = RSAKey.generate_key(2048, parameters={"kid": "k1"})
    keys = public_keys({"keys": [ours.as_dict(private=False)]})
    assert verified(signed(jwt.encode({"alg": "RS256", "kid": "k1"}, {"sub": "1"}, ours)), keys, ["RS256"])[1] == {
        "sub": "1"
    }
    for forged in (
        jwt.encode({"alg": "RS256", "kid": "k1"}, {"sub": "1"}, theirs),
        jwt.encode({"alg": "RS256", "kid": "k1", "jwk": theirs.as_dict(private=False)}, {"sub": "1"}, theirs),
        jwt.encode({"alg": "RS256", "kid": "k2"}, {"sub": "1"}, ours),
    ):
        with pytest.raises(InvalidResponseError):
            verified(signed(forged), keys, ["RS256"])


def test_nativeauth_21_failed_sign_ins_are_throttled(hub):
    """By name and by address, in the store, for all workers. tests/gateway/test_throttle.py tests each rule."""
    from gateway.auth.throttle import ThrottleLimits
    from state.config.tables import ThrottleConfig

    limits = ThrottleLimits(ThrottleConfig())
    assert limits.address.free >= 1
    assert limits.address.most > limits.address.free
