"""The route to SSH in a job."""

import pytest

from state.records.connect import connect_prefix, connect_route
from state.records.models import Endpoint, Route


def route(**endpoint):
    return Route(
        prefix="/user/alice/gpu/",
        user="alice",
        name="gpu",
        attempt="a" * 32,
        endpoint=Endpoint(**endpoint),
        credential="token secret",
        strip=True,
        hub_app=True,
        cors_origins=("*",),
    )


def test_a_job_without_ssh_has_none():
    assert connect_route(route(kind="unix", path="/j/app.sock")) is None


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        ({"kind": "unix", "path": "/j/app.sock"}, Endpoint(kind="unix", path="/j/ssh.sock")),
        ({"kind": "tcp", "host": "127.0.0.1", "port": 9}, Endpoint(kind="unix", path="/j/ssh.sock")),
        (
            {"kind": "tls", "host": "cn1", "port": 9, "name": "a.x"},
            Endpoint(kind="tls", host="cn1", port=9, name="a.x", path="/j/ssh.sock"),
        ),
        (
            {"kind": "ssh-socket", "path": "/j/app.sock", "name": "a.x", "server": "alice/gpu"},
            Endpoint(kind="ssh-socket", path="/j/ssh.sock", name="a.x", server="alice/gpu"),
        ),
    ],
)
def test_it_goes_by_the_same_way_in_and_carries_nothing_that_is_the_apps(app, expected):
    made = connect_route(route(**app, ssh_path="/j/ssh.sock", account="alice"))
    assert made.endpoint == expected
    assert (made.connects, made.credential, made.strip, made.hub_app, made.cors_origins) == (True, "", False, False, ())
    assert made.prefix == connect_prefix("/user/alice/gpu/")
    assert not made.prefix.startswith("/")  # no request's path begins like this
