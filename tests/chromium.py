"""The browser that tests drive: Debian's Chromium, which speaks to nobody but the page's own servers."""

import shutil

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launch(playwright, *more):
    """A Chromium without a window; `more`: further arguments."""
    return playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*ARGUMENTS, *more])
