"""The sign-in of `towpath-connect`, and the pages about SSH."""

import subprocess
import sys

import httpx
import pytest

from tests.connect.connect_hub import CLIENT, Client, ConnectHub, hub_config, sshd_folder

DEVICE = "/hub/api/towpath/device"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("l")
    with sshd_folder():
        hub = ConnectHub(folder, config=hub_config(folder))
        hub.start()
        try:
            yield hub
        finally:
            hub.close()


@pytest.fixture
def browser(hub):
    client = hub.browser_of("alice")
    yield client
    client.close()


@pytest.fixture
def program(hub):
    """A client without any credential."""
    with httpx.Client(base_url=hub.origin) as client:
        yield client


def begin(program, name="laptop"):
    answer = program.post(f"{DEVICE}/code", json={"client": name})
    assert answer.status_code == 200, answer.text
    return answer.json()


def token(program, codes):
    answer = program.post(f"{DEVICE}/token", json={"device_code": codes["device_code"]})
    return answer.status_code, answer.json().get("error", "")


def approve(browser, code, decision="approve"):
    return browser.post("/hub/device", data={"code": code, "decision": decision})


def test_a_program_gets_one_token_of_the_narrow_scope_when_its_code_is_approved(hub, browser, program):
    codes = begin(program)
    assert codes["verification_uri"] == f"{hub.origin}/hub/device"
    assert codes["user_code"] not in codes["verification_uri"]
    assert token(program, codes) == (400, "authorization_pending")
    typed = codes["user_code"].lower().replace("-", " ")
    shown = browser.post("/hub/device", data={"code": typed})
    assert "laptop" in shown.text
    assert "127.0.0.1" in shown.text
    assert token(program, codes) == (400, "authorization_pending")
    assert approve(browser, typed).status_code == 200
    answer = program.post(f"{DEVICE}/token", json={"device_code": codes["device_code"]})
    assert (answer.status_code, answer.json()["user"]) == (200, "alice")
    assert token(program, codes) == (400, "expired_token")
    with httpx.Client(
        base_url=f"{hub.origin}/hub/api", headers={"Authorization": f"token {answer.json()['access_token']}"}
    ) as api:
        held = set(api.get("/user").json()["scopes"])
        assert held == {"connect:servers!user=alice", "read:users:name!user=alice", "read:users:groups!user=alice"}
        assert api.get("/towpath/connect").json()["user"] == "alice"
        assert api.get("/users/alice/tokens").status_code == 403
        assert api.post("/users/alice/server").status_code == 403
        assert api.get("/users").status_code == 403


def test_a_denied_a_wrong_and_a_used_code_give_nothing(browser, program):
    codes = begin(program)
    assert "Denied" in approve(browser, codes["user_code"], "deny").text
    assert token(program, codes) == (400, "expired_token")
    wrong = approve(browser, codes["user_code"])
    assert (wrong.status_code, "This code is not valid" in wrong.text) == (400, True)
    other = begin(program)
    stolen = {"device_code": other["user_code"].replace("-", "") + ".guess"}
    assert token(program, stolen) == (400, "expired_token")
    assert token(program, {"device_code": ""}) == (400, "expired_token")
    assert approve(browser, other["user_code"]).status_code == 200
    assert approve(browser, other["user_code"]).status_code == 400  # nobody else takes it over
    assert program.post(f"{DEVICE}/token", json={}).status_code == 400


def test_a_session_that_ends_before_the_token_gives_none(hub, program):
    browser = hub.browser_of("alice")
    codes = begin(program)
    approve(browser, codes["user_code"])
    browser.post("/hub/logout")
    browser.close()
    assert token(program, codes) == (400, "access_denied")


def test_only_a_click_in_a_signed_in_browser_approves(hub, browser, program):
    codes = begin(program)
    asked = program.get("/hub/device")
    assert (asked.status_code, asked.headers["location"]) == (303, "/hub/login?next=/hub/device")
    by_script = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    forged = browser.post("/hub/device", data={"code": codes["user_code"], "decision": "approve"}, headers=by_script)
    assert forged.status_code == 403
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert browser.post("/hub/device", data={"code": codes["user_code"]}, headers=foreign).status_code == 403
    with hub.api("alice") as api:
        answer = api.post(f"{hub.origin}/hub/device", data={"code": codes["user_code"], "decision": "approve"})
        assert answer.status_code == 403
    assert browser.get(f"/hub/device?code={codes['user_code']}&decision=approve").status_code == 200
    assert token(program, codes) == (400, "authorization_pending")


def test_a_programs_name_is_escaped_and_bounded(browser, program):
    codes = begin(program, "<b>me</b>")
    assert "&lt;b&gt;me&lt;/b&gt;" in browser.post("/hub/device", data={"code": codes["user_code"]}).text
    for name in ("x" * 65, "a\nb"):
        assert program.post(f"{DEVICE}/code", json={"client": name}).status_code == 400


def test_a_flood_of_codes_must_wait(hub):
    with httpx.Client(base_url=hub.origin) as program:
        answers = [program.post(f"{DEVICE}/code") for _ in range(40)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_the_home_page_leads_to_the_steps_where_the_server_serves_ssh(hub, browser, tmp_path):
    api = hub.api("alice")
    hub.start_for(api, "alice")
    hub.start_for(api, "alice", "plain", "plain")
    home = browser.get("/hub/home").text
    assert 'href="/hub/connect/alice"' in home
    assert 'href="/hub/connect/alice/plain"' not in home
    page = browser.get("/hub/connect/alice").text
    assert f"python3 towpath-connect.py login {hub.origin}/" in page
    assert "ssh towpath" in page
    assert "does not accept SSH" in browser.get("/hub/connect/alice/plain").text
    assert browser.get("/hub/connect/alice/none").status_code == 404
    assert browser.get("/hub/connect/bob").status_code == 404
    api.close()


def test_the_hub_serves_the_client_as_one_file_that_runs(program, tmp_path):
    answer = program.get("/hub/towpath-connect.py")
    assert answer.content == CLIENT.read_bytes()
    file = tmp_path / "towpath-connect.py"
    file.write_bytes(answer.content)
    done = subprocess.run([sys.executable, str(file), "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.startswith("usage: towpath-connect")) == (0, True)


def test_the_hubs_own_command_runs_the_same_code(hub, tmp_path):
    laptop = Client(tmp_path, hub)
    done = laptop.run("connect", "proxy", "towpath", check=False, program=(sys.executable, "-m", "gateway"))
    assert (done.returncode, done.stderr) == (
        1,
        "towpath-connect: You are not signed in. Run: towpath-connect login URL\n",
    )
