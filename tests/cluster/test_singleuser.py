"""JupyterHub's own single-user server as a job on a real Slurm: it reaches the hub from its node, and signs users in."""

import ast
import asyncio
import re
from contextlib import closing

import pytest

from tests.cluster.slurm_hub import SlurmHub, short
from tests.hub import eventually
from tests.jupyterhub.named import LISTED, TOLD
from tests.jupyterhub.rig import cookies, run_cell, visit

pytestmark = pytest.mark.timeout(300)


def test_it_runs_on_a_node_as_its_user_and_no_other_user_sees_its_token(slurm, short_folder):
    hub = SlurmHub(short(short_folder), slurm, apps=True, workers=2)
    hub.start()
    try:
        with hub.as_user("alice") as api, closing(hub.browser_of("alice")) as browser:
            options = {"profile": "singleuser", "partition": "cpu", "walltime": "00:20:00"}
            answer = hub.start_one(api, "alice", user_options=options)
            assert answer.status_code == 202, answer.text
            hub.until(api, "alice", status="ready", seconds=180)
            page = visit(browser, "/user/alice/lab")
            assert page.status_code == 200, page.text
            assert '"hubUser": "alice"' in page.text
            kernel = browser.post("/user/alice/api/kernels", json={}, headers={"X-XSRFToken": browser.cookies["_xsrf"]})
            assert kernel.status_code == 201, kernel.text
            url = f"ws://127.0.0.1:{hub.port}/user/alice/api/kernels/{kernel.json()['id']}/channels"
            headers = {"Cookie": cookies(browser), "Origin": hub.origin, "Sec-Fetch-Mode": "websocket"}
            code = "import os, getpass; (getpass.getuser(), os.environ['SLURMD_NODENAME'], os.environ['MEM_LIMIT'])"
            told = asyncio.run(run_cell(url, code, headers))
            assert re.fullmatch(rf"\('alice', 'cn\d', '{1 << 30}'\)", told), told
            assert set(ast.literal_eval(asyncio.run(run_cell(url, f"import os; {LISTED}", headers)))) == TOLD

            def called():
                tokens = api.get("/users/alice/tokens").json()["api_tokens"]
                return next(one["last_activity"] for one in tokens if one["note"] == "The server alice/")

            eventually(called, seconds=15, what="a call of its own")
            api.delete("/users/alice/server")
            hub.until(api, "alice", status="stopped")

            def ended():
                notes = [one["note"] for one in api.get("/users/alice/tokens").json()["api_tokens"]]
                return "The server alice/" not in notes

            eventually(ended, seconds=30, what="the end of its token")
    finally:
        hub.close()
