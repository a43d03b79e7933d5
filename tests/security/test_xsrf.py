"""Every unsafe route of the hub rejects requests from pages of other sites: Sec-Fetch-*, Origin and content type.

The rule itself is a pure function with its own test (tests/gateway/test_origin.py). Here it is checked for each route in
the portal's own list, so that none can be forgotten.
"""

import itertools

import pytest
from hub import eventually
from security.security_hub import routes, status

from gateway.door.origin import SAFE_METHODS, from_ourselves

SITES = (None, "same-origin", "same-site", "cross-site", "none", "SAME-ORIGIN", "")
ORIGINS = (None, "own", "null", "http://evil.example", "https://own", "own.evil.example", "own0", "http://localhost")
MODES = (None, "navigate", "no-cors", "cors", "same-origin", "websocket")
TYPES = ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "application/json", "")
OWN_PROOF = {"/hub/api/oauth2/token", "/hub/backchannel-logout/x"}
"""Endpoints for programs that authenticate in the body; they ignore cookies."""


def unsafe_routes():
    """Yield (method, path) of every handler of the portal with an unsafe method."""
    return ((method, path) for method, path in routes() if method not in SAFE_METHODS)


def headers(hub, site, origin, mode, kind):
    own = hub.origin
    given = {
        "Sec-Fetch-Site": site,
        "Sec-Fetch-Mode": mode,
        "Content-Type": kind or None,
        "Origin": {None: None, "own": own, "https://own": own.replace("http:", "https:")}.get(
            origin, origin and origin.replace("own", own)
        ),
    }
    return given, [f"{name}: {value}" for name, value in given.items() if value is not None]


def test_the_portal_has_unsafe_routes():
    assert len(set(unsafe_routes())) > 15


@pytest.mark.timeout(600)
def test_a_page_of_another_site_cannot_use_an_unsafe_route(hub):
    carol = hub.browsers["carol"]
    done = {"outcome": "done", "limit": "1000"}
    eventually(lambda: carol.get("/hub/api/towpath/audit", params=done).status_code == 200)
    before = carol.get("/hub/api/towpath/audit", params=done).json()["entries"]
    turns = itertools.cycle(itertools.product(MODES, TYPES))
    asked = 0
    for method, path in [
        *unsafe_routes(),
        ("POST", "/user/alice/api/kernels"),
        ("DELETE", "/user/alice/x"),
        ("PATCH", "/user/alice/x"),
    ]:
        for site, origin in itertools.product(SITES, ORIGINS):
            mode, kind = next(turns)
            given, lines = headers(hub, site, origin, mode, kind)
            allowed = from_ourselves(
                origin=given["Origin"].encode() if given["Origin"] is not None else None,
                fetch_site=site.encode() if site is not None else None,
                own=hub.origin.encode(),
            )
            if allowed:
                assert site in {None, "same-origin"}
                assert origin in {None, "own"}
                assert (site, origin) != (None, None)
                continue
            answer = hub.ask(path, *lines, "Content-Length: 2", method=method, body=b"{}")
            if path in OWN_PROOF:
                assert status(answer) in {400, 401, 403, 415}, (method, path, given, answer[:100])
            else:
                assert status(answer) == 403, (method, path, given, answer[:100])
                assert b"own pages" in answer
            asked += 1
    assert asked > 1000
    now = carol.get("/hub/api/towpath/audit", params=done).json()["entries"]
    assert now == before, "no request had an effect"
