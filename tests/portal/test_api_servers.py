"""Servers in the API: start, report, progress, stop, remove."""

import asyncio

import pytest
from sse import events

from tests.portal.conftest import socket_of


@pytest.mark.parametrize("path", ["server", "servers/lab-2"])
def test_the_life_cycle_of_a_server(bench, path):
    async def main(bench):
        alice = await bench.user()
        client = bench.client(bench.session(alice))
        name = "lab-2" if path != "server" else ""
        base = f"/hub/api/users/alice/{path}"
        untouched = await client.get(base)
        assert untouched.status_code == (404 if name else 200)
        assert name or untouched.json()["stopped"]
        assert (await client.post(base)).status_code == 202
        assert (await client.post(base)).status_code == 202
        model = (await client.get(base)).json()
        assert (model["pending"], model["ready"], model["stopped"]) == ("spawn", False, False)
        assert model["full_name"] == f"alice/{name}"
        assert model["user_options"] == {"profile": "lab"}
        assert model["progress_url"] == f"{base}/progress"
        assert "state" not in model

        server = await bench.make_ready(bench.client(), name=name)
        route = await bench.store.feed.route(model["url"])
        assert (route.attempt, route.endpoint.path, route.credential) == (
            server.attempt,
            f"/srv/towpath/jobs/{server.attempt}/app.sock",
            "token secret",
        )
        model = (await client.get(base)).json()
        assert (model["pending"], model["ready"]) == (None, True)
        refused = await client.post(base)
        assert refused.status_code == 400
        assert "already running" in refused.json()["message"]

        assert (await client.delete(base)).status_code == 202
        assert await bench.store.feed.route(model["url"]) is None
        assert (await client.get(base)).json()["pending"] == "stop"
        assert (await client.delete(base)).status_code == 202
        assert "pending stop" in (await client.post(base)).json()["message"]
        await bench.end(name=name)
        assert (await client.delete(base)).status_code == 204
        assert (await client.get(base)).json()["stopped"] is True
        user = (await client.get("/hub/api/users/alice")).json()
        assert user["servers"] == {}
        user = (await client.get("/hub/api/users/alice?include_stopped_servers=1")).json()
        assert list(user["servers"]) == sorted({"", name})  # the default server always exists
        assert (await client.post(base)).status_code == 202

    bench(main)


def test_stopping_a_server_that_never_ran(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        assert (await client.delete("/hub/api/users/alice/server")).status_code == 204
        assert (await client.delete("/hub/api/users/alice/servers/none")).status_code == 404

    bench(main)


def test_a_slow_removal_is_recorded_for_the_controller(bench, monkeypatch):
    monkeypatch.setattr("portal.api.servers.REMOVE_SECONDS", 0.0)

    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        base = "/hub/api/users/alice/servers/lab2"
        await client.post(base)
        await bench.make_ready(bench.client(), name="lab2")
        assert (await client.request("DELETE", base, json={"remove": True})).status_code == 202
        server = await bench.store.servers.get("alice", "lab2")
        assert (server.target, server.removing) == ("stopped", True)
        assert await bench.store.feed.route("/user/alice/lab2/") is None
        assert (await client.get(base)).json()["pending"] == "stop"
        assert (await client.post(base)).status_code == 400
        await bench.end(name="lab2")
        # The controller removes it. Until then it cannot be started again and is not shown as stopped.
        assert (await client.get(base)).json()["pending"] == "stop"
        assert (await client.post(base)).status_code == 400
        assert (await client.request("DELETE", base, json={"remove": True})).status_code == 204
        assert (await client.get(base)).status_code == 404

    bench(main)


def test_servers_with_a_trailing_slash_is_the_default_server(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        where = "/hub/api/users/alice/servers/"
        assert (await client.get(where)).json()["full_name"] == "alice/"
        assert (await client.put(where, json={})).status_code == 409
        assert (await client.post(where)).status_code == 202
        assert (await bench.store.servers.get("alice", "")).active
        assert (await client.delete(where)).status_code == 202
        for method in ("GET", "PUT", "POST", "DELETE"):
            assert (await client.request(method, where.rstrip("/"))).status_code == 404

    bench(main)


def test_a_named_server_is_created_changed_and_removed(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        base = "/hub/api/users/alice/servers/deep"
        made = await client.put(base, json={"display_name": "Deep Blue", "user_options": {"profile": "gpu", "gpus": 2}})
        assert made.status_code == 201
        model = made.json()
        assert (model["display_name"], model["stopped"]) == ("Deep Blue", True)
        assert model["user_options"] == {"profile": "gpu", "gpus": 2, "kind": "a100", "big": False, "note": ""}
        assert (await client.put(base)).status_code == 409
        changed = await client.patch(base, json={"user_options": {"gpus": 3}, "display_name": "Deeper"})
        assert (changed.json()["user_options"]["gpus"], changed.json()["display_name"]) == (3, "Deeper")
        for wrong in ({"surprise": 1}, {}, {"display_name": None}, {"user_options": None}):
            assert (await client.patch(base, json=wrong)).status_code == 400, wrong
        assert (await client.post(base)).status_code == 202
        assert (await client.get(base)).json()["user_options"]["gpus"] == 3

        async def ends():
            while (await bench.store.servers.get("alice", "deep")).target != "stopped":
                await asyncio.sleep(0.01)
            await bench.end(name="deep")

        gone, _ = await asyncio.gather(client.request("DELETE", base, json={"remove": True}), ends())
        assert gone.status_code == 204
        assert (await client.get(base)).status_code == 404
        refused = await client.request("DELETE", "/hub/api/users/alice/server", json={"remove": True})
        assert refused.status_code == 400

    bench(main)


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"profile": "gpu"}, {"profile": "gpu", "gpus": 1}),
        ({"profile": "gpu", "gpus": 2}, {"profile": "gpu", "gpus": 2}),
        ({"user_options": {"profile": "gpu", "gpus": "4"}}, {"profile": "gpu", "gpus": 4}),
        ({"profile": "gpu", "user_options": {"kind": "v100"}}, {"profile": "gpu", "kind": "v100"}),
        ({"display_name": "x", "user_options": None}, {"profile": "lab"}),
    ],
)
def test_options_come_in_jupyterhubs_old_and_new_form(bench, body, options):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        assert (await client.post("/hub/api/users/alice/server", json=body)).status_code == 202
        model = (await client.get("/hub/api/users/alice/server")).json()
        assert options.items() <= model["user_options"].items()

    bench(main)


