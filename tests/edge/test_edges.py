"""Every edge that has a ready configuration, for real: in Chromium, at both kinds of base path."""

import re

import pytest
from hub import eventually
from playwright.sync_api import expect, sync_playwright

from tests.edge.rig import USER, Edge, EdgeHub, chromium, private_home

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
SLOW = 90_000
NAMES = ("nginx", "nginx-1.22", "caddy", "envoy", "haproxy", "apache")


@pytest.fixture(scope="module", params=["/", "/hub1/"], ids=["root", "base path"])
def hub(request, tmp_path_factory, slapd):
    """A hub with JupyterLab and the app `bulk` running for alice."""
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        home = private_home(patch, folder / "home")
        hub = EdgeHub(folder, request.param, slapd).start()
        hub.home = home
        api = hub.api(USER)
        hub.gate.touch()
        if hub.base != "/":
            hub.begin(api, "", "jupyterlab")
        hub.begin(api, "bulk", "bulk")
        yield hub
        for name in ("server", "servers/bulk"):
            api.delete(f"/users/{USER}/{name}")
        api.close()
        hub.close()


@pytest.fixture(scope="module", params=NAMES)
def edge(request, hub, certificate, tmp_path_factory):
    edge = Edge(request.param, tmp_path_factory.mktemp(request.param), hub, certificate)
    yield edge
    edge.stop()


@pytest.fixture(scope="module")
def page(edge):
    with sync_playwright() as playwright:
        browser = chromium(playwright.chromium, edge.arguments())
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(SLOW)
        edge.sign_in(page)
        yield page
        browser.close()


def protocol(page):
    return page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")


def test_signing_in_works_over_http_2_and_plain_http_leads_to_https(edge, page):
    answer = page.goto(edge.at("hub/home"))
    assert answer.status == 200
    assert protocol(page) == "h2"
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    with edge.client() as client:
        answer = client.get(f"http://localhost:{edge.redirect_port}{edge.hub.base}hub/login?next=%2Fx")
        assert answer.status_code == 301
        assert answer.headers["location"] == edge.at("hub/login?next=%2Fx")
        answer = client.get(f"http://localhost:{edge.redirect_port}{edge.hub.base}user/a%40b/x%2Fy?z=%3F")
        assert answer.headers["location"] == edge.at("user/a%40b/x%2Fy?z=%3F")


def test_progress_arrives_before_the_server_is_ready(edge, page):
    """The app waits for a file, which is made only after the first event has been seen."""
    edge.hub.gate.unlink()
    name = f"slow-{edge.name.replace('.', '-')}"
    page.goto(edge.at("hub/home"))
    started = page.evaluate(
        """async ([url, profile]) => (await fetch(url, {method: 'POST', body: JSON.stringify({profile}),
            headers: {'Content-Type': 'application/json'}})).status""",
        [f"{edge.hub.hub_path}api/users/{USER}/servers/{name}", "bulk"],
    )
    assert started == 202
    page.evaluate(
        """url => { window.seen = []; const source = new EventSource(url);
            source.onmessage = event => { seen.push(JSON.parse(event.data)); if (seen.at(-1).progress === 100) source.close() } }""",
        f"{edge.hub.hub_path}api/users/{USER}/servers/{name}/progress",
    )
    eventually(lambda: page.evaluate("window.seen.length"), what="the first event")
    assert not page.evaluate("window.seen.some(event => event.ready)")
    edge.hub.gate.touch()
    eventually(lambda: page.evaluate("window.seen.some(event => event.ready)"), what="the last event")
    page.goto(edge.at(f"user/{USER}/{name}/"))
    assert '"head": "GET' in page.content()
    with edge.hub.api(USER) as api:
        assert api.delete(f"/users/{USER}/servers/{name}").status_code in (202, 204)


def test_a_cell_runs_in_jupyterlab_and_again_after_the_edge_was_restarted(edge, page):
    open_lab(edge, page)
    page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click()
    # A dialog of JupyterLab's says that it reconnects. It is in the way of what a user does next.
    dialog = page.get_by_role("dialog", name="Server Connection Error")
    page.add_locator_handler(dialog, lambda: page.keyboard.press("Escape"))
    run(page, "6*7", "42")
    edge.proxy.stop()
    edge.proxy.start()
    # JupyterLab 4.6.6 connects again, but shows the kernel as "Unknown" until the page is loaded again. It does the
    # same behind a relay of TCP bytes, without a hub.
    page.reload()
    run(page, "6*8", "48")


def open_lab(edge, page):
    """JupyterLab with a workspace of its own: tests of other edges use the same server."""
    if edge.hub.base == "/":
        pytest.skip("JupyterLab is tried at the base path")
    page.goto(edge.at(f"user/{USER}/lab/workspaces/{edge.name.replace('.', '-')}?reset"))


def run(page, code, result):
    """Run code in the notebook's last cell."""
    expect(page.get_by_text(re.compile(r"Python 3 .* \| Idle")).first).to_be_visible(timeout=SLOW)
    editor = page.locator(".jp-Notebook .jp-CodeCell").last.locator(".cm-content")
    editor.fill(code)
    expect(editor).to_have_text(code)
    editor.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output", has_text=re.compile(f"^{result}$")).first).to_be_visible(timeout=SLOW)


def test_jupyterlab_uploads_a_file_in_chunks_of_a_mebibyte_byte_for_byte(edge, page, tmp_path):
    name = f"upload-{edge.name}.bin"
    file = tmp_path / name
    file.write_bytes(bytes(range(256)) * 4096 * 5 + b"end")  # five chunks and a rest
    open_lab(edge, page)
    with page.expect_file_chooser() as chooser:
        page.locator('[data-command="filebrowser:upload"], .jp-ToolbarButtonComponent[title^="Upload"]').first.click()
    chooser.value.set_files(file)
    there = edge.hub.home / name
    eventually(lambda: there.exists() and there.stat().st_size == file.stat().st_size, what="the uploaded file")
    assert there.read_bytes() == file.read_bytes()


HASHING = """() => {
  const hex = async (bytes) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");
  window.upload = async (url, size) => {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(at + 65536, size)));
    const answer = await fetch(url, { method: "PUT", body: bytes });
    return [await hex(bytes), await answer.json()];
  };
}"""


def test_the_browser_uses_http_3_if_the_edge_does(edge, page):
    if not edge.http3:
        pytest.skip("this edge has no HTTP/3")
    browser = chromium(page.context.browser.browser_type, edge.arguments(http3=True))
    over_quic = browser.new_page()
    over_quic.set_default_timeout(SLOW)
    edge.sign_in(over_quic)
    over_quic.goto(edge.at("hub/home"))
    assert protocol(over_quic) == "h3"
    over_quic.goto(edge.at(f"user/{USER}/bulk/page"))
    over_quic.evaluate(HASHING)
    path = f"{edge.hub.base}user/{USER}/bulk/"
    sent, received = over_quic.evaluate("([url, size]) => upload(url, size)", [f"{path}upload", 10_000_000])
    assert (received["length"], received["sha256"]) == (10_000_000, sent)
    browser.close()
