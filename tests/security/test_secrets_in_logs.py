"""Nothing that a hub logged so far in this run holds a secret that the tests know; the end of the run looks again."""

import kept


def test_no_secret_that_the_tests_know_is_in_a_line_that_a_hub_logged(hub):
    hub.remember()
    found, secrets, lines = kept.leaks()
    assert found == []
    assert secrets > 5, "the tests of this folder alone make more"
    assert lines > 5


def test_a_secret_in_a_line_would_be_found(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWPATH_TEST_LOGS", str(tmp_path))
    kept.secret("s3cret-s3cret-s3cret", "API token")
    kept.line("GET /hub/api/user?token=s3cret-s3cret-s3cret 200")
    kept.line("Sign in once with: http://127.0.0.1/hub/login?token=s3cret-s3cret-s3cret")
    assert kept.leaks() == ([("API token", "GET /hub/api/user?token=<THE SECRET> 200")], 1, 1)
