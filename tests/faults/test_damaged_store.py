"""Damaged files of the embedded Valkey: the hub says so and ends, and `towpath store check` repairs what it can."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import closing

import pytest
import redis
from hub import Hub, children, eventually, stub_config

pytestmark = pytest.mark.faults
HOW = "towpath store check"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The files of a hub's store after a sign-in and a start."""
    folder = tmp_path_factory.mktemp("saved")
    hub = Hub(folder, config=stub_config(folder), workers=1)
    hub.start()
    with closing(hub.browser()), hub.api() as api:
        for name in ("carol", "dan", *(f"later{number}" for number in range(20))):
            assert api.post(f"/users/{name}").status_code == 201
    hub.stop()
    return hub.data_dir / "valkey"


@pytest.fixture
def hub(tmp_path, saved):
    made = Hub(tmp_path, config=stub_config(tmp_path), workers=1)
    made.data_dir.mkdir(mode=0o700, exist_ok=True)
    shutil.copytree(saved, made.data_dir / "valkey", dirs_exist_ok=True)
    yield made
    if made.process is not None:
        made.close()


def files(hub, part):
    return sorted(path for path in (hub.data_dir / "valkey/appendonlydir").iterdir() if part in path.name)


def damage(path, at):
    """Write zeros over the start of the next command after this share of the file."""
    raw = bytearray(path.read_bytes())
    start = raw.index(b"\r\n*", int(len(raw) * at))
    raw[start : start + 40] = bytes(40)
    path.write_bytes(raw)


def serve(hub):
    return [sys.executable, "-m", "gateway", "serve", *hub.arguments(), "--port", "0", "--workers", "1"]


def served(hub):
    """A run of `towpath serve` that is to fail by itself: exit code and output."""
    done = subprocess.run(
        serve(hub),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=hub.folder,
        env=hub.environment(),
        timeout=50,
    )
    return done.returncode, done.stdout


@pytest.fixture
def store_check(hub):
    """`towpath store check`, with these options."""

    def run(*more):
        command = [sys.executable, "-m", "gateway", "store", "check", *hub.arguments(), *more]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=hub.folder,
            env=hub.environment(),
            timeout=60,
        )
        return done.returncode, done.stdout

    return run


def users(hub):
    """Who there is, after a start."""
    hub.start()
    with hub.api() as api:
        found = {user["name"] for user in api.get("/users").json()}
    hub.stop()
    return found


def test_undamaged_files_are_reported_as_such(hub, store_check):
    code, said = store_check()
    assert code == 0, said
    assert "whole" in said
    assert re.search(r"[1-9][0-9]* records were read; none of them cannot be read", said)


def test_a_damaged_end_is_reported_and_repaired(hub, store_check):
    (log,) = files(hub, ".incr.")
    before = log.read_bytes()
    damage(log, 0.8)
    code, said = served(hub)
    assert code == 1
    assert "Towpath is ready" not in said
    assert HOW in said.splitlines()[-1]
    assert said.count("valkey ended") <= 1
    code, said = store_check()
    assert code == 1
    assert "is damaged after byte" in said
    assert "--fix" in said
    code, said = store_check("--fix")
    assert code == 0, said
    assert re.search(r"the last [0-9]+ bytes are lost", said)
    (aside,) = (hub.data_dir / "valkey").glob("damaged-*")
    assert (aside / log.name).read_bytes() != before
    assert len((aside / log.name).read_bytes()) == len(before)
    assert users(hub) >= {"carol", "dan"}


def test_without_its_manifest_the_store_does_not_begin_empty(hub, store_check):
    (manifest,) = files(hub, "manifest")
    manifest.unlink()
    code, said = served(hub)
    assert code == 1
    assert HOW in said
    code, said = store_check()
    assert code == 1
    assert "missing" in said
    assert store_check("--fix")[0] == 0
    assert users(hub) >= {"carol", "dan"}


def test_a_broken_manifest_is_made_anew(hub, store_check):
    (manifest,) = files(hub, "manifest")
    manifest.write_bytes(b"\0\0garbage")
    assert served(hub)[0] == 1
    assert store_check("--fix")[0] == 0
    assert users(hub) >= {"carol", "dan"}


def test_a_damaged_base_needs_a_backup(hub, store_check):
    (base,) = files(hub, ".base.")
    base.write_bytes(b"REDIS0011\xfe\xff broken")
    code, said = served(hub)
    assert code == 1
    assert HOW in said
    for more in ((), ("--fix",)):
        code, said = store_check(*more)
        assert code == 1
        assert "backup" in said
    assert not list((hub.data_dir / "valkey").glob("damaged-*"))


def test_a_store_that_cannot_come_up_keeps_nobody_waiting(hub):
    """Valkey hangs while it opens a file; SIGTERM ends the hub all the same."""
    (base,) = files(hub, ".base.")
    base.unlink()
    os.mkfifo(base)
    process = subprocess.Popen(
        serve(hub), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=hub.folder, env=hub.environment()
    )
    try:
        eventually(lambda: any("valkey-server" in line for _, line in children(process.pid)), what="Valkey")
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "Interrupted before the hub was ready." in said


def test_damage_that_is_found_at_a_restart_of_valkey_is_logged(hub):
    hub.start()
    (log,) = files(hub, ".incr.")
    valkey = hub.child("valkey-server")
    os.kill(valkey, signal.SIGSTOP)
    damage(log, 0.5)
    os.kill(valkey, signal.SIGKILL)
    eventually(lambda: any(HOW in line for line in hub.output), seconds=15, what="the reason")


def test_a_bad_record_is_named_by_check_and_taken_out_by_a_repair(hub, store_check):
    hub.start()
    with hub.api() as api, redis.Redis(unix_socket_path=str(hub.data_dir / "valkey.sock")) as store:
        store.set("towpath:{u:carol}:user", b'{"name":"carol"')
        names = {user["name"] for user in api.get("/users").json()}
        assert "dan" in names
        assert "carol" not in names
        answer = api.get("/users/carol")
        assert answer.status_code == 500
        assert HOW in answer.json()["message"]
        done = hub.command("check", check=False)
        assert done.returncode == 1
        assert "towpath:{u:carol}:user" in done.stdout
        code, said = store_check()
        assert code == 1
        assert "towpath:{u:carol}:user" in said
        code, said = store_check("--fix")
        assert code == 0, said
        assert api.get("/users/carol").status_code == 200
        assert hub.command("check", check=False).returncode == 0
