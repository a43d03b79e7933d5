"""The same requests to a real JupyterHub 6.1 and to our hub get the same status codes and bodies."""

import datetime as dt
import json

import pytest

from tests.jupyterhub.asked import everything

pytestmark = pytest.mark.timeout(300)
OWN_SCOPES = ("read:access:servers", "read:audit")
"""Scopes that only Towpath has."""
TIMES_AND_SECRETS = {"created", "created_at", "started", "expires_at", "token", "id", "code", "accept_url", "token_id"}
OF_THEIR_OWN = {
    "user_info",  # an empty object, not null
    "user_options",  # profiles
    "state",  # jobs
    "session_id",
    "last_activity",  # written with a delay; tested in tests/gateway/test_visits.py
    "url",  # of the next page (differs in the port), and of services
    "python",
    "sys_executable",
    "spawner",
    "authenticator",
    "info",
    "display",
}


def body_of(answer):
    json_given = answer.content and answer.headers.get("content-type", "").startswith("application/json")
    return answer.json() if json_given else None


def differences(theirs, ours, at=""):
    """Return what their response has and ours lacks."""
    if at.endswith(".scopes"):
        return (
            [] if {one for one in ours if not one.startswith(OWN_SCOPES)} >= set(theirs) else [f"{at}: {theirs} {ours}"]
        )
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found = []
        for key, value in theirs.items():
            if key not in ours:
                found.append(f"{at}.{key} is missing")
            elif key in TIMES_AND_SECRETS:
                found += [f"{at}.{key}: {value} {ours[key]}"] if (value is None) != (ours[key] is None) else []
            elif key not in OF_THEIR_OWN:
                found += differences(value, ours[key], f"{at}.{key}")
        return found
    if isinstance(theirs, list) and isinstance(ours, list):
        theirs, ours = sorted(theirs, key=_place), sorted(ours, key=_place)
        if len(theirs) != len(ours):
            return [f"{at}: {len(theirs)} {len(ours)}: {theirs} {ours}"]
        return [line for one, other in zip(theirs, ours, strict=True) for line in differences(one, other, f"{at}[]")]
    return [] if theirs == ours else [f"{at}: {theirs!r} {ours!r}"]


def _place(item):
    """Return a sort key for shares, codes, tokens, groups, users and names, so that both sides have the same order."""
    if not isinstance(item, dict):
        return str(item)
    parts = item.get("name"), item.get("server"), item.get("kind"), item.get("user"), item.get("note")
    return json.dumps(parts, sort_keys=True, default=str)


def test_the_same_requests_get_the_same_responses(sides):
    theirs, ours = sides
    now = dt.datetime.now(dt.UTC).isoformat()
    found = []
    for ask in everything(now):
        expected, answer = theirs.ask(ask), ours.ask(ask)
        lines = []
        if answer.status_code != (ask.ours or expected.status_code):
            lines.append(f"{expected.status_code} {answer.status_code}: {expected.text[:200]} {answer.text[:200]}")
        elif expected.is_success and (told := body_of(expected)) is not None:
            lines += differences(told, body_of(answer))
        elif answer.is_error and "/api" in str(answer.url):
            lines += [] if set(answer.json()) >= {"status", "message"} else [answer.text[:200]]
        if "x-jupyterhub-version" in expected.headers:
            version = answer.headers.get("x-jupyterhub-version")
            lines += [] if version == expected.headers["x-jupyterhub-version"] else [f"version {version}"]
        found += [f"{ask.who or 'nobody'} {ask.method} {ask.path} {ask.body}: {line}" for line in lines]
    assert not found, "\n".join(found)
