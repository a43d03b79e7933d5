"""What a provider says, as values: what is malformed is as good as not there."""

import json
import time

import pytest

from gateway.auth.oidc import claims as reading
from gateway.auth.oidc.engine import _secret
from gateway.auth.oidc.errors import UnbelievableError
from gateway.auth.oidc.logout import EVENT, check_logout_token


def test_half_a_character_is_no_text_and_breaks_nothing():
    """JSON may hold one (RFC 8259 section 8.2); no store and no hash can."""
    said = json.loads('{"sub": "\\ud800", "sid": "a\\udfff", "n": 1, "ok": "\\ud83d\\ude00"}')
    assert [reading.text(said, name) for name in said] == ["", "", "1", "\U0001f600"]
    now = time.time()
    claims = {"iss": "I", "aud": "hub", "iat": now, "jti": "j", "events": {EVENT: {}}, "sub": "s"}
    known = {"issuers": ("I",), "client_id": "hub", "now": now, "leeway": 30}
    assert check_logout_token({}, claims, **known).jti == "j"
    for name in ("sub", "sid", "jti"):
        with pytest.raises(UnbelievableError):
            check_logout_token({}, {**claims, name: said["sub"]}, **known)
    with pytest.raises(UnbelievableError):
        _secret({"access_token": said["sub"]}, "access_token")


@pytest.mark.parametrize(
    ("said", "groups"),
    [
        ("physics", ("physics",)),
        ("physics, staff", ("physics, staff",)),
        ([], ()),
        ("", ()),
        (None, None),
        (7, None),
        ({"physics": True}, None),
        ([["admins"], {"name": "admins"}, 7, None, True], ()),
        (["/a/b", "/a/b", "a/b", " a", "a\n", "a\u202eb", "\ud800", "x" * 256], ("a/b",)),
    ],
)
def test_groups_are_a_list_of_texts_or_one_text_and_nothing_is_guessed(said, groups):
    assert reading.groups({"groups": said}, "groups") == groups


def test_of_endless_groups_some_count_in_one_order():
    many = [f"g{number:06}" for number in range(50_000)]
    assert reading.groups({"groups": many}, "groups") == tuple(many[: reading.GROUPS_MAX])
    assert reading.groups({"groups": many[::-1]}, "groups") == tuple(many[: reading.GROUPS_MAX])