def test_unavailable_choices_are_rejected_with_their_fields(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        answer = await client.post(
            "/hub/api/users/alice/server", json={"profile": "gpu", "gpus": 9, "kind": "h100", "prologue": "rm -rf /"}
        )
        assert answer.status_code == 400
        assert set(answer.json()["fields"]) == {"gpus", "kind", "prologue"}
        for bad in (
            [],
            "x",
            {"profile": 7},
            {"user_options": 3},
            {"display_name": 3},
            {"profile": "none"},
            {"display_name": "x\ny"},
        ):
            assert (await client.post("/hub/api/users/alice/server", json=bad)).status_code == 400, bad
        assert (await client.post("/hub/api/users/alice/servers/Not-A-Name")).status_code == 400
        assert await bench.store.servers.of_user("alice") == []

    bench(main)


def test_two_starts_at_once_are_one_attempt(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        answers = await asyncio.gather(*(client.post("/hub/api/users/alice/server") for _ in range(8)))
        assert {answer.status_code for answer in answers} == {202}
        told = await bench.store.servers.events("alice", "")
        assert len({event.attempt for event in told}) == 1

    bench(main)


def test_progress_streams_from_any_worker_and_resumes(bench):
    async def main(bench):
        from msgspec.structs import replace

        from state.records.lifecycle import advance
        from state.records.models import Event, Status

        client = bench.client(bench.session(await bench.user()))
        url = "/hub/api/users/alice/server/progress"
        assert (await client.get(url)).status_code == 400
        assert (await client.get("/hub/api/users/alice/servers/none/progress")).status_code == 404
        await client.post("/hub/api/users/alice/server")
        listening = asyncio.create_task(client.get(url))
        server = await bench.submitted()
        queued = advance(server, Status.QUEUED, now=bench.clock())
        event = Event(
            attempt=server.attempt, time=bench.clock(), status=Status.QUEUED, message="In the queue.", progress=20
        )
        server = await bench.store.servers.save(replace(queued), event=event)
        await bench.report(bench.client(), server, "ready", endpoint=socket_of(server))
        answer = await asyncio.wait_for(listening, 20)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        told = events(answer.text)
        assert [data["message"] for _, data in told[:2]] == ["Requested.", "In the queue."]
        assert told[-1][1] == {
            "progress": 100,
            "ready": True,
            "message": "Server ready at /user/alice/",
            "url": "/user/alice/",
            "html_message": 'Server ready at <a href="/user/alice/">/user/alice/</a>',
        }
        first = told[0][0]
        again = events((await client.get(url, headers={"Last-Event-ID": first})).text)
        assert [data["message"] for _, data in again] == ["In the queue.", "Server ready at /user/alice/"]
        odd = events((await client.get(url, headers={"Last-Event-ID": "x; DROP"})).text)
        assert len(odd) == len(told)
        await client.delete("/hub/api/users/alice/server")
        await bench.end()
        assert (await client.get(url)).status_code == 400

    bench(main)


def test_a_cancelled_start_ends_the_stream_as_failed(bench):
    async def main(bench):
        client = bench.client(bench.session(await bench.user()))
        await client.post("/hub/api/users/alice/server")
        listening = asyncio.create_task(client.get("/hub/api/users/alice/server/progress"))
        await client.delete("/hub/api/users/alice/server")
        last = events((await asyncio.wait_for(listening, 20)).text)[-1][1]
        assert last["failed"] is True
        assert "cancelled" in last["message"]

    bench(main)
