"""The form and the API for a cluster with a catalog: what is offered, what is rejected, and where errors are shown."""

import asyncio
import re

import pytest
from catalogs import ALICE, CATALOG, CONFIG
from msgspec.structs import replace
from sse import events

from state.offer.catalog import Grants
from state.records.models import Endpoint, JobRef, Reason, Status, Waiting


async def alice(bench, *, grants=ALICE, age=20.0):
    user = await bench.user()
    await bench.store.catalogs.put(
        replace(CATALOG, time=bench.clock() - age, reservations=()), {"alice": grants} if grants else {}, fence=1
    )
    return bench.client(bench.session(user))


def field(page, name):
    """The markup of one field of the form."""
    start = page.index(f'data-field="{name}"')
    return page[start : page.find("data-field=", start + 20)]


async def put(bench, **changes):
    server = await bench.store.servers.get("alice", "")
    return await bench.store.servers.save(replace(server, **changes))


def test_the_form_shows_available_choices_with_free_resources_and_limits(bench):
    async def main(bench):
        page = (await (await alice(bench)).get("/hub/spawn/alice")).text
        assert '<option value="cpu" selected>cpu: 12 of 16 cores free</option>' in field(page, "partition")
        assert "gpu: 3 of 4 a100 free, 2 of 2 v100 free" in field(page, "partition")
        assert "secret" not in page
        assert '<option value="bio" selected>' in field(page, "account")
        assert "a100: 3 of 4 free" in field(page, "gpu")
        assert 'value="2"' in field(page, "cores")
        assert "Account bio allows at most 4 cores for each job." in field(page, "cores")
        assert 'value="01:00:00"' in field(page, "time")
        assert "Partition cpu allows at most 1 day." in field(page, "time")
        assert "Updated <time" in page
        assert "old" not in re.findall(r'class="notice">([^<]*)', page)

    bench(main, config=CONFIG)


def test_without_a_script_the_combination_is_checked_and_errors_are_beside_the_fields(bench):
    async def main(bench):
        client = await alice(bench)
        fields = {
            "profile": "all", "opt.all.partition": "gpu", "opt.all.account": "physics", "opt.all.qos": "gpuq",
            "opt.all.reservation": "", "opt.all.gpu": "a100", "opt.all.gpus": "3", "opt.all.cores": "2",
            "opt.all.memory": "64G", "opt.all.time": "9h", "opt.all.note": "",
        }  # fmt: skip
        answer = await client.post("/hub/spawn/alice", data=fields)
        assert answer.status_code == 400
        assert "QOS gpuq allows at most 2 GPUs for each user." in field(answer.text, "gpus")
        assert "Partition gpu allows at most 8 hours." in field(answer.text, "time")
        assert "Nodes of partition gpu have at most 31G of memory." in field(answer.text, "memory")
        assert 'value="09:00:00"' in field(answer.text, "time")
        assert '<option value="gpu" selected>' in field(answer.text, "partition")
        assert await bench.store.servers.get("alice", "") is None
        looked = await client.post("/hub/spawn/alice", data={**fields, "look": "1"})
        assert looked.status_code == 200
        assert await bench.store.servers.get("alice", "") is None
        good = {**fields, "opt.all.gpus": "2", "opt.all.memory": "8 GB", "opt.all.time": "90m"}
        assert (await client.post("/hub/spawn/alice", data=good)).status_code == 303
        server = await bench.store.servers.get("alice", "")
        assert server.choices == {
            "partition": "gpu", "account": "physics", "qos": "gpuq", "reservation": "", "gpu": "a100", "gpus": 2,
            "cores": 2, "memory": "8G", "time": "01:30:00", "note": "",
        }  # fmt: skip
        assert server.cluster == "lake"

    bench(main, config=CONFIG)


