"""Apps that listen on a port, as jobs of a real Slurm: reached through the hub, and by nobody else on the node."""

import asyncio
import json
import pwd
from contextlib import closing, suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.batch.test_isolation import ATTACK, network_of
from tests.cluster.faulty import APP, FIELDS, FaultyHub, clear, short
from tests.cluster.test_faults_neighbours import processes_of
from tests.hub import eventually

ON_A_PORT = APP.replace("socket.socket(socket.AF_UNIX)", "socket.socket()")
ON_A_PORT = ON_A_PORT.replace("server.bind(sys.argv[1])", 'server.bind(("127.0.0.1", int(sys.argv[1])))')
ON_A_PORT = ON_A_PORT.replace("os.chmod(sys.argv[1], 0o600)\n", 'print("port", sys.argv[1], flush=True)\n')
ON_A_PORT = ON_A_PORT.replace("body = json.dumps(told)", 'body = json.dumps(told) + "\\r\\n\\r\\nxxxxx"')
"""The last characters are those by which the attack recognizes the app."""


@pytest.fixture(scope="module")
def hub(slurm_session, short_folder):
    hub = FaultyHub(short(short_folder), slurm_session)
    text = hub.config.read_text()
    for name, more in (("port", ""), ("shared", "shared_node_port = true")):
        command = json.dumps(["/usr/bin/python3", "-I", "-S", "-c", ON_A_PORT, "{port}"])
        text += f'[[profile]]\nname = "{name}"\ncluster = "devcluster"\napp = "web"\n{more}\ncommand = {command}\n{FIELDS}\n'
    hub.config.write_text(text)
    hub.start()
    hub.settled()
    yield hub
    hub.close()


@pytest.fixture
def users(slurm, hub):
    with closing(hub.user("alice")) as alice, closing(hub.user("bob")) as bob:
        yield alice, bob
        clear(hub, alice, bob)


def app_of(alice):
    """Return the app's pid, by the attempt in its environment."""
    wanted = f"TOWPATH_ATTEMPT={alice.attempt()}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("no such process")


def inside(pids, app):
    """Return the pids in the app's network namespace, if it is not the node's."""
    for pid in pids:
        with suppress(OSError):  # it has ended
            if network_of(pid) == network_of(app) != network_of("self"):
                yield pid


def attack(slurm, alice, bob):
    """Return what a job of bob's on the same node can reach."""
    app = app_of(alice)
    log = Path(pwd.getpwnam("alice").pw_dir, ".towpath/jobs", alice.attempt(), "app.log")
    port = next(int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith("port "))
    pids = processes_of("alice")
    asked = {
        "ports": [port],
        "abstract": [],
        "socket": str(log.with_name("app.sock")),
        "pids": pids,
        "inside": list(inside(pids, app)),
    }
    home = Path(pwd.getpwnam("bob").pw_dir)
    told = home / "towpath-told.json"
    try:
        (home / "towpath-asked.json").write_text(json.dumps(asked))
        code = ATTACK.replace("sys.argv[1]", 'open("towpath-asked.json").read()')
        code = code.replace("print(json.dumps(got))", 'open("towpath-told.tmp", "w").write(json.dumps(got))')
        code += 'os.rename("towpath-told.tmp", "towpath-told.json")\n'
        slurm.sbatch(
            f"--nodelist={alice.model()['node']}", "--mem=100M", script=f"#!/usr/bin/python3\n{code}", user="bob"
        )
        return port, json.loads(eventually(lambda: told.exists() and told.read_text(), what="what bob's job got at"))
    finally:
        for path in home.glob("towpath-*"):
            path.unlink()


def test_another_users_job_on_the_node_does_not_reach_an_app_on_a_port(slurm, hub, users):
    alice, bob = users
    alice.start(profile="port")
    alice.until("ready")
    eventually(lambda: alice.browser.get(alice.url() + "hello").text.endswith("xxxxx"), what="the app's answer")
    assert attack(slurm, alice, bob)[1] == []


def test_the_attack_reaches_an_app_whose_profile_shares_the_port_with_the_node(slurm, hub, users):
    """This shows that the attack works, and is what form, check and documentation say about `shared_node_port`."""
    alice, bob = users
    alice.start(profile="shared")
    alice.until("ready")
    eventually(lambda: alice.browser.get(alice.url() + "hello").text.endswith("xxxxx"), what="the app's answer")
    port, got = attack(slurm, alice, bob)
    assert f"127.0.0.1 {port}" in got
    assert "Other users of the same node can open this app" in alice.text("/hub/spawn/alice/another")


def test_a_websocket_reaches_an_app_on_a_port(hub, users):
    alice, _ = users
    alice.start(profile="port")
    alice.until("ready")

    async def talk():
        cookie = "; ".join(f"{name}={value}" for name, value in alice.browser.cookies.items())
        where = f"ws://127.0.0.1:{hub.port}{alice.url()}ws"
        async with connect(where, proxy=None, origin=hub.origin, additional_headers={"Cookie": cookie}) as line:
            for words in ("hello", "and again"):
                await line.send(words)
                assert await line.recv() == words

    asyncio.run(talk())
