"""The log lines of all hubs so far in this run contain no known secret. The end of the run checks again."""

import secret_scan


def test_no_known_secret_is_in_the_hubs_log(hub):
    hub.remember()
    found, secrets, lines = secret_scan.find_leaks()
    assert found == []
    assert secrets > 5, "the tests in this folder alone create more"
    assert lines > 5


def test_a_secret_in_a_log_line_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWPATH_TEST_LOGS", str(tmp_path))
    secret_scan.add_secret("s3cret-s3cret-s3cret", "API token")
    secret_scan.add_line("GET /hub/api/user?token=s3cret-s3cret-s3cret 200")
    secret_scan.add_line("Sign in once with: http://127.0.0.1/hub/login?token=s3cret-s3cret-s3cret")
    assert secret_scan.find_leaks() == ([("API token", "GET /hub/api/user?token=<THE SECRET> 200")], 1, 1)