def test_the_api_and_the_link_apply_the_same_rules(bench):
    async def main(bench):
        client = await alice(bench)
        url = "/hub/api/users/alice/server"
        for body in ({"gpu": "a100", "gpus": 3}, {"user_options": {"profile": "all", "gpu": "a100", "gpus": "3"}}):
            answer = await client.post(url, json=body)
            assert answer.status_code == 400
            assert answer.json()["fields"] == {"gpus": "QOS gpuq allows at most 2 GPUs for each user."}
        answer = await client.post(
            url, json={"user_options": {"partition": "cpu\n#SBATCH --uid=0", "gres": "x", "memory": 4096}}
        )
        assert set(answer.json()["fields"]) == {"partition", "gres", "memory"}
        page = (await client.get("/hub/spawn/alice?profile=all&opt-partition=gpu&opt-gpu=v100&opt-time=2h")).text
        assert '<option value="v100" selected>' in field(page, "gpu")
        assert 'value="02:00:00"' in field(page, "time")
        assert (await client.post(url, json={"gpu": "v100"})).status_code == 202
        assert (await bench.store.servers.get("alice", "")).choices["partition"] == "gpu"
        put_ = await client.put("/hub/api/users/alice/servers/x", json={"profile": "all", "cores": 99})
        assert put_.json()["fields"] == {"cores": "At most 64."}

    bench(main, config=CONFIG)


def test_users_without_an_account_see_whom_to_ask(bench):
    async def main(bench):
        client = await alice(bench, grants=None)
        page = (await client.get("/hub/spawn/alice")).text
        assert "You have no Slurm account on cluster lake. Ask its admins for one." in page
        assert "opt.all.partition" not in page
        refused = await client.post("/hub/spawn/alice", data={"profile": "all"})
        assert refused.status_code == 400
        fixed = await client.post("/hub/api/users/alice/server", json={"profile": "fixed"})
        assert "no Slurm account" in fixed.json()["fields"]["profile"]

    bench(main, config=CONFIG)


def test_an_old_or_missing_catalog_is_shown_as_such(bench):
    async def main(bench):
        user = await bench.user()
        client = bench.client(bench.session(user))
        page = (await client.get("/hub/spawn/alice")).text
        assert "Nothing is known about the cluster yet" in page
        assert (
            await client.post("/hub/api/users/alice/servers/early", json={"partition": "anything"})
        ).status_code == 202
        await bench.store.catalogs.put(replace(CATALOG, time=bench.clock() - 1900), {"alice": ALICE}, fence=1)
        assert "These numbers are from" in (await client.get("/hub/spawn/alice")).text

    bench(main, config=CONFIG)


def test_an_update_of_an_old_catalog_is_requested_and_shown_when_it_arrives(bench):
    async def main(bench):
        client = await alice(bench, age=20.0)
        await client.get("/hub/spawn/alice")
        assert not await bench.store.catalogs.take_request("lake")  # recent enough
        await bench.store.catalogs.put(
            replace(CATALOG, time=bench.clock() - 200, reservations=()), {"alice": ALICE}, fence=1
        )

        async def gather():
            while not await bench.store.catalogs.take_request("lake"):
                await asyncio.sleep(0.02)
            fresh = replace(CATALOG, time=bench.clock(), reservations=(), partitions=CATALOG.partitions[:1])
            await bench.store.catalogs.put(fresh, {"alice": ALICE}, fence=1)

        gathering = asyncio.create_task(gather())
        page = (await client.get("/hub/spawn/alice")).text
        await gathering
        assert "a100 free" not in page
        assert "cpu: 12 of 16 cores free" in page
        # Without an update, the existing catalog is shown with its age.
        await bench.store.catalogs.put(
            replace(CATALOG, time=bench.clock() - 400, reservations=()), {"alice": ALICE}, fence=1
        )
        assert "These numbers are from" in (await client.get("/hub/spawn/alice")).text

    bench(main, config=CONFIG)


def test_a_rejection_by_the_scheduler_is_shown_beside_its_field(bench):
    async def main(bench):
        client = await alice(bench)
        await client.post("/hub/spawn/alice", data={"profile": "all", "opt.all.account": "physics"})
        refusal = Reason(
            code="account", message="Slurm refuses the account physics.", hint="Pick another.", field="account"
        )
        await put(bench, status=Status.FAILED, reason=refusal)
        failed = (await client.get("/hub/spawn-pending/alice")).text
        assert 'class="button primary" href="/hub/spawn/alice">Change request' in failed
        page = (await client.get("/hub/spawn/alice")).text
        assert "Slurm refuses the account physics. Pick another." in field(page, "account")
        assert '<option value="physics" selected>' in field(page, "account")
        await put(bench, reason=replace(refusal, field="constraint"))
        assert "constraint: Slurm refuses" in (await client.get("/hub/spawn/alice")).text

    bench(main, config=CONFIG)


