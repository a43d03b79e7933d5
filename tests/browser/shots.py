"""Takes screenshots of every page, wide and narrow, light and dark: `python tests/browser/shots.py FOLDER`."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from chromium import launch
from hub import Hub, eventually, stub_config
from stage import CONFIG, Stage

from state.offer.catalog import Grants
from state.records.audit import Act, Entry, Outcome
from state.records.models import Endpoint, Event, Group, JobRef, Reason, Status, User, Waiting
from state.records.readiness import route_of
from state.store.all import Store

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
    ("start_window = 15", "start_window = 600"),
)


def shoot(page: Page, folder: Path, name: str) -> None:
    """Take screenshots of the current page in all variants, and report if it is wider than the window."""
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
        across = page.evaluate("document.documentElement.scrollWidth")
        if across > width:
            print(f"{name} is {across} px wide at {width}")


def local_pages(browser: Browser, hub: Hub, folder: Path) -> None:
    """Visit every page of a hub on one machine."""
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
        page.get_by_label("Note").fill("nightly job")
        page.get_by_role("button", name="Create token").click()
        shoot(page, folder, "token-new")
        at("/hub/token", "token")
        at("/hub/nothing", "error-404")
        at("/hub/logout", "logout")
        for name in ("", "vision"):
            hub.stop_server(api, name)
    print("\n".join(faults))
    context.close()


FAILED = Reason(
    code="walltime",
    message="The job reached its walltime of 1 hour and was ended.",
    hint="Ask for a longer walltime; what was saved is safe.",
    log_tail="[I 14:02:11 ServerApp] Kernel started: 7d1f\n[W 14:59:58 ServerApp] SIGTERM received\nslurmstepd: error: *** JOB 4711 ON cn3 CANCELLED DUE TO TIME LIMIT ***\n",
    exit_code=143,
)
REFUSED = Reason(
    code="account",
    message="Slurm refuses the account physics: it has no time left.",
    hint="Pick another account, or ask its owner.",
    field="account",
)


def event(status: Status, message: str, progress: int) -> Event:
    return Event(attempt="", time=time.time(), status=status, message=message, progress=progress)


async def publish(store: Store) -> None:
    """Publish the route of alice's server, as the controller would."""
    server = await store.servers.get("alice", "")
    assert server is not None
    await store.feed.set_route(route_of(server, "/"))


async def withdraw(store: Store) -> None:
    """Withdraw it."""
    server = await store.servers.get("alice", "")
    assert server is not None
    await store.feed.drop_route("/user/alice/", attempt=server.attempt)


