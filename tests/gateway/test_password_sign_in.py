"""The password form of a real hub with PAM: the page, the session, the delays and the log."""

import os
import re

import httpx
import pytest
from hub import Hub, stub_config

from tests.gateway.test_pam import PLAIN, Machine

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="makes accounts: needs root"), pytest.mark.timeout(120)]
SECRET = "correct horse 4711"


@pytest.fixture(scope="module")
def machine():
    made = Machine()
    try:
        made.alice = made.account("formalice", SECRET)
        made.service("form", PLAIN)
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def hub(machine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("form")
    auth = f"""
[gateway]
trusted_proxies = ["127.0.0.1"]

[auth]
allowed_users = ["{machine.alice}"]

[[auth.provider]]
name = "accounts"
kind = "pam"
title = "Cluster account"
[auth.provider.pam]
service = "{machine.files[0].name}"
"""
    hub = Hub(folder, config=auth + stub_config(folder), workers=2).start()
    yield hub
    hub.close()


def post(hub, name, password, *, address="192.0.2.1", **more):
    fields = {"provider": "accounts", "username": name, "password": password, "next": "/hub/token"}
    headers = {"Origin": hub.origin, "X-Forwarded-For": address, **more}
    return httpx.post(f"{hub.origin}/hub/login", data=fields, headers=headers, timeout=30)


def test_the_form_works_with_password_managers(hub):
    page = httpx.get(f"{hub.origin}/hub/login?next=/hub/token").text
    assert "Cluster account" in page
    name, password = re.findall(r'<input type="(?:text|password)"[^>]*>', page)
    for field, attributes in (
        (name, ('autocomplete="username"', 'autocapitalize="none"')),
        (password, ('autocomplete="current-password"',)),
    ):
        assert all(attribute in field for attribute in attributes)
        assert "required" in field
        assert f'<label for="{re.search("id=.([^ ]*).", field)[1].rstrip(chr(34))}">' in page


def test_the_right_password_opens_a_session_and_redirects_to_the_requested_page(hub, machine):
    answer = post(hub, machine.alice.upper(), SECRET)
    assert (answer.status_code, answer.headers["location"]) == (303, "/hub/token")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    home = httpx.get(f"{hub.origin}/hub/api/user", headers={"Cookie": cookie.partition(";")[0]})
    assert home.json()["name"] == machine.alice


def test_a_wrong_password_keeps_the_name_and_never_the_password(hub, machine):
    for name in (machine.alice, "nobody-here", '"><script>'):
        answer = post(hub, name, "wrong " + SECRET)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert "The name or the password is incorrect." in answer.text
        assert SECRET not in answer.text
        assert "<script>" not in answer.text
    assert f'value="{machine.alice}"' in post(hub, machine.alice, "wrong").text


def test_a_form_from_another_site_is_rejected(hub, machine):
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = post(hub, machine.alice, SECRET, **headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_too_many_failures_delay_only_attempts_from_the_same_place(hub, machine):
    statuses, waits = [], []
    while not waits or waits[-1] < 7:  # each wait is twice as long as the one before
        answer = post(hub, machine.alice, "wrong", address="203.0.113.5")
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            waits.append(int(answer.headers["retry-after"]))
            assert "too many failed attempts" in answer.text
    assert statuses[:6] == [403] * 6
    assert set(statuses) == {403, 429}
    assert post(hub, machine.alice, SECRET, address="203.0.113.5").status_code == 429
    # Headers from the client are not trusted.
    assert post(hub, machine.alice, SECRET, address="192.0.2.9, 203.0.113.5").status_code == 429
    assert post(hub, machine.alice, SECRET, address="192.0.2.9").status_code == 303


def test_input_that_is_too_long_is_rejected_and_not_logged(hub, machine):
    answer = post(hub, "a" * 30_000, SECRET)
    assert answer.status_code == 403
    assert len(answer.text) < 10_000
    assert all(len(line) < 2000 for line in hub.output)


def test_no_password_is_in_the_log_or_in_the_store(hub):
    assert not any(word in line for line in hub.output for word in (SECRET, "4711"))
    kept = b"".join(file.read_bytes() for file in hub.data_dir.rglob("*") if file.is_file())
    assert SECRET.encode() not in kept
