"""A failed start shows the reason on the page and in the API, and the next start works."""

from contextlib import closing

import pytest
from hub import Hub, eventually, stub_config

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    hub = Hub(folder, config=stub_config(folder)).start()
    yield hub
    hub.close()


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("exits", "the licence server is down"),
        ("silent", "thinking"),
        ("missing", "/no/such/program"),
    ],
)
def test_the_page_and_the_api_show_the_reason_and_the_end_of_the_log(hub, profile, words):
    user = hub.user()
    with hub.api() as api, closing(hub.browser()) as browser:
        hub.start_server(api, profile=profile)
        with api.stream("GET", f"/users/{user}/server/progress", timeout=60) as stream:
            last = [line for line in stream.iter_lines() if line.startswith("data:")][-1]
        assert '"failed":true' in last.replace(" ", "")
        page = eventually(lambda: browser.get(f"/hub/spawn-pending/{user}", follow_redirects=True), what="the page")
        assert words in page.text
        assert "Traceback" not in page.text
        # the next start works
        hub.start_server(api, profile="stub")
        hub.wait_ready(api)
        assert browser.get(f"/user/{user}/hello").status_code == 200
        hub.stop_server(api)


def test_stopping_a_starting_server_cancels_it(hub):
    with hub.api() as api:
        hub.start_server(api, profile="silent")
        hub.stop_server(api)
        hub.start_server(api, profile="stub")
        hub.wait_ready(api)
        hub.stop_server(api)