def cluster_pages(browser: Browser, stage: Stage, folder: Path) -> None:
    """Visit the pages of a user of a Slurm cluster."""
    context = browser.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{stage.origin}/hub/login")
    shoot(page, folder, "lake-login")
    page.get_by_role("button", name="alice").click()
    page.wait_for_url("**/hub/home")
    page.goto(f"{stage.origin}/hub/spawn/alice")
    shoot(page, folder, "lake-unknown")
    stage.catalog(bob=Grants())
    page.reload()
    shoot(page, folder, "lake-nothing")
    stage.catalog(age=1900)
    page.reload()
    shoot(page, folder, "lake-old")
    stage.catalog(maintenance=3500)
    page.reload()
    page.get_by_text("Planned maintenance").first.wait_for()
    shoot(page, folder, "lake-maintenance")
    stage.catalog()
    page.reload()
    page.get_by_label("Partition").wait_for()
    shoot(page, folder, "lake-spawn")
    page.get_by_label("Partition").select_option("gpu")
    page.get_by_label("Type of GPU").select_option("a100")
    page.get_by_label("GPUs").fill("3")
    page.get_by_label("Time limit").fill("9h")
    page.get_by_label("Time limit").press("Tab")
    page.get_by_text("At most 8 hours").first.wait_for()
    shoot(page, folder, "lake-narrowed")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("alert").wait_for()
    shoot(page, folder, "lake-wrong")
    page.get_by_label("GPUs").fill("1")
    page.get_by_label("Time limit").fill("2h")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/**")
    waiting = Waiting(
        code="Resources",
        message="Waiting for a node with a free a100.",
        hint="A shorter walltime may start sooner; the v100 are free.",
        start=time.time() + 1520,
        position=3,
        of=12,
    )
    job = JobRef(cluster="lake", native_id="4711")
    told = event(Status.QUEUED, "It is in the queue as job 4711.", 20)
    stage.put(status=Status.QUEUED, job=job, waiting=waiting, event=told)
    page.get_by_text("3rd of 12").wait_for()
    shoot(page, folder, "lake-queued")
    page.goto(f"{stage.origin}/hub/home")
    shoot(page, folder, "lake-home-queued")
    page.goto(f"{stage.origin}/hub/edit/alice")
    shoot(page, folder, "lake-edit")
    page.goto(f"{stage.origin}/hub/spawn-pending/alice")
    stage.put(stale=True, event=event(Status.QUEUED, "lake does not answer. Nothing is cancelled; waiting.", 20))
    page.get_by_text("The cluster has not answered").wait_for()
    shoot(page, folder, "lake-stale")
    told = event(Status.STARTING, "It runs on cn3; the app is starting.", 60)
    stage.put(
        status=Status.STARTING,
        stale=False,
        waiting=None,
        node="cn3",
        running=time.time(),
        deadline=time.time() + 7100,
        event=told,
    )
    page.get_by_text("cn3", exact=True).wait_for()
    shoot(page, folder, "lake-starting")
    endpoint = Endpoint(kind="unix", path="/nowhere")
    stage.put(status=Status.READY, endpoint=endpoint, ready=time.time(), deadline=time.time() + 4830)
    page.goto(f"{stage.origin}/hub/home")
    shoot(page, folder, "lake-home")
    stage.run(publish)
    page.goto(f"{stage.origin}/user/alice/lab")
    page.get_by_role("heading", name="does not answer").wait_for()
    shoot(page, folder, "lake-silent")
    stage.run(withdraw)
    stage.put(status=Status.FAILED, endpoint=None, ended=time.time(), reason=FAILED)
    page.goto(f"{stage.origin}/hub/spawn-pending/alice")
    shoot(page, folder, "lake-failed")
    page.goto(f"{stage.origin}/user/alice/lab")
    page.get_by_role("heading", name="failed").wait_for()
    shoot(page, folder, "lake-failed-app")
    page.goto(f"{stage.origin}/hub/spawn-pending/alice")
    stage.put(status=Status.FAILED, node="", ready=None, reason=REFUSED)
    page.reload()
    shoot(page, folder, "lake-refused")
    page.get_by_role("link", name="Change request").click()
    page.get_by_text("it has no time left").wait_for()
    page.wait_for_timeout(500)
    shoot(page, folder, "lake-change")
    print("\n".join(faults))
    context.close()


def admin_pages(browser: Browser, stage: Stage, folder: Path) -> None:
    """Visit the admin pages."""

    async def fill(store: Store) -> None:
        now = time.time()
        for number in range(140):
            groups = ("physics", "course-2026", "gpu-users", "staff", "x")[: number % 6]
            await store.users.add(User(name=f"student{number:03}", groups=groups, created=now - 9e6))
        await store.servers.touch({(f"student{number:03}", ""): now - number * 4000 for number in range(0, 140, 3)})
        for entry in (
            Entry(
                time=now - 90000,
                act=Act.SERVER_ACCESS,
                who="carol",
                by="session 1f",
                address="192.0.2.7",
                user="alice",
                server="",
            ),
            Entry(
                time=now - 9000,
                act=Act.SIGN_IN,
                outcome=Outcome.REFUSED,
                who="mallory",
                address="2001:db8::7",
                what="campus",
                why="mallory is not allowed to use this hub.",
            ),
            Entry(
                time=now - 500,
                act=Act.TOKEN_MADE,
                who="alice",
                by="session 2e",
                address="192.0.2.9",
                user="alice",
                what="token 5d (nightly job on the cluster): read:servers; ends",
            ),
            Entry(
                time=now - 400,
                act=Act.REQUEST,
                outcome=Outcome.REFUSED,
                who="bob",
                by="token 77",
                address="192.0.2.9",
                what="DELETE /hub/api/users/alice/servers/a-long-name-of-a-server",
                why="This needs the scope delete:servers.",
            ),
            Entry(
                time=now - 60,
                act=Act.SERVER_ENDED,
                by="controller",
                user="alice",
                server="gpu-test",
                what="failed",
                why="The job was ended by the out-of-memory killer.",
            ),
        ):
            await store.audit.note(entry)

    context = browser.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None)
    page.goto(f"{stage.origin}/hub/login")
    page.get_by_role("button", name="alice").click()
    page.wait_for_url("**/hub/home")
    stage.catalog()
    page.goto(f"{stage.origin}/hub/spawn/alice")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/**")
    stage.put(status=Status.QUEUED, job=JobRef(cluster="lake", native_id="4711"))
    stage.put(status=Status.STARTING, node="cn3", running=time.time())
    stage.put(status=Status.READY, endpoint=Endpoint(kind="unix", path="/nowhere"), ready=time.time())
    stage.run(fill)
    page.goto(f"{stage.origin}/hub/home")
    shoot(page, folder, "desk-home")
    page.goto(f"{stage.origin}/hub/audit")
    shoot(page, folder, "desk-own-activity")
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{stage.origin}/hub/login")
    page.get_by_role("button", name="carol").click()
    page.wait_for_url("**/hub/home")
    for name, path in (
        ("users", "admin"),
        ("running", "admin?show=active"),
        ("user", "admin/users/alice"),
        ("remove", "admin/users/alice/remove"),
        ("activity", "audit"),
    ):
        page.goto(f"{stage.origin}/hub/{path}")
        shoot(page, folder, f"desk-{name}")
    page.goto(f"{stage.origin}/hub/admin")
    page.get_by_label("Names").fill("dora <script>")
    page.get_by_role("button", name="Add users").click()
    page.get_by_text("cannot be a name").wait_for()
    shoot(page, folder, "desk-wrong")
    print("\n".join(faults))
    context.close()