def test_remembered_choices_that_are_gone_are_replaced_by_valid_ones(bench):
    async def main(bench):
        client = await alice(bench)
        await client.post("/hub/spawn/alice", data={"profile": "all", "opt.all.gpu": "a100", "opt.all.note": "mine"})
        server = await bench.store.servers.get("alice", "")
        await put(bench, status=Status.STOPPED, choices=server.choices | {"gone": 1})
        without = replace(CATALOG, time=bench.clock(), partitions=CATALOG.partitions[:1])
        await bench.store.catalogs.put(without, {"alice": ALICE}, fence=1)
        page = await client.get("/hub/spawn/alice")
        assert page.status_code == 200
        assert '<option value="cpu" selected>' in field(page.text, "partition")
        assert 'value="mine"' in field(page.text, "note")
        assert "wrong" not in page.text
        again = await client.post("/hub/spawn/alice", data={"again": "1"})
        assert again.status_code == 400

    bench(main, config=CONFIG)


def test_an_offer_is_narrowed_by_the_choices_so_far(bench):
    async def main(bench):
        client = await alice(bench)
        offer = (
            await client.get("/hub/api/towpath/offer?profile=all&opt.all.partition=gpu&opt.all.time=99h&opt.all.x=1")
        ).json()
        assert offer["cluster"] == "lake"
        assert [entry["value"] for entry in offer["fields"]["gpu"]["entries"]] == ["", "a100", "v100"]
        assert offer["wrong"] == {"time": "Partition gpu allows at most 8 hours."}
        wrong = (await client.get("/hub/api/towpath/offer?profile=all&opt-memory=lots")).json()["wrong"]
        assert list(wrong) == ["memory"]
        assert (await client.get("/hub/api/towpath/offer?profile=none")).status_code == 404

    bench(main, config=CONFIG)


def test_the_catalog_of_a_cluster_is_the_callers_own(bench):
    async def main(bench):
        client = await alice(bench)
        seen = (await client.get("/hub/api/towpath/catalog/lake")).json()
        assert [one["name"] for one in seen["partitions"]] == ["cpu", "gpu", "old"]
        gpu = seen["partitions"][1]
        assert (gpu["accounts"], gpu["qos"]) == (["physics"], ["normal", "gpuq"])
        assert gpu["gpus"][0] == {"type": "a100", "total": 4, "free": 3, "per_node": 4}
        assert (seen["default_account"], seen["old"]) == ("bio", False)
        bob = bench.client(bench.session(await bench.user("bob")))
        assert (await bob.get("/hub/api/towpath/catalog/lake")).json()["partitions"] == []
        assert (await bob.get("/hub/api/towpath/catalog/lake?user=alice")).status_code == 404
        assert (await bob.get("/hub/api/towpath/offer?user=alice")).status_code == 404
        carol = bench.client(bench.session(await bench.user("carol", admin=True)))
        assert (await carol.get("/hub/api/towpath/catalog/lake?user=alice")).json() == seen
        assert (await carol.get("/hub/api/towpath/catalog/sea")).status_code == 404
        (cluster,) = (await bob.get("/hub/api/towpath/clusters")).json()
        assert (cluster["name"], cluster["kind"], cluster["partitions"]) == ("lake", "slurm", 4)

    bench(main, config=CONFIG)


WAITING = Waiting(
    code="Resources",
    message="It waits for free nodes.",
    hint="A shorter walltime may start sooner.",
    start=None,
    position=3,
    of=12,
)


async def queued(bench, client):
    await client.post("/hub/spawn/alice", data={"profile": "all"})
    job = JobRef(cluster="lake", native_id="7")
    waiting = replace(WAITING, start=bench.clock() + 1500)
    return await put(bench, status=Status.QUEUED, job=job, waiting=waiting)


def test_a_server_that_waits_for_no_reason_is_starting(bench):
    """A cluster without a queue, such as the hub's own machine, accepts a job and gives no reason for waiting."""

    async def main(bench):
        client = await alice(bench)
        await client.post("/hub/spawn/alice", data={"profile": "all"})
        await put(bench, status=Status.QUEUED, job=JobRef(cluster="lake", native_id="7"))
        page = (await client.get("/hub/spawn-pending/alice")).text
        assert "is starting</h1>" in page
        assert "<span data-queue hidden>" in page

    bench(main, config=CONFIG)


