"""A profile on several clusters in a real Chromium: another cluster shows the form again, with what that one has."""

import pytest
from catalogs import ALICE, CATALOG, CPU
from msgspec.structs import replace
from playwright.sync_api import expect, sync_playwright
from stage import CONFIG, Stage

from tests.browser.test_spawn_form import choices, signed_in
from tests.chromium import launch

pytestmark = pytest.mark.browser

TWO = CONFIG.replace('cluster = "lake"', 'cluster = ["lake", "pond"]', 1).replace(
    "[[profile]]", '[[cluster]]\nname = "pond"\nkind = "slurm"\n\n[[profile]]', 1
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("stage"), config=TWO).start()
    stage.catalog()
    reed = replace(CPU, name="reed", nodes=1)

    async def put(store):
        known = await store.catalogs.catalog("lake")
        pond = replace(CATALOG, cluster="pond", time=known.time, partitions=(reed,), reservations=())
        await store.catalogs.put(pond, {"alice": ALICE}, fence=1)

    stage.run(put)
    yield stage
    stage.stop()


@pytest.mark.parametrize("script", [True, False], ids=["with scripts", "without"])
def test_the_fields_follow_the_cluster(stage, script):
    faults = []
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = signed_in(browser, stage, faults, java_script_enabled=script)
        page.goto(f"{stage.origin}/hub/spawn/alice")
        assert choices(page, "Cluster") == ["lake", "pond"]
        assert "cpu" in choices(page, "Partition")
        page.get_by_label("Cluster", exact=True).select_option("pond")
        if not script:
            page.get_by_role("button", name="Update form").click()
        expect(page.locator("option[value=reed]")).to_have_count(1)
        expect(page.get_by_label("Cluster", exact=True)).to_have_value("pond")
        assert choices(page, "Partition") == ["reed"]
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/hub/spawn-pending/alice**")
        server = stage.run(lambda store: store.servers.get("alice", ""))
        assert (server.cluster, server.choices["partition"]) == ("pond", "reed")
        stage.run(lambda store: store.servers.remove(server))
        browser.close()
    assert faults == []