SHARING = """
[gateway]
share_on_one_host = true

[[role]]
name = "user"
scopes = ["self", "shares!user", "read:users:name", "read:groups:name"]
"""


def sharing_pages(browser: Browser, stage: Stage, folder: Path) -> None:
    """Visit the pages about sharing."""
    context = browser.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None)

    def sign_in(name: str) -> None:
        context.clear_cookies()
        page.goto(f"{stage.origin}/hub/login")
        page.get_by_role("button", name=name).click()
        page.wait_for_url("**/hub/home")

    async def fill(store: Store) -> None:
        now = time.time()
        await store.groups.add(Group(name="course-2026"))
        await store.users.add(User(name="bob", groups=("course-2026",), created=now))
        await store.users.add(User(name="maximilian.musterfrau@physik.uni-example.org", created=now))

    stage.run(fill)
    sign_in("alice")
    stage.catalog()
    for name in ("", "protein-folding"):
        page.goto(f"{stage.origin}/hub/spawn/alice/{name}")
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/hub/spawn-pending/**")
        page.goto(f"{stage.origin}/hub/audit")  # it does not continue by itself
        stage.put(name=name, status=Status.QUEUED, job=JobRef(cluster="lake", native_id="4711"))
        stage.put(name=name, status=Status.STARTING, node="cn3", running=time.time())
        endpoint = Endpoint(kind="unix", path="/nowhere")
        stage.put(name=name, status=Status.READY, endpoint=endpoint, ready=time.time(), deadline=time.time() + 4830)
    page.goto(f"{stage.origin}/hub/home")
    page.get_by_role("link", name="Share protein-folding").click()
    page.wait_for_url("**/hub/share/alice/protein-folding")
    shoot(page, folder, "share-nobody")
    for kind, name, level in (
        ("user", "bob", "Full"),
        ("user", "maximilian.musterfrau@physik.uni-example.org", "Read-only"),
        ("group", "course-2026", "Read-only"),
    ):
        page.get_by_label("With", exact=True).select_option(kind)
        page.get_by_role("textbox", name="Name").fill(name)
        page.get_by_role("group", name="Access").first.get_by_label(level).check()
        page.get_by_role("button", name="Share", exact=True).click()
        page.get_by_role("status").wait_for()
    shoot(page, folder, "share-given")
    page.get_by_role("button", name="Create link").click()
    page.get_by_role("heading", name="Your new link").wait_for()
    shoot(page, folder, "share-link")
    page.get_by_label("Link expires after").select_option("1 hour")
    page.get_by_role("button", name="Create link").click()
    link = page.locator("[data-secret]").inner_text()
    sign_in("bob")
    page.goto(link)
    shoot(page, folder, "share-accept")
    page.get_by_role("button", name="Accept").click()
    page.goto(f"{stage.origin}/hub/home")
    shoot(page, folder, "share-guest")
    page.get_by_role("link", name="Leave").click()
    shoot(page, folder, "share-leave")
    sign_in("alice")
    shoot(page, folder, "share-home")
    page.goto(f"{stage.origin}/hub/share/alice/protein-folding")
    page.get_by_role("textbox", name="Name").fill("nobody-here")
    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_text("No such user").wait_for()
    shoot(page, folder, "share-wrong")
    page.get_by_role("button", name="Revoke from bob").click()
    page.get_by_text("Stop all sharing").click()
    shoot(page, folder, "share-taken")
    print("\n".join(faults))
    context.close()


def main(folder: Path, which: str = "") -> None:
    """Start hubs, take the screenshots, and stop them. `which`: only `hub`, `cluster`, `admin` or `share`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (
        ("hub", local),
        ("cluster", partial(slurm, show=cluster_pages)),
        ("admin", partial(slurm, show=admin_pages)),
        ("share", partial(slurm, show=sharing_pages, config=CONFIG + SHARING)),
    ):
        if which in {"", name}:
            part(folder)


def slurm(folder: Path, *, show: Callable[[Browser, Stage, Path], None], config: str = CONFIG) -> None:
    """Take screenshots of a hub with a Slurm cluster, from records written by hand."""
    place = Path(tempfile.mkdtemp(prefix="towpath-shots-"))
    stage = Stage(place, config=config)
    try:
        stage.start()
        with sync_playwright() as playwright:
            browser = launch(playwright)
            show(browser, stage, folder)
            browser.close()
    finally:
        stage.stop()
        shutil.rmtree(place, ignore_errors=True)


def local(folder: Path) -> None:
    """Take screenshots of a complete hub on one machine."""
    place = Path(tempfile.mkdtemp(prefix="towpath-shots-"))
    config = stub_config(place, more=MORE)
    for old, new in CONFIG_WORDS:
        config = config.replace(old, new)
    config = config[: config.index('[[profile]]\nname = "silent"')] + MORE
    hub = Hub(place, config=config).start()
    try:
        with sync_playwright() as playwright:
            browser = launch(playwright)
            local_pages(browser, hub, folder)
            browser.close()
    finally:
        hub.close()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