def test_a_queued_server_shows_its_reason_position_and_start(bench):
    async def main(bench):
        client = await alice(bench)
        await queued(bench, client)
        page = (await client.get("/hub/spawn-pending/alice")).text
        assert "is waiting in the queue</h1>" in page
        assert "It waits for free nodes." in page
        assert "A shorter walltime may start sooner." in page
        assert "3rd of 12 in the queue" in page
        assert re.search(
            r"in 2[45] min, at <time [^>]*>\d\d:\d\d UTC|in 2[45] min, at <time [^>]*>\d+ \w+, \d\d:\d\d UTC", page
        )
        assert re.search(r'data-stale role="status" hidden', page)
        home = (await client.get("/hub/home")).text
        assert "It waits for free nodes. 3rd of 12 in the queue, expected to start" in home
        model = (await client.get("/hub/api/users/alice/server")).json()
        assert (model["waiting"]["code"], model["waiting"]["position"], model["waiting"]["of"]) == ("Resources", 3, 12)
        assert model["waiting"]["start"].endswith("Z")
        assert (model["cluster"], model["profile"], model["stale"], model["node"]) == ("lake", "all", False, "")

    bench(main, config=CONFIG)


def test_a_silent_scheduler_is_reported_and_nothing_is_cancelled(bench):
    async def main(bench):
        client = await alice(bench)
        await queued(bench, client)
        await put(bench, stale=True)
        page = (await client.get("/hub/spawn-pending/alice")).text
        assert re.search(r'data-stale role="status">The cluster has not answered since', page)
        assert "Nothing is cancelled" in page
        assert (await client.get("/hub/api/users/alice/server")).json()["stale"] is True
        assert "is not cancelled" in (await client.get("/hub/home")).text

    bench(main, config=CONFIG)


def test_a_running_server_shows_its_node_time_limit_and_resources(bench):
    async def main(bench):
        client = await alice(bench)
        await client.post("/hub/spawn/alice", data={"profile": "all", "opt.all.gpu": "a100"})
        endpoint = Endpoint(kind="tls", host="127.77.0.21", port=9, name="x.towpath.internal")
        ready = bench.clock()
        await put(bench, status=Status.READY, endpoint=endpoint, ready=ready, node="cn3", deadline=bench.clock() + 4830)
        home = (await client.get("/hub/home")).text
        assert "ends in 1 h 20 min" in home
        assert "On cn3: partition gpu, 1 a100, 2 cores, 4G" in home
        model = (await client.get("/hub/api/users/alice/server")).json()
        assert model["node"] == "cn3"
        assert model["deadline"].endswith("Z")
        assert model["waiting"] is None

    bench(main, config=CONFIG)


@pytest.mark.parametrize("resumed", [False, True])
def test_progress_reports_the_queue_without_an_event(bench, resumed, monkeypatch):
    import asyncio

    from portal.servers import progress

    monkeypatch.setattr(progress, "KEEPALIVE_SECONDS", 0.1)

    async def main(bench):
        client = await alice(bench)
        server = await queued(bench, client)
        first = (await bench.store.servers.events("alice", ""))[0].id
        headers = {"Last-Event-ID": first} if resumed else {}
        listening = asyncio.create_task(client.get("/hub/api/users/alice/server/progress", headers=headers))
        await asyncio.sleep(0.3)
        server = await put(bench, waiting=replace(server.waiting, position=1), node="cn1", stale=True)
        await asyncio.sleep(0.3)
        await put(bench, status=Status.FAILED, reason=Reason(code="x", message="It broke.", field="gpus"))
        told = [data for _, data in events((await asyncio.wait_for(listening, 20)).text)]
        assert [one["waiting"]["position"] for one in told if one.get("waiting")] == [3, 1]
        assert [(one["stale"], one["node"]) for one in told if "stale" in one] == [(False, ""), (True, "cn1")]
        assert all(one["message"] for one in told)
        assert told[-1]["failed"] is True
        assert told[-1]["reason"]["field"] == "gpus"

    bench(main, config=CONFIG)


def test_an_admin_sees_the_owners_offer_and_not_their_own(bench):
    async def main(bench):
        await alice(bench)
        carol = bench.client(bench.session(await bench.user("carol", admin=True)))
        page = (await carol.get("/hub/spawn/alice")).text
        assert '<option value="bio" selected>' in page
        assert "offer?user=alice" in page
        await bench.store.catalogs.put(CATALOG, {"alice": Grants()}, fence=1)
        assert "You have no Slurm account" in (await carol.get("/hub/spawn/alice")).text

    bench(main, config=CONFIG)
