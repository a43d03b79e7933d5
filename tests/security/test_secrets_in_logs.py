"""Nothing that a hub logged so far in this run holds a secret that the tests know; the end of the run looks again."""

import kept


def test_no_known_secret_is_in_the_hubs_log(hub):
    hub.remember()
    found, secrets, lines = kept.leaks()
    assert found == []
    assert secrets > 5, "the tests of this folder alone make more"
    assert lines > 5


def test_a_secret_in_a_log_line_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWPATH_TEST_LOGS", str(tmp_path))
    kept.secret("s3cret-s3cret-s3cret", "API token")
    kept.line("GET /hub/api/user?token=s3cret-s3cret-s3cret 200")
    kept.line("Sign in once with: http://127.0.0.1/hub/login?token=s3cret-s3cret-s3cret")
    assert kept.leaks() == ([("API token", "GET /hub/api/user?token=<THE SECRET> 200")], 1, 1)
