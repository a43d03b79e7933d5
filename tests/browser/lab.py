"""Stock JupyterLab in a real Chromium: a home of its own, a hub that starts it, and a browser with time for it."""

from contextlib import contextmanager

from hub import ROOT, Hub
from playwright.sync_api import sync_playwright

from tests.chromium import launch

SLOW = 90_000
"""Milliseconds for JupyterLab's first page on a small machine."""


def own_home(folder, monkeypatch):
    """Make a home without settings of Jupyter, and return it."""
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


@contextmanager
def lab_hub(folder, *, workers=1):
    """Run a hub for one user whose default server is the JupyterLab of the tests."""
    lab = ROOT / ".venv-jupyter" / "bin"
    assert (lab / "jupyter-lab").exists(), "JupyterLab is missing: `make test` installs it"
    hub = Hub(folder, workers=workers, path=f"{lab}:/usr/bin:/bin").start()
    try:
        yield hub
        with hub.api() as api:
            hub.stop_server(api)
    finally:
        hub.close()


@contextmanager
def patient_context():
    """Open a browser context that waits for slow pages."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(SLOW)
        yield context
        browser.close()
