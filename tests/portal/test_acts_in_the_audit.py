"""Every act leaves its entry in the audit, once, whichever route it was done by."""

from msgspec.structs import replace

from portal.servers import hub_actions, server_actions
from portal.site.site import Site
from state.records.audit import AuditFilter, Outcome

SERVER = "/hub/api/users/alice/server"
NAMED = "/hub/api/users/alice/servers/lab2"


async def entries(bench, **wanted):
    found, _ = await bench.store.audit.page(AuditFilter(**wanted), limit=50)
    return list(reversed(found))


async def acts(bench, user):
    return [str(entry.act) for entry in await entries(bench, user=user)]


def test_a_stop_or_a_removal_that_is_asked_for_twice_is_recorded_once(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        for where in (SERVER, NAMED):
            assert (await client.post(where)).status_code == 202
        for _ in range(2):
            assert (await client.delete(SERVER)).status_code == 202
        assert (await client.post("/hub/stop/alice")).status_code == 303
        assert await acts(bench, "alice") == ["server-start", "server-start", "server-stop"]
        for _ in range(2):
            assert (await client.request("DELETE", NAMED, json={"remove": True})).status_code == 202
        assert (await acts(bench, "alice"))[3:] == ["server-removed"]

    bench(main)


def test_a_shutdown_records_the_stop_of_each_server_and_itself_once(bench, monkeypatch):
    async def main(bench):
        root = bench.client(bench.session(await bench.user("root", admin=True)))
        for name in ("alice", "bob"):
            user = await bench.user(name)
            assert (await bench.client(bench.session(user)).post(f"/hub/api/users/{name}/server")).status_code == 202
        monkeypatch.setattr(hub_actions, "END_SECONDS", 0.0)  # no controller ends them
        assert (await root.post("/hub/api/shutdown", json={"servers": True})).status_code == 202
        for name in ("alice", "bob"):
            (stop,) = await entries(bench, user=name, act="server-stop")
            assert (stop.who, stop.server) == ("root", "")
        assert [entry.what for entry in await entries(bench, act="hub")] == ["shutdown, with all servers"]

    bench(main)


def test_both_ways_to_repair_routes_are_recorded(bench):
    async def main(bench):
        root = bench.client(bench.session(await bench.user("root", admin=True)))
        assert (await root.post("/hub/api/proxy")).status_code == 200
        assert (await root.patch("/hub/api/proxy", json={})).status_code == 200
        assert [entry.what for entry in await entries(bench, act="hub")] == ["routes checked"] * 2

    bench(main)


def test_a_refusal_before_a_providers_page_is_recorded_like_others(bench, caplog):
    async def main(bench):
        caplog.set_level("INFO", logger="towpath.requests")
        assert (await bench.client().get("/hub/login/portal")).status_code == 403
        (entry,) = await entries(bench, act="sign-in", outcome=str(Outcome.REFUSED))
        assert (entry.what, entry.why) == ("portal", "This way to sign in does not exist.")
        assert "status=403 method=GET path=/hub/login/portal user=-" in caplog.text

    bench(main)


def test_waiting_for_a_removal_leaves_a_server_that_was_made_meanwhile(bench):
    """The controller has removed the server, and its user has made one with the same name."""

    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        assert (await client.post(NAMED)).status_code == 202
        old = await bench.store.servers.get("alice", "lab2")
        new = await bench.store.servers.save(replace(old, attempt="f" * 32))
        assert await server_actions.removed(Site(bench.services), old, seconds=0)
        assert await bench.store.servers.get("alice", "lab2") == new

    bench(main)
