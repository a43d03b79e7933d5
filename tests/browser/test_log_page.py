"""The page of a server that failed, in a real Chromium: its log opens at the end, and leads to the whole."""

import pytest
from hub import Hub, eventually, stub_config
from playwright.sync_api import expect, sync_playwright

from tests.chromium import launch

pytestmark = pytest.mark.browser

TALKS = """
[[profile]]
name = "talks"
cluster = "local"
app = "web"
command = ["/bin/sh", "-c", "seq -f 'line %.0f' 200; exit 3", "{socket}"]
"""


def test_the_log_opens_at_its_end_and_links_to_the_complete_log(tmp_path):
    hub = Hub(tmp_path, config=stub_config(tmp_path, more=TALKS)).start()
    try:
        with hub.api() as api:
            hub.start_server(api, profile="talks")
            eventually(lambda: not (hub.model(api) or {}).get("pending"), what="the end")
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(hub.fresh_link())
            page.goto(f"{hub.origin}/hub/spawn-pending/{hub.user()}")
            log = page.locator("pre.log")
            expect(log).to_contain_text("line 200")
            # What is within the box when the page opens: the last lines, and not the first ones.
            box = log.bounding_box()
            words = log.locator("span").bounding_box()
            assert words["height"] > box["height"]
            assert words["y"] < box["y"]
            assert words["y"] + words["height"] <= box["y"] + box["height"]
            log.hover()
            page.mouse.wheel(0, -100_000)
            eventually(lambda: log.locator("span").bounding_box()["y"] >= box["y"], what="the beginning")
            (whole,) = (hub.data_dir / "jobs").glob("*/app.log")
            expect(page.get_by_text("The whole log is in")).to_contain_text(str(whole))
            assert whole.read_text().count("line ") == 200
            browser.close()
    finally:
        hub.close()
