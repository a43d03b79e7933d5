"""Sign-in by a real, certified identity provider: the whole way there and back."""

import pytest
from campus import Browser, Campus, words
from conftest import free_port
from stage import Stage

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def campus_and_hub(tmp_path_factory):
    port = free_port()
    campus = Campus(("hub", f"http://127.0.0.1:{port}")).start()
    config = f"""
[auth]
allowed_groups = ["physics"]
admins = ["carol"]
{campus.config(oidc='groups_claim = "groups"')}
"""
    hub = Stage(tmp_path_factory.mktemp("oidc"), config=config)
    hub.port = port
    hub.start()
    yield campus, hub
    hub.stop()
    campus.stop()


def test_somebody_signs_in_at_the_campus_and_is_led_back_to_where_they_were_going(campus_and_hub):
    _, hub = campus_and_hub
    with Browser(hub.origin) as browser:
        answer = browser.at_campus("/hub/login/campus?next=/hub/token", "alice")
        assert answer.status_code == 200, answer.text
        assert str(answer.url) == f"{hub.origin}/hub/token"
        me = browser.get(f"{hub.origin}/hub/api/user").json()
        assert (me["name"], me["groups"], me["admin"]) == ("alice", ["physics", "staff"], False)


def test_whom_no_rule_lets_in_is_told_which_account_that_was(campus_and_hub):
    _, hub = campus_and_hub
    with Browser(hub.origin) as browser:
        answer = browser.at_campus("/hub/login/campus", "mallory")
        assert answer.status_code == 403
        assert "You are signed in as mallory, and mallory may not enter this hub." in words(answer)
        assert "towpath-session" not in browser.cookies
