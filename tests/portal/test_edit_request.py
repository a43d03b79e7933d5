"""Changing the request of a server that waits: by the page and by the API. The controller does the rest."""

import pytest
from msgspec.structs import replace

from state.records.audit import Act, AuditFilter
from state.records.models import Status

SERVER = "/hub/api/users/alice/server"


async def waiting(bench, status=Status.QUEUED):
    client = bench.client(bench.session(await bench.user()))
    assert (await client.post(SERVER, json={"profile": "gpu", "user_options": {"gpus": 1}})).status_code == 202
    server = await bench.store.servers.get("alice", "")
    await bench.store.servers.save(replace(server, status=status))
    return client


@pytest.mark.parametrize("by_page", [True, False], ids=["page", "API"])
@pytest.mark.parametrize("status", [Status.REQUESTED, Status.QUEUED])
def test_a_waiting_request_is_changed(bench, status, by_page):
    async def main(bench):
        client = await waiting(bench, status)
        if by_page:
            assert 'value="1"' in (await client.get("/hub/edit/alice")).text
            answer = await client.post("/hub/edit/alice", data={"profile": "gpu", "opt.gpu.gpus": "3"})
            assert (answer.status_code, answer.headers["location"]) == (303, "/hub/spawn-pending/alice")
        else:
            answer = await client.patch(SERVER, json={"user_options": {"gpus": 3}})
            assert answer.status_code == 200
            assert answer.json()["editing"] is True
        server = await bench.store.servers.get("alice", "")
        assert (server.edited["gpus"], server.choices["gpus"], server.status) == (3, 1, status)
        events = await bench.store.servers.events("alice", "")
        assert events[-1].message == "Change requested."
        entries = (await bench.store.audit.page(AuditFilter(user="alice")))[0]
        assert ("the request was changed", Act.SERVER_START) in [(entry.what, entry.act) for entry in entries]
        page = (await client.get("/hub/spawn-pending/alice")).text
        assert "Edit request" in page
        assert '<p class="notice" data-editing role="status">' in page

    bench(main)


def test_an_unavailable_request_changes_nothing(bench):
    async def main(bench):
        client = await waiting(bench)
        answer = await client.post("/hub/edit/alice", data={"profile": "gpu", "opt.gpu.gpus": "99"})
        assert answer.status_code == 400
        assert "At most 4." in answer.text
        for body in ({"gpus": 99}, {"none": 1}, {"profile": "lab"}):
            assert (await client.patch(SERVER, json={"user_options": body})).status_code == 400, body
        assert (await client.post("/hub/edit/alice", data={"profile": "lab"})).status_code == 400
        server = await bench.store.servers.get("alice", "")
        assert server.edited is None

    bench(main)


@pytest.mark.parametrize("status", [Status.STARTING, Status.READY])
def test_a_server_that_has_started_is_not_changed(bench, status):
    async def main(bench):
        client = await waiting(bench, status)
        answer = await client.get("/hub/edit/alice")
        assert (answer.status_code, answer.headers["location"]) == (302, "/hub/spawn-pending/alice")
        answer = await client.post("/hub/edit/alice", data={"profile": "gpu", "opt.gpu.gpus": "3"})
        assert answer.status_code == 303
        assert (await client.patch(SERVER, json={"user_options": {"gpus": 3}})).status_code == 400
        server = await bench.store.servers.get("alice", "")
        assert (server.edited, server.choices["gpus"]) == (None, 1)

    bench(main)


def test_another_user_changes_nothing(bench):
    async def main(bench):
        await waiting(bench)
        bob = bench.client(bench.session(await bench.user("bob")))
        assert (await bob.get("/hub/edit/alice")).status_code == 404
        assert (await bob.post("/hub/edit/alice", data={"profile": "gpu"})).status_code == 404
        assert (await bob.patch(SERVER, json={"user_options": {}})).status_code == 404

    bench(main)
