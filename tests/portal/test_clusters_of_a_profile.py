"""A profile that names several clusters: one more field, one more option, and one that does not answer."""

from catalogs import ALICE, CATALOG, CPU, GIB
from msgspec.structs import replace

from portal.site.late_catalogs import LateCatalogs
from state.config.tables import ClusterConfig, Config, OptionConfig, ProfileConfig
from state.offer.catalog import NodeKind
from state.records.health import CLUSTER_SILENT, Problem
from state.records.models import Status

PARTITION = {"partition": OptionConfig(title="Partition", kind="partition")}
CONFIG = Config(
    cluster=(ClusterConfig(name="lake", kind="slurm"), ClusterConfig(name="pond", kind="slurm")),
    profile=(
        ProfileConfig(name="lab", title="JupyterLab", cluster=("lake", "pond"), option=PARTITION),
        ProfileConfig(name="fixed", title="Fixed", cluster="lake"),
    ),
)
REED = replace(CPU, name="reed", kinds=(NodeKind(count=1, cores=8, memory=15 * GIB),))
POND = replace(CATALOG, cluster="pond", partitions=(REED,), reservations=())
URL = "/hub/api/users/alice/server"


async def alice(bench, *, pond=True):
    user = await bench.user()
    now = bench.clock()
    await bench.store.catalogs.put(replace(CATALOG, time=now, reservations=()), {"alice": ALICE}, fence=1)
    if pond:
        await bench.store.catalogs.put(replace(POND, time=now), {"alice": ALICE}, fence=1)
    return bench.client(bench.session(user))


def silent(bench, name):
    bench.health.problems = (Problem(code=CLUSTER_SILENT, part=f"cluster {name}", host="", message="", since=1.0),)


def field(page, name):
    start = page.index(f'data-field="{name}"')
    return page[start : page.find("data-field=", start + 20)]


def test_the_form_has_a_field_for_the_cluster_whose_offer_follows(bench):
    async def main(bench):
        client = await alice(bench)
        page = (await client.get("/hub/spawn/alice")).text
        assert '<option value="lake" selected>lake</option>' in field(page, "cluster")
        assert '<option value="pond">pond</option>' in field(page, "cluster")
        assert 'value="cpu"' in field(page, "partition")
        assert "on lake, pond" in page
        fields = {"profile": "lab", "opt.lab.cluster": "pond", "opt.lab.partition": "cpu"}
        page = (await client.post("/hub/spawn/alice", data={**fields, "look": "1"})).text
        assert '<option value="pond" selected>' in field(page, "cluster")
        assert 'value="reed"' in field(page, "partition")
        assert 'value="cpu"' not in field(page, "partition")
        refused = await client.post("/hub/spawn/alice", data=fields)
        assert refused.status_code == 400
        assert "error" in field(refused.text, "partition")
        good = {**fields, "opt.lab.partition": "reed"}
        assert (await client.post("/hub/spawn/alice", data=good)).status_code == 303
        server = await bench.store.servers.get("alice", "")
        assert (server.cluster, server.choices) == ("pond", {"cluster": "pond", "partition": "reed"})

    bench(main, config=CONFIG)


def test_the_api_and_the_link_take_the_cluster(bench):
    async def main(bench):
        client = await alice(bench)
        for body in ({"cluster": "sea"}, {"cluster": 5}, {"cluster": ["lake", "pond"]}):
            answer = await client.post(URL, json=body)
            assert answer.status_code == 400
            assert answer.json()["fields"] == {"cluster": "Pick one of: lake, pond."}
        answer = await client.post(URL, json={"profile": "fixed", "cluster": "pond"})
        assert answer.json()["fields"] == {"cluster": "Pick one of: lake."}
        offer = (await client.get("/hub/api/towpath/offer?profile=lab&opt-cluster=pond")).json()
        assert (offer["cluster"], [one["value"] for one in offer["fields"]["partition"]["entries"]]) == (
            "pond",
            ["reed"],
        )
        assert (await client.get("/hub/api/towpath/offer?profile=lab&opt-cluster=sea")).status_code == 400
        for link in ("opt-cluster=pond", "cluster=pond"):
            page = (await client.get(f"/hub/spawn/alice?profile=lab&{link}")).text
            assert '<option value="pond" selected>' in field(page, "cluster")
            assert 'value="reed"' in field(page, "partition")
        page = await client.get("/hub/spawn/alice?profile=lab&cluster=sea")
        assert page.status_code == 400
        assert "Pick one of: lake, pond." in field(page.text, "cluster")
        profiles = (await client.get("/hub/api/towpath/profiles")).json()
        assert [(one["cluster"], one["clusters"]) for one in profiles] == [
            ("lake", ["lake", "pond"]),
            ("lake", ["lake"]),
        ]
        assert (await client.post(URL, json={"cluster": "pond"})).status_code == 202
        model = (await client.get("/hub/api/users/alice")).json()["servers"][""]
        assert model["cluster"] == "pond"
        assert model["user_options"] == {"profile": "lab", "cluster": "pond", "partition": "reed"}

    bench(main, config=CONFIG)


