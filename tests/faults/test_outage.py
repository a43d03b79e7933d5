"""An outage of the store: known servers are served for `outage_grace`, then requests get 503 with a message."""

from contextlib import closing

import pytest
from hub import Hub, eventually, stub_config

pytestmark = pytest.mark.faults
GRACE = 6


def test_known_servers_are_served_during_the_grace_then_503_and_again_after_the_outage(tmp_path, make_store_server):
    server = make_store_server("redis")
    config = f'[gateway]\noutage_grace = {GRACE}\n[state]\nredis_url = "{server.url}"\n{stub_config(tmp_path)}'
    hub = Hub(tmp_path, config=config, redis_url=server.url).start()
    try:
        with closing(hub.browser()) as browser, hub.api() as api:
            hub.start_server(api)
            hub.wait_ready(api)
            path = f"/user/{hub.user()}/hello"
            pid = browser.get(path).json()["pid"]

            server.kill()
            assert browser.get(path).json()["pid"] == pid
            spoken = eventually(lambda: (answer := browser.get(path)).status_code == 503 and answer, what="the 503")
            assert "store is not available" in spoken.json()["message"]
            page = browser.get(path, headers={"Accept": "text/html"})
            assert page.status_code == 503
            assert "Try again" in page.text
            assert api.get("/users").status_code == 503

            server.start()
            answer = eventually(lambda: (answer := browser.get(path)).status_code == 200 and answer, what="it")
            assert answer.json()["pid"] == pid
            eventually(lambda: hub.model(api)["ready"], what="the record")
            hub.stop_server(api)
    finally:
        hub.close()
