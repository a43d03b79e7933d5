"""The rules of admission. Access is denied by default."""

import itertools

import pytest

from gateway.auth.admission import decide
from gateway.auth.kinds.oidc import OidcConfig
from gateway.auth.proof import Proven
from state.config.tables import AuthConfig, ProviderConfig


def provider(**more):
    return ProviderConfig(name="campus", kind="oidc", **more)


ALICE = Proven(name="alice", groups=("physics",))


@pytest.mark.parametrize(
    ("auth", "campus", "proven", "allowed", "admin"),
    [
        ({}, {}, ALICE, False, None),
        ({"allowed_users": ("alice",)}, {}, ALICE, True, None),
        ({"allowed_users": ("bob",)}, {}, ALICE, False, None),
        ({"allowed_groups": ("physics",)}, {}, ALICE, True, None),
        ({"allowed_groups": ("phys",)}, {}, ALICE, False, None),
        ({"allowed_groups": ("physics/sub",)}, {}, ALICE, False, None),
        ({}, {"allowed_users": ("alice",)}, ALICE, True, None),
        ({}, {"allowed_groups": ("physics",)}, ALICE, True, None),
        ({}, {"allow_all": True}, ALICE, True, None),
        ({"admins": ("alice",)}, {}, ALICE, True, True),
        ({}, {"admins": ("alice",)}, ALICE, True, True),
        ({}, {"admins": ("bob",), "allow_all": True}, ALICE, True, False),
        ({}, {"admin_groups": ("physics",)}, ALICE, True, True),
        ({}, {"admin_groups": ("admins",), "allow_all": True}, ALICE, True, False),
        ({}, {"options": OidcConfig(admin_claims={"x": ("y",)}), "allow_all": True}, ALICE, True, False),
        ({}, {}, Proven(name="alice", allowed=True), True, None),
        ({}, {}, Proven(name="alice", admin=True), True, True),
    ],
)
def test_a_rule(auth, campus, proven, allowed, admin):
    assert decide(AuthConfig(**auth), provider(**campus), proven, ())[:2] == (allowed, admin)


def test_the_hubs_own_groups_count_if_the_provider_has_none():
    auth = AuthConfig(allowed_groups=("physics",))
    assert decide(auth, provider(), Proven(name="alice"), ("physics",)).allowed
    assert not decide(auth, provider(), Proven(name="alice", groups=()), ("physics",)).allowed


def test_without_a_rule_no_user_is_allowed():
    """oauthenticator GHSA-384w-5v3f-q499, dockerspawner CVE-2023-48311: an empty list allows no user."""
    for groups, admin in itertools.product((None, (), ("x",)), (False,)):
        proven = Proven(name="alice", groups=groups, admin=admin)
        assert not decide(AuthConfig(), provider(), proven, ("x",)).allowed