def test_the_first_cluster_is_the_default_and_the_last_start_is_repeated(bench):
    async def main(bench):
        client = await alice(bench)
        assert (await client.post(URL, json={})).status_code == 202
        server = await bench.store.servers.get("alice", "")
        assert server.cluster == "lake"
        ended = replace(server, status=Status.STOPPED, cluster="pond", choices={"cluster": "pond", "partition": "reed"})
        await bench.store.servers.save(ended)
        page = (await client.get("/hub/spawn/alice")).text
        assert '<option value="pond" selected>' in field(page, "cluster")
        assert (await client.post("/hub/spawn/alice", data={"again": "1"})).status_code == 303
        assert (await bench.store.servers.get("alice", "")).cluster == "pond"

    bench(main, config=CONFIG)


def test_a_waiting_server_stays_on_its_cluster(bench):
    async def main(bench):
        client = await alice(bench)
        assert (await client.post(URL, json={"cluster": "pond"})).status_code == 202
        page = (await client.get("/hub/edit/alice")).text
        assert 'value="reed"' in field(page, "partition")
        assert 'data-field="cluster"' not in page
        answer = await client.patch(URL, json={"user_options": {"cluster": "lake"}})
        assert answer.status_code == 400
        assert "cannot be changed" in answer.json()["fields"]["cluster"]
        assert (await client.patch(URL, json={"user_options": {"partition": "reed"}})).status_code == 200
        assert (await bench.store.servers.get("alice", "")).cluster == "pond"

    bench(main, config=CONFIG)


def test_a_cluster_that_does_not_answer_is_named_and_can_still_be_chosen(bench):
    async def main(bench):
        client = await alice(bench, pond=False)
        silent(bench, "pond")
        page = (await client.get("/hub/spawn/alice")).text
        assert '<option value="pond">pond (not answering)</option>' in field(page, "cluster")
        assert "is not answering" not in page
        page = (await client.get("/hub/spawn/alice?profile=lab&cluster=pond")).text
        assert "Cluster pond is not answering." in page
        assert (await client.post(URL, json={"cluster": "pond"})).status_code == 202

    bench(main, config=CONFIG)


def test_the_cluster_can_be_changed_where_the_chosen_one_offers_nothing(bench):
    async def main(bench):
        client = await alice(bench)
        await bench.store.catalogs.put(replace(POND, time=bench.clock()), {}, fence=1)
        page = (await client.get("/hub/spawn/alice?profile=lab&cluster=pond")).text
        assert "You have no Slurm account on cluster pond." in page
        assert '<option value="lake">' in field(page, "cluster")

    bench(main, config=CONFIG)


def test_only_the_first_request_waits_for_a_catalog_that_does_not_come(bench, monkeypatch):
    from portal.servers import catalog_facts

    waits = []

    async def younger(site, cluster, known):
        waits.append(cluster)
        return known

    monkeypatch.setattr(catalog_facts, "_younger", younger)

    async def main(bench):
        client = await alice(bench)
        bench.clock.ahead = 200.0
        for _ in range(3):
            await client.get("/hub/spawn/alice")
        assert waits == ["lake"]
        await client.get("/hub/spawn/alice?profile=lab&cluster=pond")
        assert waits == ["lake", "pond"]
        bench.clock.ahead = 230.0
        await client.get("/hub/spawn/alice")
        assert waits == ["lake", "pond", "lake"]

    bench(main, config=CONFIG)


def test_a_catalog_that_comes_again_is_waited_for():
    late = LateCatalogs(lambda: 100.0)
    late.note("lake", late=True)
    assert not late.may_wait("lake")
    assert late.may_wait("pond")
    late.note("lake", late=False)
    assert late.may_wait("lake")
