"""The start form and the waiting page in a real Chromium: with the mouse, with the keyboard, and without scripts."""

import time

import pytest
from hub import eventually
from playwright.sync_api import expect, sync_playwright
from stage import Stage

from state.records.models import Event, JobRef, Status, Waiting
from tests.chromium import launch

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("stage")).start()
    stage.catalog()
    yield stage
    stage.stop()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def faults():
    return []


def signed_in(browser, stage, faults, **options):
    page = browser.new_context(**options).new_page()
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{stage.origin}/hub/login")
    page.get_by_role("button", name="alice").click()
    page.wait_for_url("**/hub/home")
    return page


def choices(page, label):
    return page.get_by_label(label, exact=True).locator("option").evaluate_all("all => all.map(one => one.value)")


def stop(stage):
    stage.put(status=Status.STOPPED, target="stopped", ended=time.time(), waiting=None)


def test_a_choice_narrows_the_other_fields(stage, browser, faults):
    page = signed_in(browser, stage, faults)
    page.goto(f"{stage.origin}/hub/spawn/alice")
    eventually(lambda: choices(page, "Type of GPU") == [""], what="the initial choices")
    assert choices(page, "Quality of service") == ["normal", "long"]
    page.get_by_label("Partition").select_option("gpu")
    expect(page.get_by_text("Partition gpu allows at most 8 hours.")).to_be_visible()
    assert choices(page, "Type of GPU") == ["", "a100", "v100"]
    assert choices(page, "Account") == ["physics"]
    page.get_by_label("Type of GPU").select_option("a100")
    page.get_by_label("Quality of service").select_option("gpuq")
    expect(page.get_by_text("1 to 2. QOS gpuq allows at most 2 GPUs for each user.")).to_be_visible()
    expect(page.get_by_label("GPUs")).to_have_value("1")

    # a typed value stays and is marked as wrong; other values follow the choice
    page.get_by_label("Time limit").fill("9h")
    page.get_by_label("GPUs").fill("3")
    page.get_by_label("Cores").focus()
    wrong = page.locator(".field.wrong .error:visible")
    eventually(lambda: wrong.count() == 2, what="both errors")
    expect(page.get_by_label("Time limit")).to_have_value("9h")
    expect(page.get_by_label("Time limit")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("GPUs").fill("2")
    page.get_by_label("Time limit").fill("90m")
    page.get_by_label("Cores").focus()
    eventually(lambda: wrong.count() == 0, what="no error")
    page.get_by_label("Partition").select_option("cpu")
    eventually(lambda: choices(page, "Type of GPU") == [""], what="no GPU")
    expect(page.locator(".error", has_text="Partition cpu has no GPUs.")).to_be_visible()
    expect(page.get_by_label("GPUs")).to_have_value("2")
    page.get_by_label("Partition").select_option("gpu")
    eventually(lambda: wrong.count() == 0, what="no error")
    expect(page.get_by_label("Time limit")).to_have_value("90m")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/alice**")
    stop(stage)
    assert faults == []
    page.context.close()


def test_the_form_works_with_only_the_keyboard(stage, browser, faults):
    page = signed_in(browser, stage, faults)
    page.goto(f"{stage.origin}/hub/spawn/alice?profile=jupyterlab&opt-partition=cpu&opt-account=bio&opt-qos=normal")
    eventually(lambda: choices(page, "Type of GPU") == [""], what="the initial choices")
    page.get_by_label("Partition").focus()
    page.keyboard.type("gpu")  # choose from a native list by typing
    page.keyboard.press("Tab")
    expect(page.get_by_text("Partition gpu allows at most 8 hours.")).to_be_visible()
    expect(page.get_by_label("Account")).to_be_focused()
    for _ in range(20):
        if page.evaluate("document.activeElement.textContent") == "Start":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/hub/spawn-pending/alice**")
    stop(stage)
    assert faults == []
    page.context.close()


def test_without_scripts_all_fields_work_and_the_server_checks_combinations(stage, browser, faults):
    page = signed_in(browser, stage, faults, java_script_enabled=False)
    page.goto(
        f"{stage.origin}/hub/spawn/alice?profile=jupyterlab&opt-partition=cpu&opt-account=bio&opt-qos=normal&opt-time=1h"
    )
    page.get_by_label("Partition").select_option("gpu")
    page.get_by_label("Account").select_option("bio")
    page.get_by_label("Time limit").fill("9h")
    page.get_by_role("button", name="Update form").click()
    expect(page.get_by_text("Partition gpu allows at most 8 hours.")).to_be_visible()
    page.get_by_label("Account").select_option("bio")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("Account bio cannot be used in partition gpu. Pick one of: physics.")).to_be_visible()
    page.get_by_label("Account").select_option("physics")
    page.get_by_label("Time limit").fill("2h")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/alice**")
    expect(page.get_by_role("heading", name="Your server is starting")).to_be_visible()
    stop(stage)
    page.context.close()


