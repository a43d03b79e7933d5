"""Pictures of every page, wide and narrow, light and dark, from a real hub: `python tests/browser/shots.py FOLDER`."""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from hub import Hub, eventually, stub_config

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOOKS = [(width, scheme) for width in (1280, 360) for scheme in ("light", "dark")]
MORE = """
[[profile]]
name = "gpu"
title = "GPU notebook"
description = "JupyterLab on a node with one to four GPUs."
cluster = "local"
app = "web"
command = ["/bin/sh", "-c", "echo thinking; exec sleep 600", "{socket}"]

[profile.option.gpus]
title = "GPUs"
kind = "integer"
default = 1
minimum = 1
maximum = 4

[profile.option.kind]
title = "Type of GPU"
kind = "choice"
values = ["A100", "V100"]
default = "A100"
help = "A100 has 80 GB and a longer queue."

[profile.option.scratch]
title = "Local scratch space"
kind = "boolean"
default = true

[profile.option.project]
title = "Project"
kind = "text"
maximum = 20
"""
CONFIG_WORDS = (
    ('name = "stub"\n', 'name = "stub"\ntitle = "JupyterLab"\ndescription = "Notebooks, terminals and files."\n'),
    ('name = "exits"\n', 'name = "exits"\ntitle = "RStudio"\ndescription = "R, with the group\'s licence."\n'),
    ("start_window = 3", "start_window = 600"),
)


def shoot(page: Page, folder: Path, name: str) -> None:
    """The page as it is now, in all looks; says when it is wider than the window."""
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
        across = page.evaluate("document.documentElement.scrollWidth")
        if across > width:
            print(f"{name} is {across} px wide at {width}")


def tour(browser: Browser, hub: Hub, folder: Path) -> None:
    """Every page once."""
    user = hub.user()
    context = browser.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: faults.append(str(error)))

    def at(path: str, name: str) -> None:
        page.goto(f"{hub.origin}{path}")
        shoot(page, folder, name)

    at("/hub/login", "login")
    at("/hub/login?token=wrong", "login-wrong")
    at("/hub/error/503", "error-503")
    page.goto(hub.link)
    page.wait_for_url("**/hub/home")
    at("/hub/home", "home-first")
    at(f"/user/{user}/lab", "stopped")
    at(f"/hub/spawn/{user}", "spawn")
    page.goto(f"{hub.origin}/hub/spawn/{user}/vision?profile=gpu&opt-gpus=9")
    page.get_by_role("button", name="Start").click()
    shoot(page, folder, "spawn-wrong")
    page.get_by_role("spinbutton", name="GPUs").fill("2")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/**")
    page.locator("[data-steps] li").nth(1).wait_for()
    shoot(page, folder, "pending")
    with hub.api() as api:
        hub.start_server(api, "r-stats", profile="exits")
        eventually(lambda: (api.get(f"/users/{user}/servers/r-stats").json())["status"] == "failed")
        hub.start_server(api, profile="stub")
        hub.wait_ready(api)
        at(f"/hub/spawn-pending/{user}/r-stats", "failed")
        at("/hub/home", "home")
        at(f"/hub/stop/{user}", "stop")
        at(f"/hub/remove/{user}/r-stats", "remove")
        page.goto(f"{hub.origin}/hub/token")
        page.get_by_label("What is it for?").fill("nightly job")
        page.get_by_role("button", name="Make a token").click()
        shoot(page, folder, "token-new")
        at("/hub/token", "token")
        at("/hub/nothing", "error-404")
        at("/hub/logout", "logout")
        for name in ("", "vision"):
            hub.stop_server(api, name)
    print("\n".join(faults))
    context.close()


def main(folder: Path) -> None:
    """Start a hub in a folder of its own, take the pictures, end it."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="towpath-shots-"))
    config = stub_config(place, more=MORE)
    for old, new in CONFIG_WORDS:
        config = config.replace(old, new)
    config = config[: config.index('[[profile]]\nname = "silent"')] + MORE
    hub = Hub(place, config=config).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            tour(browser, hub, folder)
            browser.close()
    finally:
        hub.stop()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
