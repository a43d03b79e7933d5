"""Files of a real Jupyter server in a real Chromium: they are sandboxed, and JupyterLab still shows them."""

import pytest
from hub import ROOT, Hub, eventually
from playwright.sync_api import expect, sync_playwright

from tests.chromium import launch

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
SLOW = 90_000
EVIL = """<!doctype html><title>waiting</title><script>
fetch('/hub/api/user', {credentials: 'include'}).then(answer => answer.text()).then(
  text => { document.title = 'read ' + text }, () => { document.title = 'refused, ' + origin })
</script>"""
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><rect width="20" height="20"/></svg>'


def test_a_page_in_a_users_files_cannot_send_requests_to_the_hub_and_jupyterlab_shows_images(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "evil.html").write_text(EVIL)
    (home / "picture.svg").write_text(PICTURE)
    monkeypatch.setenv("HOME", str(home))
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    hub = Hub(tmp_path, path=f"{ROOT / '.venv-jupyter' / 'bin'}:/usr/bin:/bin").start()
    api = hub.api()
    try:
        hub.start_server(api)
        eventually(lambda: hub.ready(api), seconds=90, what="JupyterLab")
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(SLOW)
            page.goto(hub.fresh_link())
            page.goto(f"{hub.origin}/user/{hub.user()}/files/evil.html")
            page.wait_for_function("document.title !== 'waiting'")
            assert page.title() == "refused, null"
            page.goto(f"{hub.origin}/user/{hub.user()}/lab/tree/picture.svg")
            picture = page.locator(".jp-ImageViewer img, .jp-RenderedSVG img").first
            expect(picture).to_be_visible(timeout=SLOW)
            browser.close()
    finally:
        hub.stop_server(api)
        api.close()
        hub.close()