def test_the_waiting_page_updates_itself(stage, browser, faults):
    page = signed_in(browser, stage, faults)
    page.goto(f"{stage.origin}/hub/spawn/alice")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/alice**")
    waiting = Waiting(
        code="Resources", message="It waits for free nodes.", hint="Request fewer nodes.", position=3, of=12
    )
    told = Event(attempt="", time=time.time(), status=Status.QUEUED, message="In the queue as job 7.", progress=20)
    stage.put(status=Status.QUEUED, job=JobRef(cluster="lake", native_id="7"), waiting=waiting, event=told)
    expect(page.get_by_role("heading", name="Your server is waiting in the queue")).to_be_visible()
    expect(page.get_by_text("3rd of 12 in the queue")).to_be_visible()
    expect(page.locator("[data-now]")).to_have_text("It waits for free nodes.")
    expect(page.get_by_text("Request fewer nodes.")).to_be_visible()

    stage.put(waiting=Waiting(code="Priority", message="Others go first.", position=1, of=9, start=time.time() + 600))
    expect(page.get_by_text("1st of 9 in the queue")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("Request fewer nodes.")).to_be_hidden()
    expect(page.locator("[data-start]")).to_contain_text("min, at")
    assert page.locator("[data-steps] li").count() == 2

    silent = Event(attempt="", time=time.time(), status=Status.QUEUED, message="lake does not answer.", progress=20)
    stage.put(stale=True, event=silent)
    expect(page.get_by_text("The cluster has not answered since")).to_be_visible()
    runs = Event(attempt="", time=time.time(), status=Status.STARTING, message="It runs on cn3.", progress=60)
    stage.put(status=Status.STARTING, stale=False, waiting=None, node="cn3", deadline=time.time() + 5000, event=runs)
    expect(page.get_by_text("The cluster has not answered since")).to_be_hidden()
    expect(page.locator("[data-node]")).to_have_text("cn3")
    expect(page.locator("[data-deadline]")).to_contain_text("in 1 h 23 min, at")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url("**/hub/home")
    expect(page.get_by_text("Stopping")).to_be_visible()
    stop(stage)
    assert faults == []
    page.context.close()


def test_the_request_of_a_waiting_server_is_edited(stage, browser, faults):
    page = signed_in(browser, stage, faults)
    page.goto(f"{stage.origin}/hub/spawn/alice")
    page.get_by_label("Time limit").fill("1h")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/alice**")
    told = Event(attempt="", time=time.time(), status=Status.QUEUED, message="In the queue as job 7.", progress=20)
    stage.put(status=Status.QUEUED, job=JobRef(cluster="lake", native_id="7"), event=told)
    page.get_by_role("link", name="Edit request").click()
    expect(page.get_by_role("heading", name="Edit request")).to_be_visible()
    expect(page.get_by_label("Time limit")).to_have_value("01:00:00")
    page.get_by_label("Time limit").fill("nonsense")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_label("Time limit")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Time limit").fill("3h")
    page.get_by_role("button", name="Save changes").click()
    page.wait_for_url("**/hub/spawn-pending/alice**")
    expect(page.get_by_text("Changing the request…")).to_be_visible()
    record = stage.run(lambda store: store.servers.get("alice", ""))
    assert record.edited["time"] == "03:00:00"

    done = Event(attempt="", time=time.time(), status=Status.QUEUED, message="The request was changed.", progress=20)
    stage.put(choices=record.edited, edited=None, event=done)
    expect(page.get_by_text("Changing the request…")).to_be_hidden()
    expect(page.locator("[data-now]")).to_have_text("The request was changed.")
    page.get_by_role("link", name="Edit request").click()
    expect(page.get_by_label("Time limit")).to_have_value("03:00:00")
    page.get_by_role("link", name="Cancel").click()
    page.wait_for_url("**/hub/spawn-pending/alice**")
    stage.put(status=Status.STARTING)
    page.goto(f"{stage.origin}/hub/edit/alice")
    page.wait_for_url("**/hub/spawn-pending/alice**")
    expect(page.get_by_role("link", name="Edit request")).to_be_hidden()
    stop(stage)
    assert [fault for fault in faults if "400 (Bad Request)" not in fault] == []  # the form with nonsense
    page.context.close()
